package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

func knowing(trust Trust) Outcome {
	return changed(func(o *Outcome) { o.Trust = &trust })
}

func TestAlarmsAreTrueOnlyWhileSomethingIsWrong(t *testing.T) { // rules T9, T11
	t.Parallel()
	now := good().Now
	for name, c := range map[string]struct {
		trust   Trust
		stale   string
		revoked string
	}{
		"evidence that is young enough":     {Trust{Fresh: now.Add(-time.Hour), MaxAge: time.Hour}, "", ""},
		"evidence that is too old":          {Trust{Fresh: now.Add(-time.Hour - time.Second), MaxAge: time.Hour}, "True SourceStale", ""},
		"no evidence where some is asked":   {Trust{MaxAge: time.Hour}, "True SourceStale", ""},
		"a policy that asks for none":       {Trust{Fresh: now.Add(-10_000 * time.Hour)}, "", ""},
		"a heartbeat of another commit":     {Trust{Fresh: now, MaxAge: time.Hour, Behind: commit}, "True SourceBehind", ""},
		"the same where nothing gets stale": {Trust{Fresh: now, Behind: commit}, "True SourceBehind", ""},
		"a revoked commit that is applied":  {Trust{Fresh: now, Revoked: []Revoked{{commit, "laptop stolen"}}}, "", "True RevokedRevisionApplied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &v1alpha1.Factory{}
			f.Status = Status(f, knowing(c.trust))
			got := conditionsOf(f.Status)
			if got["Stale"] != c.stale || got["Revoked"] != c.revoked {
				t.Errorf("Stale is %q and Revoked %q", got["Stale"], got["Revoked"])
			}
			if got["Ready"] != "True ReconciliationSucceeded" {
				t.Errorf("an alarm ends what is in force: %s", got["Ready"])
			}
			again := Status(f, good()) // a pass that could verify nothing
			if !SameStatus(f.Status, again) {
				t.Errorf("what is not known anew changes: %+v", again)
			}
			f.Status = Status(f, knowing(Trust{Fresh: now}))
			if got = conditionsOf(f.Status); got["Stale"]+got["Revoked"] != "" {
				t.Errorf("what was mended stays: %v", got)
			}
		})
	}
}

func TestAnAlarmIsToldOnceAndAgainWhenItIsAnother(t *testing.T) {
	t.Parallel()
	f := &v1alpha1.Factory{}
	step := func(o Outcome) (reasons []string) {
		before := f.DeepCopy()
		f.Status = Status(before, o)
		for _, e := range Events(before, f, o) {
			if e.Reason != ReasonAttested {
				reasons = append(reasons, e.Reason)
			}
		}
		return reasons
	}
	old := Trust{Fresh: good().Now.Add(-2 * time.Hour), MaxAge: time.Hour}
	behind := old
	behind.Behind = commit
	for i, c := range []struct {
		trust Trust
		want  string
	}{
		{old, "[SourceStale]"}, {old, "[]"}, {behind, "[SourceBehind]"}, {behind, "[]"}, {Trust{Fresh: good().Now}, "[]"}, {old, "[SourceStale]"},
	} {
		if got := fmt.Sprint(step(knowing(c.trust))); got != c.want {
			t.Errorf("pass %d tells %s, want %s", i, got, c.want)
		}
	}
}

func TestTheStatusSaysWhatIsAcceptedAndSinceWhen(t *testing.T) {
	t.Parallel()
	f := &v1alpha1.Factory{}
	fresh := time.Date(2026, 5, 1, 2, 3, 4, 567, time.UTC)
	f.Status = Status(f, knowing(Trust{Accepted: commit, Fresh: fresh, MaxAge: time.Hour}))
	if f.Status.Accepted != commit || f.Status.Fresh == nil || !f.Status.Fresh.Time.Equal(fresh.Truncate(time.Second)) {
		t.Errorf("accepted %q, fresh %v", f.Status.Accepted, f.Status.Fresh)
	}
	stored := f.DeepCopy()
	stored.Status.Fresh.Time = stored.Status.Fresh.Local() // as an API server hands it back
	if after := Status(stored, knowing(Trust{Accepted: commit, Fresh: fresh, MaxAge: time.Hour})); !SameStatus(stored.Status, after) {
		t.Error("the same evidence writes the status anew")
	}
}

func TestARefusalSaysWhoIsMissing(t *testing.T) { // rule T13
	t.Parallel()
	needs := []v1alpha1.Need{
		{Rule: "trust", Role: "security", Threshold: 2, Missing: 1, Vouched: []string{"carol"}, Candidates: []string{"alice", "bob"}},
		{Rule: "all", Role: "nobody\x1b[31m", Threshold: 1, Missing: 1},
	}
	p := Problem{Class: No, Reason: "ApprovalMissing", Code: "rule/threshold", Commit: commit, Detail: "d", Hint: "h", Needs: needs}
	if text := p.Text(); !strings.Contains(text, ": d; needs 1 more of role security: alice or bob (rule trust); needs 1 more of role nobody") ||
		!strings.HasSuffix(text, "; to mend it: h") || strings.Contains(text, "\x1b") {
		t.Errorf("text: %q", text)
	}
	f := &v1alpha1.Factory{}
	f.Status = Status(f, changed(func(o *Outcome) { o.Refused = &StageProblem{Condition: v1alpha1.ConditionSourceVerified, Problem: p} }))
	if got := f.Status.Refused.Needs; len(got) != 2 || got[0].Missing != 1 || got[0].Candidates[1] != "bob" {
		t.Errorf("status: %+v", got)
	}
}
