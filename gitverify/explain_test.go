package gitverify_test

import (
	"errors"
	"slices"
	"testing"

	"millwright.dev/millwright/gitverify"
)

func TestAnExplanationTellsWhatIsAcceptedAndWhatIsMissing(t *testing.T) { // rules T3, T13
	t.Parallel()
	s := strictScene(t)
	first := s.by("carol", "docs", strictFiles("docs/x", "1"), s.anchor)
	prod := strictFiles("docs/x", "1", "prod/a", "1")
	change := s.by("alice", "prod", prod, first)
	v := s.verifier()
	explain := func(tip gitverify.ID) gitverify.Explanation {
		t.Helper()
		e, err := v.Explain(t.Context(), s, request(s.anchor, tip))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := explain(change)
	if e.Refusal == nil || e.Refusal.Code != "rule/threshold" || e.Accepted != first || len(e.Steps) != 1 || e.Verification.Commit() != "" {
		t.Fatalf("got %+v", e)
	}
	if r := e.Steps[0].Rulings; len(r) != 1 || r[0].Rule != "docs" || !slices.Equal(r[0].Vouchers, []string{"carol"}) || r[0].Missing != 0 {
		t.Errorf("rulings %+v", r)
	}
	p := e.Pending
	if p == nil || p.Commit != change || len(p.Commits) != 1 || p.Rulings[0].Missing != 1 || !slices.Equal(p.Rulings[0].Paths, []string{"prod/a"}) {
		t.Fatalf("pending %+v", p)
	}
	approved := s.by("bob", approveMain, prod, change)
	e = explain(approved)
	if e.Refusal != nil || e.Pending != nil || e.Accepted != approved || len(e.Steps) != 2 || e.Verification.Commit() != approved {
		t.Fatalf("got %+v", e)
	}
	step := e.Steps[1]
	if len(step.Commits) != 2 || step.Commits[1].Kind != gitverify.KindApproval || !slices.Equal(step.Rulings[0].Vouchers, []string{"alice", "bob"}) {
		t.Errorf("got %+v", step)
	}
	// A signature that is bad ends it: nothing of the unit is pending.
	bad := s.put("commit", unsigned(s.tree(prod), "unsigned", approved))
	if e = explain(bad); e.Refusal == nil || e.Refusal.Code != "sig/missing" || e.Pending != nil || e.Accepted != approved {
		t.Errorf("got %+v", e)
	}
	// The accepted one may still be asked for, as it was.
	s.wantYes(v, request(s.anchor, e.Accepted))
	s.wantYes(v, request(s.anchor, first))
}

func TestAnExplanationOfWhatCannotBeToldIsNone(t *testing.T) { // rule T13
	t.Parallel()
	s := strictScene(t)
	first := s.by("carol", "docs", strictFiles("docs/x", "1"), s.anchor)
	tip := s.by("carol", "docs", strictFiles("docs/x", "2"), first)
	v := s.verifier()
	s.wantYes(v, request(s.anchor, first))
	s.broken[tip] = errors.New("the disk is gone")
	if e, err := v.Explain(t.Context(), s, request(s.anchor, tip)); told(err) != "could not tell" || e.Accepted != "" || e.Verification.Commit() != "" {
		t.Errorf("got %+v, %v", e, err)
	}
	delete(s.broken, tip)
	if e, err := v.Explain(t.Context(), s, request(s.anchor, tip)); err != nil || e.Accepted != tip || e.Verification.Commit() != tip {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestFreshIsTheNewestProvenTime(t *testing.T) { // rule T11
	t.Parallel()
	s := policyScene(t, "  rules:", "  freshness: {maxAge: 36h}\n  rules:")
	now := s.virtual.Now()
	v := s.verifier()
	if got := s.wantYes(v, request(s.anchor, s.anchor)); !got.FreshAt().IsZero() || got.MaxAge().Hours() != 36 {
		t.Errorf("at the anchor: %v %v", got.FreshAt(), got.MaxAge())
	}
	tip := s.onTop(honest, "c@example.test", now)
	got := s.wantYes(v, request(s.anchor, tip))
	if want := got.Checked()[0].SignedAt; want.IsZero() || !got.FreshAt().Equal(want) {
		t.Errorf("fresh at %v, signed at %v", got.FreshAt(), want)
	}
}
