package gitverify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// Impact is what a change does beyond the files it touches, as rendering found
// it (rule T12). It compares the candidate with the revision Since.
type Impact struct {
	// Since is the last applied revision, or the anchor when there is none.
	Since ID
	// Closures has, for each of [Verification.Overlays], the paths that rendering
	// the overlay reads at Since or at the candidate. An overlay that is in
	// neither tree has none.
	Closures map[string][]string
	// Rendered has the same for the overlay whose objects are compared.
	Rendered []string
	// Objects are the rendered objects that are not alike at Since and at the
	// candidate.
	Objects []trustpolicy.Object
	// Incomparable says that Since cannot be rendered, by this version: then
	// nobody knows what came out otherwise, and every rule about objects holds.
	Incomparable bool
}

// Permit judges the rules of rule T12 about a verified candidate: who must have
// vouched for what an overlay or an object is made of. Each changed path is
// judged by the policy that was in force for the step that changed it last. A
// nil error is a yes, a [*Refusal] a no that a later approval can turn; any
// other error means that it could not be told.
func (v *Verifier) Permit(ctx context.Context, objects Objects, verified Verification, impact Impact) (rulings []Ruling, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.frontiers[verified.history]
	if f == nil {
		return nil, errors.New("permitting a revision: it was not verified by this verifier")
	}
	to, ok := f.line[verified.commit]
	from, since := f.line[impact.Since]
	if !ok || !since || from > to {
		return nil, fmt.Errorf("permitting a revision: %s or %s is not on the accepted line any more", impact.Since, verified.commit)
	}
	w := v.newWalk(objects, Request{Ref: verified.history.mainline, Candidate: verified.commit, Anchor: verified.anchor})
	w.frontier = f
	defer func() {
		if cause := recover(); cause != nil {
			rulings, err = nil, fmt.Errorf("permitting %s: the verifier failed: %s", verified.commit, printable(fmt.Sprint(cause)))
		}
	}()
	return w.permit(ctx, from, to, impact)
}

// permit judges the steps after the first index up to the second as one range.
func (w *walk) permit(ctx context.Context, from, to int, impact Impact) ([]Ruling, error) {
	u := unitRange{members: w.records[w.steps[from].records:w.steps[to].records], before: &w.steps[from]}
	line := map[ID]bool{}
	for id := w.steps[to].commit; id != w.steps[from].commit; id = w.known[id].parents[0] {
		line[id] = true // also what a later commit completed
	}
	u.onLine = func(id ID) bool { return line[id] }
	changes, err := w.diff(ctx, w.steps[from].tree, w.steps[to].tree)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		u.paths = append(u.paths, c.path)
	}
	demands, err := w.impactDemands(ctx, from, to, u.paths, impact)
	if err != nil || len(demands) == 0 {
		return nil, err
	}
	found, err := w.vouchers(ctx, u)
	if err != nil {
		return nil, about(w.steps[to].commit, err)
	}
	found = slices.DeleteFunc(found, func(v vouched) bool { return w.revokedBy(w.steps[to].policy, v.by) })
	var rulings []Ruling
	code := codeObjects
	for _, d := range demands {
		r := d.ruling(u.paths, w.entitled(d, found))
		if r.Missing > 0 && len(d.rule.Affects) > 0 {
			code = codeAffects
		}
		rulings = append(rulings, r)
	}
	return rulings, unmet(code, w.steps[to].commit, rulings)
}

// entitled leaves what was said by those who had the role of a rule also by the
// policy under which they said it: the rule's policy may be older, and who lost
// the role since must not use it for what was changed before.
func (w *walk) entitled(d demand, found []vouched) []vouched {
	return slices.DeleteFunc(slices.Clone(found), func(v vouched) bool {
		then := demand{rule: d.rule, policy: w.steps[w.of(v.by)-1].policy}
		_, counts := then.person(v.by)
		return !counts
	})
}

// revokedBy tells whether a later policy takes back what somebody signed: it was
// accepted, and vouches for nothing that is not applied yet (rule T9).
func (w *walk) revokedBy(policy *trustpolicy.Policy, r *record) bool {
	name := ""
	if id, err := policy.Identify(r.proof.issuer, r.proof.subject, r.proof.isURI); err == nil {
		name = id.Name
	}
	return revocation(policy, r.proof, name, r.Forge) != nil
}

// impactDemands collects what the rules of rule T12 ask for. A path counts by
// the policy in force when it was last changed, so that a rule that was lawfully
// relaxed since holds for what came before, and not for what comes after.
func (w *walk) impactDemands(ctx context.Context, from, to int, paths []string, impact Impact) ([]demand, error) {
	judged, err := w.lastChanged(ctx, from, to, paths)
	if err != nil {
		return nil, err
	}
	var demands []demand
	byRule := map[*trustpolicy.Rule]int{}
	ask := func(p *trustpolicy.Policy, r *trustpolicy.Rule, path int) {
		i, ok := byRule[r]
		if !ok {
			i = len(demands)
			byRule[r] = i
			demands = append(demands, demand{r, p, newPathSet(len(paths))})
		}
		demands[i].paths.add(path)
	}
	reads := map[string]map[string]bool{}
	for overlay, closure := range impact.Closures {
		reads[overlay] = asSet(closure)
	}
	rendered := asSet(impact.Rendered)
	for i, path := range paths {
		policy := judged[i]
		for _, overlay := range policy.Overlays() {
			closure, known := reads[overlay]
			if !known {
				return nil, fmt.Errorf("permitting a revision: the closure of %s was not worked out", printable(overlay))
			}
			if !closure[path] {
				continue
			}
			for _, r := range policy.AffectRules(overlay) {
				ask(policy, r, i)
			}
		}
		if !rendered[path] {
			continue
		}
		for _, r := range policy.ObjectRules() {
			if impact.Incomparable || slices.ContainsFunc(impact.Objects, r.Selects) {
				ask(policy, r, i)
			}
		}
	}
	return demands, nil
}

func asSet(list []string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[s] = true
	}
	return set
}

// lastChanged finds for each path the policy that judged the last step that
// changed it.
func (w *walk) lastChanged(ctx context.Context, from, to int, paths []string) ([]*trustpolicy.Policy, error) {
	index := make(map[string]int, len(paths))
	judged := make([]*trustpolicy.Policy, len(paths))
	for i, p := range paths {
		index[p], judged[i] = i, w.steps[from].policy
	}
	for step := from + 1; step <= to; step++ {
		changes, err := w.diff(ctx, w.steps[step-1].tree, w.steps[step].tree)
		if err != nil {
			return nil, err
		}
		for _, c := range changes {
			if i, ok := index[c.path]; ok {
				judged[i] = w.steps[step-1].policy
			}
		}
	}
	return judged, nil
}
