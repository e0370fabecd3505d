package gitverify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// complete decides whether the unit that ends in tip satisfies rules T4 to T8
// under policy(F). It fills in the policy that the step brings. A refusal
// leaves the unit open: a later commit may complete it.
func (w *walk) complete(ctx context.Context, tip *record, s *acceptedStep) error {
	w.rulings = nil
	changes, err := w.diff(ctx, w.head().tree, tip.tree)
	if err != nil {
		return about(tip.Commit, err)
	}
	if err := w.checkPolicyChange(ctx, tip, s, changes); err != nil {
		return err
	}
	if len(changes) == 0 {
		return nil
	}
	u := unitRange{members: w.unit, onLine: func(id ID) bool { return w.lineUnit[id] }, before: w.head()}
	for _, c := range changes {
		u.paths = append(u.paths, c.path)
	}
	found, err := w.vouchers(ctx, u)
	if err != nil {
		return about(tip.Commit, err)
	}
	demands, unruled := pathDemands(w.head().policy, u.paths)
	for _, d := range demands {
		w.rulings = append(w.rulings, d.ruling(u.paths, found))
	}
	if unruled != "" {
		return about(tip.Commit, at(unruled, refuse(codeNoRule, "no rule of the policy lets anybody change this path")))
	}
	if err := unmet(codeThreshold, tip.Commit, w.rulings); err != nil {
		return err
	}
	return about(tip.Commit, w.checkIntent(demands, u, found))
}

// demand is one rule with the paths that it is about here.
type demand struct {
	rule   *trustpolicy.Rule
	policy *trustpolicy.Policy
	paths  pathSet
}

// pathDemands collects what the path rules ask for some paths (rule T4), in the
// order of the policy, and a path that no rule matches.
func pathDemands(policy *trustpolicy.Policy, paths []string) (demands []demand, unruled string) {
	byRule := map[*trustpolicy.Rule]pathSet{}
	for i, p := range paths {
		rules := policy.RulesFor(p)
		if len(rules) == 0 && unruled == "" {
			unruled = p
		}
		for _, r := range rules {
			if byRule[r] == nil {
				byRule[r] = newPathSet(len(paths))
			}
			byRule[r].add(i)
		}
	}
	for i := range policy.Rules {
		if set, ok := byRule[&policy.Rules[i]]; ok {
			demands = append(demands, demand{&policy.Rules[i], policy, set})
		}
	}
	return demands, unruled
}

// person is who signed a commit, by the policy that the rule is of, and whether
// they count for it: a person whose signing identity has the role.
func (d demand) person(r *record) (string, bool) {
	id, err := d.policy.Identify(r.proof.issuer, r.proof.subject, r.proof.isURI)
	if err != nil || id.Person == "" || !id.HasRole(d.rule.Role) {
		return "", false
	}
	return id.Person, true
}

// ruling counts distinct persons for each path; what is missing is what the
// worst path lacks.
func (d demand) ruling(paths []string, found []vouched) Ruling {
	covers := d.covers(len(paths), found)
	out := Ruling{
		Rule: d.rule.Name, Role: d.rule.Role, Threshold: d.rule.Threshold,
		PathCount: d.paths.count(), Vouchers: slices.Sorted(maps.Keys(covers)),
	}
	for i, p := range paths {
		if !d.paths.has(i) {
			continue
		}
		lacks := d.rule.Threshold
		for _, set := range covers {
			if set.has(i) {
				lacks--
			}
		}
		if lacks > out.Missing { // the paths that lack most are the ones to name
			out.Missing, out.Paths = lacks, nil
		}
		if max(lacks, 0) == out.Missing && len(out.Paths) < MaxRulingPaths {
			out.Paths = append(out.Paths, p)
		}
	}
	if out.Missing == 0 {
		return out
	}
	for _, who := range d.policy.People(d.rule.Role) {
		if set, ok := covers[who]; !ok || set.count() < out.PathCount {
			out.Candidates = append(out.Candidates, who)
		}
	}
	return out
}

// covers says for each person who counts which of the rule's paths they vouch
// for: two identities of one person are one.
func (d demand) covers(paths int, found []vouched) map[string]pathSet {
	covers := map[string]pathSet{}
	for _, v := range found {
		who, ok := d.person(v.by)
		vouched := v.paths.and(d.paths)
		if !ok || vouched.count() == 0 {
			continue
		}
		if covers[who] == nil {
			covers[who] = newPathSet(paths)
		}
		covers[who].merge(vouched)
	}
	return covers
}

// unmet refuses a unit whose rulings lack somebody, and says who could help.
func unmet(code string, commit ID, rulings []Ruling) error {
	var needs []Ruling
	for _, r := range rulings {
		if r.Missing > 0 {
			needs = append(needs, r)
		}
	}
	if len(needs) == 0 {
		return nil
	}
	var say []string
	for _, n := range needs {
		say = append(say, n.Need())
	}
	no := refuse(code, "%s", strings.Join(say, "; "))
	no.Commit, no.Needs = commit, needs
	if len(needs[0].Paths) > 0 {
		no.Path = needs[0].Paths[0]
	}
	return no
}

