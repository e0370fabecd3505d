package gitverify_test

import (
	"errors"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

// impactScene has rules about what a change affects beside the path rules.
func impactScene(t *testing.T) (scene, func(changes ...string) map[string]string) {
	t.Helper()
	r := newRepository(t)
	policy := strings.Replace(strict("1"), "  identities:", `  - {name: bases, paths: ["bases/**", "overlays/**"], role: maintainer, threshold: 1}
  - {name: production, affects: [overlays/production], role: security, threshold: 2}
  - {name: guards, objects: [{kinds: [ClusterRoleBinding.rbac.authorization.k8s.io]}], role: security, threshold: 2}
  identities:`, 1)
	with := func(changes ...string) map[string]string {
		return files(append([]string{policyPath, policy, "bases/a", "0"}, changes...)...)
	}
	return scene{r, r.put("commit", unsigned(r.tree(with()), "anchor"))}, with
}

func TestWhoeverChangesABaseNeedsTheRightsOfWhatItAffects(t *testing.T) { // row C18, rule T12
	t.Parallel()
	s, with := impactScene(t)
	base := with("bases/a", "1")
	change := s.by("carol", "c", base, s.anchor)
	v := s.verifier()
	closures := map[string][]string{"overlays/production": {"bases/a", "overlays/production/kustomization.yaml"}}
	ask := func(tip gitverify.ID, impact gitverify.Impact) error {
		t.Helper()
		verified := s.wantYes(v, request(s.anchor, tip))
		if !verified.NeedsImpact() || len(verified.Overlays()) != 1 {
			t.Fatalf("impact %v %v", verified.NeedsImpact(), verified.Overlays())
		}
		_, err := v.Permit(t.Context(), s, verified, impact)
		return err
	}
	refused := func(err error, code string, tip gitverify.ID) {
		t.Helper()
		var no *gitverify.Refusal
		if !errors.As(err, &no) || no.Code != code || no.Commit != tip || no.Path != "bases/a" || len(no.Needs) != 1 {
			t.Errorf("got %v", err)
		}
	}
	production := gitverify.Impact{Since: s.anchor, Closures: closures}
	refused(ask(change, production), "rule/affects", change)
	one := s.by("alice", approveMain, base, change)
	refused(ask(one, production), "rule/affects", one)
	two := s.by("bob", approveMain, base, one)
	if err := ask(two, production); err != nil {
		t.Error(err)
	}
	// The same change where production does not read the file.
	if err := ask(change, gitverify.Impact{Since: s.anchor, Closures: map[string][]string{"overlays/production": {"bases/b"}}}); err != nil {
		t.Error(err)
	}
	// Objects: whichever file did it.
	guard := gitverify.Impact{
		Since: s.anchor, Closures: map[string][]string{"overlays/production": nil}, Rendered: []string{"bases/a"},
		Objects: []trustpolicy.Object{{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding", Name: "x"}},
	}
	refused(ask(change, guard), "rule/objects", change)
	if err := ask(two, guard); err != nil {
		t.Error(err)
	}
	guard.Objects[0].Kind = "ClusterRole"
	if err := ask(change, guard); err != nil {
		t.Error(err)
	}
	// What was applied cannot be rendered any more: a guard may have gone.
	guard.Objects, guard.Incomparable = nil, true
	refused(ask(change, guard), "rule/objects", change)
	// A later change of the file voids what was said before; another file's does not.
	again := s.by("carol", "again", with("bases/a", "2"), two)
	refused(ask(again, production), "rule/affects", again)
	if err := ask(s.by("carol", "docs", with("bases/a", "1", "docs/x", "1"), two), production); err != nil {
		t.Error(err)
	}
}

func TestARuleThatWasLawfullyRelaxedHoldsForWhatCameBefore(t *testing.T) { // rule T12
	t.Parallel()
	s, with := impactScene(t)
	relaxed := strings.Replace(with()[policyPath], "version: 1", "version: 2", 1)
	relaxed = strings.Replace(relaxed, "affects: [overlays/production], role: security, threshold: 2", "affects: [overlays/production], role: maintainer, threshold: 1", 1)
	impact := gitverify.Impact{Since: s.anchor, Closures: map[string][]string{"overlays/production": {"bases/a"}}}
	permit := func(tip gitverify.ID) error {
		v := s.verifier()
		_, err := v.Permit(t.Context(), s, s.wantYes(v, request(s.anchor, tip)), impact)
		return err
	}
	relax := func(base string, on gitverify.ID) gitverify.ID {
		tree := with(policyPath, relaxed, "bases/a", base)
		return s.by("bob", approveMain, tree, s.by("alice", "relax", tree, on))
	}
	var no *gitverify.Refusal
	before := relax("1", s.by("carol", "base", with("bases/a", "1"), s.anchor))
	if err := permit(before); !errors.As(err, &no) || no.Code != "rule/affects" {
		t.Errorf("changed before: %v", err)
	}
	after := s.by("carol", "base", with(policyPath, relaxed, "bases/a", "1"), relax("0", s.anchor))
	if err := permit(after); err != nil {
		t.Errorf("changed after: %v", err)
	}
}

func TestAnImpactThatWasNotWorkedOutIsNoAnswer(t *testing.T) {
	t.Parallel()
	s, with := impactScene(t)
	tip := s.by("carol", "c", with("bases/a", "1"), s.anchor)
	v := s.verifier()
	verified := s.wantYes(v, request(s.anchor, tip))
	var no *gitverify.Refusal
	for name, impact := range map[string]gitverify.Impact{
		"no closure":           {Since: s.anchor},
		"since a stranger":     {Since: gitverify.ID(strings.Repeat("1", 40)), Closures: map[string][]string{"overlays/production": nil}},
		"since nothing at all": {Closures: map[string][]string{"overlays/production": nil}},
	} {
		if _, err := v.Permit(t.Context(), s, verified, impact); err == nil || errors.As(err, &no) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.verifier().Permit(t.Context(), s, verified, gitverify.Impact{Since: s.anchor}); err == nil {
		t.Error("a verifier that verified nothing permitted something")
	}
}

func TestWhoLostARoleDoesNotUseItForWhatWasChangedBefore(t *testing.T) { // rule T12
	t.Parallel()
	s, with := impactScene(t)
	demoted := strings.NewReplacer(
		"version: 1", "version: 2",
		"subject: bob@factory.test, roles: [maintainer, security]", "subject: bob@factory.test, roles: [maintainer]",
		"subject: carol@factory.test, roles: [maintainer]", "subject: carol@factory.test, roles: [maintainer, security]",
	).Replace(with()[policyPath])
	trust := with(policyPath, demoted)
	side := s.by("bob", approveMain, trust, s.by("alice", "bob leaves security", trust, s.anchor))
	both := with(policyPath, demoted, "bases/a", "1")
	change := s.by("carol", "base", with("bases/a", "1"), s.anchor)
	permit := func(tip gitverify.ID) error {
		v := s.verifier()
		_, err := v.Permit(t.Context(), s, s.wantYes(v, request(s.anchor, tip)), gitverify.Impact{
			Since: s.anchor, Closures: map[string][]string{"overlays/production": {"bases/a"}},
		})
		return err
	}
	said := s.by("bob", approveMain, with("bases/a", "1"), change)
	if err := permit(s.by("alice", approveMain, both, s.by("carol", "merge", both, said, side))); err != nil {
		t.Errorf("said before the role was lost: %v", err)
	}
	late := s.by("bob", approveMain, both, s.by("carol", "merge", both, change, side))
	if err := permit(s.by("alice", approveMain, both, late)); codeOf(err) != "rule/affects" {
		t.Errorf("said after the role was lost: %v", err)
	}
}

func TestAMergeOfTheLineThatALaterCommitCompletedCountsForItsEffects(t *testing.T) { // rules T5, T12
	t.Parallel()
	s, with := impactScene(t)
	tree := with("bases/a", "1", "prod/a", "1")
	merge := s.by("bob", "merge", tree, s.anchor, s.by("carol", "c", tree, s.anchor))
	v := s.verifier()
	s.wantNo(v, request(s.anchor, merge), "rule/threshold", merge)
	verified := s.wantYes(v, request(s.anchor, s.by("alice", approveMain, tree, merge)))
	if _, err := v.Permit(t.Context(), s, verified, gitverify.Impact{
		Since: s.anchor, Closures: map[string][]string{"overlays/production": {"bases/a"}},
	}); err != nil {
		t.Error(err)
	}
}

func TestOnlyWhatIsOnTheAcceptedLineIsPermitted(t *testing.T) { // rules T10, T12
	t.Parallel()
	s, with := impactScene(t)
	first := s.by("carol", "first", with("bases/a", "1"), s.anchor)
	second := s.by("carol", "second", with("bases/a", "2"), first)
	other := s.by("carol", "other", with("bases/a", "3"), s.anchor)
	v := s.verifier()
	old := s.wantYes(v, request(s.anchor, first))
	permit := func(verified gitverify.Verification, since gitverify.ID) error {
		_, err := v.Permit(t.Context(), s, verified, gitverify.Impact{Since: since, Closures: map[string][]string{"overlays/production": nil}})
		return err
	}
	newest := s.wantYes(v, request(s.anchor, second))
	if err := permit(old, s.anchor); err != nil {
		t.Errorf("an earlier one of the line: %v", err)
	}
	s.wantYes(v, request(s.anchor, first)) // to be asked for an earlier one drops nothing
	if err := permit(newest, s.anchor); err != nil {
		t.Errorf("the newest one of the line: %v", err)
	}
	const gone = "is not on the accepted line any more"
	if err := permit(old, second); told(err) != "could not tell" || !strings.Contains(err.Error(), gone) {
		t.Errorf("since a later one: %v", err)
	}
	s.wantYes(v, request(s.anchor, other)) // a force-push drops the first
	if err := permit(old, s.anchor); told(err) != "could not tell" || !strings.Contains(err.Error(), gone) {
		t.Errorf("one that was dropped: %v", err)
	}
}
