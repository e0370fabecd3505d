package gitverify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// walk is one call of Verify: rule T3 of the trust model.
type walk struct {
	reader  objectReader
	prover  *signatureVerifier
	options Options
	request Request
	// looked are the commits that were looked at, which are bounded.
	looked map[ID]struct{}
	// recent are bodies of commits that were just read, of kept bytes.
	recent map[ID][]byte
	// keeps is how many bytes these may have.
	keeps int
	kept  int
	// proofs are signatures that were proved ahead, side by side.
	proofs   map[ID]attempt
	policies map[ID]decoded
	seen     *checkpoints
	memo     memo
	// load continues a fresh frontier from where an earlier process left off.
	load func(context.Context, *walk)

	*frontier
	// unit holds what was judged since the head was accepted; unfinished says
	// why it was not accepted yet, and rulings how far it got.
	unit       []*record
	pending    map[ID]*record
	lineUnit   map[ID]bool
	unfinished error
	rulings    []Ruling
}

// outcome is where a walk ended.
type outcome struct {
	frontier *frontier
	// index is the step that the candidate is, when the answer is yes.
	index int
	// pending is the unit that could still be completed.
	pending *Step
	// tag is what was followed, if it was one.
	tag *Tag
}

func (o outcome) verification(req Request) Verification {
	v := o.frontier.verification(req, o.index)
	v.tag = o.tag
	return v
}

// resolve finds the commit that a followed tag names before the walk, and holds
// the tag against the policy after it (rule T14).
func (w *walk) resolve(ctx context.Context, known *frontier) (outcome, error) {
	if !strings.HasPrefix(w.request.Ref, tagPrefix) {
		return w.run(ctx, known)
	}
	return w.runTag(ctx, known)
}

// run walks from the last accepted commit to the candidate. The outcome's
// frontier counts also when the answer is no: what was accepted stays accepted.
func (w *walk) run(ctx context.Context, known *frontier) (outcome, error) {
	if known == nil {
		start, err := w.start(ctx)
		if err != nil {
			return outcome{}, err
		}
		known = start
		w.frontier = known
		if err := w.checkAnchor(ctx, known.head().policy); err != nil {
			return outcome{}, about(w.request.Anchor, err)
		}
		w.load(ctx, w)
	}
	w.frontier = known
	if err := w.reprove(ctx); err != nil {
		return outcome{frontier: w.frontier}, err
	}
	line, from, err := w.firstParents(ctx)
	if err != nil {
		return outcome{frontier: w.frontier}, err
	}
	if err := w.checkFloor(ctx, line, from); err != nil {
		return outcome{frontier: w.frontier}, err
	}
	if len(line) == 0 {
		return outcome{frontier: w.frontier, index: from}, w.checkForgeMerges(w.request.Floor, from)
	}
	w.frontier = w.until(from)
	if err := w.follow(ctx, line); err != nil {
		return outcome{frontier: w.frontier}, err
	}
	out := outcome{frontier: w.frontier, index: len(w.steps) - 1}
	if w.unfinished != nil {
		out.pending = w.describePending()
		return out, w.unfinished
	}
	return out, w.checkForgeMerges(w.request.Floor, out.index)
}