// Need says in words what is missing; empty when the rule is met.
func (r Ruling) Need() string {
	if r.Missing == 0 {
		return ""
	}
	who := strings.Join(r.Candidates, ", ")
	if i := strings.LastIndex(who, ", "); i >= 0 {
		who = who[:i] + " or " + who[i+2:]
	}
	return fmt.Sprintf("needs %d more of role %s (rule %s): %s", r.Missing, r.Role, r.Rule, who)
}

// checkIntent is rule T7: where no person made the merge on the first-parent
// line, somebody who counts must have approved all of it for this repository and
// this ref. A machine's merge says no more than a forge's about what its people
// meant: it could bring in what they signed once and gave up (row C40).
func (w *walk) checkIntent(demands []demand, u unitRange, found []vouched) error {
	merger := w.impersonalMerger(u)
	if merger == "" {
		return nil
	}
	for _, v := range found {
		if v.by.Kind != KindApproval || v.paths.count() < len(u.paths) {
			continue
		}
		if slices.ContainsFunc(demands, func(d demand) bool { _, counts := d.person(v.by); return counts }) {
			return nil
		}
	}
	return refuse(codeIntent, "%s merged this, and nobody who counts approved all of it for %s of %s",
		merger, w.mainline(), w.head().policy.Repository)
}

// impersonalMerger names the forge key or the machine that made the last merge
// on the first-parent line that no person made; empty when persons made all.
func (w *walk) impersonalMerger(u unitRange) (merger string) {
	for _, r := range u.members {
		switch {
		case !w.lineUnit[r.Commit]:
		case r.Kind == KindMechanical:
			merger = fmt.Sprintf("the forge key %q", r.Forge)
		case r.Kind == KindMerge && r.Signer.Person == "":
			merger = fmt.Sprintf("%q, who is no person,", r.Signer.Name)
		}
	}
	return merger
}

// checkPolicyChange fills in the policy that the step brings, and refuses one
// that is not newer than that of the last accepted commit and of every parent
// it differs from (rule T8): an old policy must not come back by a merge or a
// plain revert.
func (w *walk) checkPolicyChange(ctx context.Context, tip *record, s *acceptedStep, changes []change) error {
	head := w.head()
	s.policy, s.policyBlob = head.policy, head.policyBlob
	inTrust := func(c change) bool { // the path itself, or something in its place
		return c.path == w.options.PolicyPath || strings.HasPrefix(w.options.PolicyPath, c.path+"/") || strings.HasPrefix(c.path, w.options.PolicyPath+"/")
	}
	if slices.ContainsFunc(changes, inTrust) {
		var err error
		if s.policy, s.policyBlob, err = w.policyOf(ctx, tip.tree); err != nil {
			return about(tip.Commit, err)
		}
		if err := w.checkAnchor(ctx, s.policy); err != nil {
			return about(tip.Commit, err)
		}
	}
	if err := w.newerThan(tip.Commit, s, head.policy, head.policyBlob, head.commit); err != nil {
		return err
	}
	if err := w.notLocked(s); err != nil {
		return about(tip.Commit, err)
	}
	for _, parent := range tip.parents {
		if _, old := w.ancestors[parent]; old || parent == head.commit {
			continue // trusted by the anchor's id, or compared already
		}
		tree, err := w.treeOf(ctx, parent)
		if err != nil {
			return err
		}
		policy, blob, err := w.policyOf(ctx, tree)
		// Bytes that are not the parent's own must not hide the version it states.
		if states := err == nil; !states && statesNone(err) {
			continue
		}
		if err != nil {
			return about(parent, err)
		}
		if err := w.newerThan(tip.Commit, s, policy, blob, parent); err != nil {
			return err
		}
	}
	return nil
}

// notLocked refuses a new policy that nobody could change again, as of the newest
// time that anything here proves.
func (w *walk) notLocked(s *acceptedStep) error {
	if s.policyBlob == w.head().policyBlob {
		return nil
	}
	if locked := s.policy.Locked(w.options.PolicyPath, w.freshWith(w.unit)); locked != nil {
		return at(w.options.PolicyPath, refuse(codeLockout, "%v", locked))
	}
	return nil
}

// checkAnchor refuses a policy that was written for another history: the anchor
// that it names must be the pinned one, or lie before it. Where that is not found
// and part of what lies before is missing, it cannot be told.
func (w *walk) checkAnchor(ctx context.Context, policy *trustpolicy.Policy) error {
	named := ID(policy.History.Anchor)
	if named == "" {
		return nil
	}
	before, err := w.reaches(ctx, w.anchor(), named)
	if err != nil || before {
		return err
	}
	return at(w.options.PolicyPath, refuse(codeAnchor, "the policy is for histories from %s, which %s does not descend from", named, w.anchor()))
}

func (w *walk) newerThan(commit ID, s *acceptedStep, old *trustpolicy.Policy, blob, of ID) error {
	if s.policyBlob == blob || s.policy.Version > old.Version {
		return nil
	}
	return about(commit, at(w.options.PolicyPath, refuse(codePolicyVersion,
		"the policy changed, but its version %d is not higher than version %d of %s", s.policy.Version, old.Version, of)))
}
