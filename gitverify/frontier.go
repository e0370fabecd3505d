package gitverify

import (
	"slices"
	"time"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// frontier is how far a history has been accepted: the last accepted commit F
// of the trust model, and all that was accepted on the way from the anchor.
// It holds only what follows from the anchor's id, the trusted root and the
// objects' own names, so that using it gives the answer that starting over
// would give.
type frontier struct {
	// steps are the accepted commits of the first-parent line; the first is the
	// anchor. A step's policy judges the one after it.
	steps []acceptedStep
	line  map[ID]int
	// records are all judged commits in the order in which they were accepted,
	// parents before children; the anchor is none of them.
	records []*record
	known   map[ID]*record
	// suspects rest on a part of the trusted root that is gone: they are proved
	// again before anything else is answered.
	suspects []*record
	// ancestors are the anchor's, with their place before it, read when first
	// needed; they are trusted by the anchor's id.
	ancestors map[ID]int
}

// acceptedStep is one accepted commit of the first-parent line with what its
// unit was judged by.
type acceptedStep struct {
	commit, tree ID
	// policy is that of the step's own tree, policyBlob the object it was read from.
	policy     *trustpolicy.Policy
	policyBlob ID
	// records is how many commits were judged when the step was accepted.
	records int
	rulings []Ruling
	// fresh is the newest proven signing time up to here; zero at the anchor.
	fresh time.Time
}

// record is one judged commit.
type record struct {
	Checked
	proof   proof
	parents []ID
	tree    ID
	// order numbers the accepted commits topologically; the anchor has 0.
	order int
}

// anchored is the frontier that holds the anchor only.
func anchored(s acceptedStep) *frontier {
	return &frontier{
		steps: []acceptedStep{s}, line: map[ID]int{s.commit: 0}, known: map[ID]*record{},
	}
}

func (f *frontier) anchor() ID          { return f.steps[0].commit }
func (f *frontier) head() *acceptedStep { return &f.steps[len(f.steps)-1] }

// judged tells whether a commit is the anchor or was accepted.
func (f *frontier) judged(id ID) bool {
	_, ok := f.known[id]
	return ok || id == f.anchor()
}

// accept makes a judged unit the newest step.
func (f *frontier) accept(s acceptedStep, unit []*record) {
	s.fresh = f.freshWith(unit)
	for _, r := range unit {
		f.known[r.Commit] = r
	}
	f.records = append(f.records, unit...)
	s.records = len(f.records)
	f.line[s.commit] = len(f.steps)
	f.steps = append(f.steps, s)
}

// freshWith is the newest proven signing time up to the head and of a unit.
func (f *frontier) freshWith(unit []*record) time.Time {
	fresh := f.head().fresh
	for _, r := range unit {
		if r.SignedAt.After(fresh) {
			fresh = r.SignedAt
		}
	}
	return fresh
}

// until is the frontier as it was when the step with this index was the newest:
// commits that a force-push dropped are judged again if they come back.
func (f *frontier) until(index int) *frontier {
	if index == len(f.steps)-1 {
		return f
	}
	back := &frontier{
		steps: slices.Clone(f.steps[:index+1]), line: map[ID]int{}, known: map[ID]*record{}, ancestors: f.ancestors,
	}
	back.records = slices.Clone(f.records[:back.head().records])
	for i, s := range back.steps {
		back.line[s.commit] = i
	}
	for _, r := range back.records {
		back.known[r.Commit] = r
	}
	for _, r := range f.suspects {
		if _, ok := back.known[r.Commit]; ok {
			back.suspects = append(back.suspects, r)
		}
	}
	return back
}

// of is the index of the step in whose unit a record was accepted.
func (f *frontier) of(r *record) int {
	index, _ := slices.BinarySearchFunc(f.steps, r.order, func(s acceptedStep, order int) int { return s.records - order })
	return index
}

// since is the index of the step of a floor; 0, the anchor, for a floor that is
// none of the steps, which then lies before the anchor.
func (f *frontier) since(floor ID) int { return f.line[floor] }

// verification is the yes for the step with this index.
func (f *frontier) verification(req Request, index int) Verification {
	s := f.steps[index]
	from := min(f.since(req.Floor), index)
	v := Verification{
		commit: s.commit, tree: s.tree, anchor: f.anchor(), ref: req.Ref, history: req.history(),
		policyDigest: s.policy.Digest(), policyVersion: s.policy.Version, repository: s.policy.Repository,
		steps: f.explain(from, index), fresh: s.fresh, maxAge: s.policy.MaxAge,
		revoked: f.revoked(index),
	}
	for _, before := range f.steps[from:index] {
		v.impact = v.impact.with(before.policy)
	}
	if index > 0 { // parents come first, so that the tip is the last
		tip := f.records[s.records-1].Checked
		v.tip = &tip
	}
	return v
}

// explain describes the steps after the first index up to the second.
func (f *frontier) explain(from, to int) []Step {
	var steps []Step
	for i := from + 1; i <= to; i++ {
		step := Step{Commit: f.steps[i].commit, PolicyVersion: f.steps[i-1].policy.Version, Rulings: f.steps[i].rulings}
		for _, r := range f.records[f.steps[i-1].records:f.steps[i].records] {
			step.Commits = append(step.Commits, r.Checked)
		}
		steps = append(steps, step)
	}
	return steps
}

// revoked lists what was accepted and is revoked by the policy of a step (rule
// T9): acceptance is not undone, since what was applied is a fact, but whoever
// keeps it applied must know.
func (f *frontier) revoked(index int) []Revoked {
	policy := f.steps[index].policy
	if len(policy.Revocations) == 0 {
		return nil
	}
	var list []Revoked
	for _, r := range f.records[:f.steps[index].records] {
		if no := revocation(policy, r.proof, r.Signer.Name, r.Forge); no != nil {
			list = append(list, Revoked{Commit: r.Commit, Why: no.Detail})
		}
	}
	return list
}