// follow judges the commits of the line one after the other. Meanwhile the next
// ones' signatures are proved, and those after them read.
func (w *walk) follow(ctx context.Context, line []ID) error {
	next := func() []ID { return line[:min(len(line), proveAhead)] }
	collect := w.proveAhead(ctx, w.readAhead(ctx, next()))
	defer func() { collect() }() // nothing goes on after the answer
	for len(line) > 0 {
		now := next()
		line = line[len(now):]
		read := w.readAhead(ctx, next())
		collect()
		collect = w.proveAhead(ctx, read)
		for _, commit := range now {
			if err := w.advance(ctx, commit); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkForgeMerges refuses a candidate above merges that are not applied yet
// and were made with a forge key that is revoked by now: their signatures prove
// no time, so none of them can be told from one that a thief made (rule T6).
func (f *frontier) checkForgeMerges(floor ID, index int) error {
	policy := f.steps[index].policy
	if len(policy.Revocations) == 0 {
		return nil
	}
	from := min(f.since(floor), index)
	for _, r := range f.records[f.steps[from].records:f.steps[index].records] {
		if r.Forge == "" {
			continue
		}
		if no := revocation(policy, proof{payload: r.proof.payload}, "", r.Forge); no != nil {
			return about(r.Commit, no)
		}
	}
	return nil
}

// start is the frontier at the anchor, which is trusted by its id alone, and
// with it the policy in its tree (rule T1).
func (w *walk) start(ctx context.Context) (*frontier, error) {
	anchor := w.request.Anchor
	c, err := w.commit(ctx, anchor)
	if err != nil {
		return nil, err
	}
	policy, blob, err := w.policyOf(ctx, c.tree)
	if err != nil {
		return nil, about(anchor, err)
	}
	return anchored(acceptedStep{commit: anchor, tree: c.tree, policy: policy, policyBlob: blob}), nil
}

// firstParents lists the first-parent line up to the candidate, oldest first,
// after the newest accepted commit that lies on it, and says which step that is.
func (w *walk) firstParents(ctx context.Context) (line []ID, from int, err error) {
	early := &early{prove: func(c rawCommit) attempt { return w.prove(ctx, c, nil) }}
	defer func() { maps.Copy(w.proofs, early.collect()) }()
	for id := w.request.Candidate; ; {
		if index, ok := w.line[id]; ok {
			slices.Reverse(line)
			return line, index, nil
		}
		c, err := w.commit(ctx, id)
		if err != nil {
			return nil, 0, err
		}
		line = append(line, id)
		early.offer(id, c)
		if len(c.parents) == 0 {
			return nil, 0, w.offLine(ctx, w.request.Anchor, "the anchor")
		}
		id = c.parents[0]
	}
}

// commit reads and splits one commit.
func (w *walk) commit(ctx context.Context, id ID) (rawCommit, error) {
	body, err := w.body(ctx, id)
	if err != nil {
		return rawCommit{}, err
	}
	c, err := splitCommit(body)
	c.id = id
	return c, about(id, err)
}

func (w *walk) body(ctx context.Context, id ID) ([]byte, error) {
	if w.looked[id] = struct{}{}; len(w.looked) > w.options.MaxCommits {
		return nil, about(id, refuse(codeCommits, "more than %d commits to look at", w.options.MaxCommits))
	}
	if body, ok := w.recent[id]; ok {
		return body, nil
	}
	body, err := w.reader.read(ctx, id, "commit", maxCommit, codeCommitSize)
	if err != nil {
		return nil, about(id, err)
	}
	if w.kept += len(body); w.kept > w.keeps {
		clear(w.recent) // what was read last is needed first
		w.kept = len(body)
	}
	if len(body) <= w.keeps {
		w.recent[id] = body
	}
	return body, nil
}

// maxKept bounds the commits that a walk does not read and hash twice, in bytes:
// ten thousand of ordinary size.
const maxKept = 64 << 20

// checkFloor makes sure that the candidate descends from the last applied
// revision (rule T10), on its first-parent line like everything accepted.
func (w *walk) checkFloor(ctx context.Context, line []ID, from int) error {
	floor := w.request.Floor
	if floor == "" || slices.Contains(line, floor) {
		return nil
	}
	if w.onLine(floor, from) {
		return nil
	}
	// An anchor that was moved forward past the last applied revision is fine.
	before, err := w.reaches(ctx, w.request.Anchor, floor)
	if before || err != nil && !errors.Is(err, ErrObjectMissing) {
		return err
	}
	return w.offLine(ctx, floor, "the last applied revision")
}

// onLine tells whether a commit is on the accepted first-parent line, up to the
// step with this index; also as one that a later commit completed, so that the
// answer does not depend on what is remembered.
func (w *walk) onLine(id ID, upTo int) bool {
	if index, ok := w.line[id]; ok {
		return index <= upTo
	}
	r, ok := w.known[id]
	if !ok {
		return false
	}
	index := w.of(r)
	if index > upTo {
		return false
	}
	at := w.steps[index].commit
	for at != id && at != w.steps[index-1].commit {
		at = w.known[at].parents[0]
	}
	return at == id
}

// offLine finds out why a commit that should be on the candidate's
// first-parent line is not. Whatever it finds, the answer is no, unless part of
// the candidate's history is missing.
func (w *walk) offLine(ctx context.Context, missed ID, what string) error {
	candidate := w.request.Candidate
	// Which kind of no it is may stay open; that it is one, the candidate's own
	// history has to say.
	back, err := w.reaches(ctx, missed, candidate)
	if errors.Is(err, ErrObjectMissing) {
		err = nil
	}
	if err != nil || back {
		return orElse(err, about(candidate, refuse(codeRollback, "the ref went back behind %s %s", what, missed)))
	}
	if merged, err := w.reaches(ctx, candidate, missed); err != nil || merged {
		return orElse(err, about(candidate, refuse(codeNotMainline, "%s %s was merged in, and is not on the line of first parents", what, missed)))
	}
	return about(candidate, refuse(codeNonDescendant, "it does not descend from %s %s", what, missed))
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// reaches tells whether the target is the start or one of its ancestors. Where
// it is not found and part of the history is missing, that cannot be told: a
// no would outlive the damage.
func (w *walk) reaches(ctx context.Context, from, target ID) (bool, error) {
	var missing error
	seen := map[ID]struct{}{from: {}}
	for queue := []ID{from}; len(queue) > 0; {
		id := queue[0]
		queue = queue[1:]
		if id == target {
			return true, nil
		}
		body, err := w.body(ctx, id)
		if errors.Is(err, ErrObjectMissing) {
			missing = fmt.Errorf("the history of %s is not complete: %w", from, err)
			continue
		}
		if err != nil {
			return false, fmt.Errorf("looking at the history of %s: %w", from, err)
		}
		for _, p := range looseParents(body) {
			if _, ok := seen[p]; !ok {
				seen[p] = struct{}{}
				queue = append(queue, p)
			}
		}
	}
	return false, missing
}

// advance judges one commit of the first-parent line with all that it merges,
// by the policy of the last accepted commit. A bad signature ends the walk; a
// unit that is only incomplete may be completed by the next commit.
func (w *walk) advance(ctx context.Context, commit ID) error {
	added, err := w.newCommits(ctx, commit)
	if err != nil {
		return err
	}
	// A history that is too long for a new verifier is too long for one that
	// followed it, too.
	if len(w.known)+len(w.unit)+len(added) > w.options.MaxCommits {
		return about(commit, refuse(codeCommits, "more than %d commits since the anchor", w.options.MaxCommits))
	}
	if len(added) > 1 {
		w.proveAhead(ctx, w.readAhead(ctx, added))()
	}
	for _, id := range added {
		if err := w.judge(ctx, id); err != nil {
			return err
		}
	}
	w.lineUnit[commit] = true
	tip := w.pending[commit]
	s := acceptedStep{commit: commit, tree: tip.tree}
	w.unfinished = w.complete(ctx, tip, &s)
	var refusal *Refusal
	switch {
	case w.unfinished == nil:
		s.rulings = w.rulings
		w.accept(s, w.unit)
		w.newUnit()
	case !errors.As(w.unfinished, &refusal):
		return w.unfinished
	}
	return nil
}

func (w *walk) newUnit() {
	w.unit, w.pending, w.lineUnit, w.rulings = nil, map[ID]*record{}, map[ID]bool{}, nil
	w.memo.forget()
}

// describePending tells how far the unfinished unit got.
func (w *walk) describePending() *Step {
	step := &Step{PolicyVersion: w.head().policy.Version, Rulings: w.rulings}
	for _, r := range w.unit {
		step.Commit = r.Commit
		step.Commits = append(step.Commits, r.Checked)
	}
	return step
}
