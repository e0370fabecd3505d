package report

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/source"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// want is a condition's status and reason, "-" when it must not be there.
type want map[string]string

func conditionsOf(s v1alpha1.FactoryStatus) map[string]string {
	out := map[string]string{}
	for _, c := range s.Conditions {
		out[c.Type] = string(c.Status) + " " + c.Reason
	}
	return out
}

func good() Outcome {
	return Outcome{
		Now: time.Unix(1_800_000_000, 0), Generation: 3, Attempted: commit, PoliciesTested: 2,
		Applied: &v1alpha1.Applied{Commit: commit, Objects: 7, Sequence: 1, Attestation: "sha256:aa"},
		Health:  Health{Known: true, Status: metav1.ConditionTrue, Reason: ReasonHealthy},
	}
}

func changed(change func(*Outcome)) Outcome {
	o := good()
	change(&o)
	return o
}

func TestReadyIsComputedFromTheStages(t *testing.T) {
	t.Parallel()
	refused := Problem{Class: No, Reason: "Unsigned", Code: "sig/missing", Commit: commit, Detail: "no signature", Hint: "sign it"}
	cases := map[string]struct {
		before v1alpha1.FactoryStatus
		out    Outcome
		want   want
	}{
		"all is well": {out: good(), want: want{
			"Ready": "True ReconciliationSucceeded", "SourceVerified": "True Verified", "PolicyPassed": "True Passed",
			"Applied": "True InSync", "Healthy": "True Healthy", "Attested": "True Attested", "Stalled": "-", "Reconciling": "-", "Drifted": "-",
		}},
		"health that the factory says nobody can see does not count": {
			out: changed(func(o *Outcome) {
				o.Health = Health{Known: true, Status: metav1.ConditionUnknown, Reason: ReasonHealthUnobserved, Waived: true}
			}),
			want: want{"Ready": "True ReconciliationSucceeded", "Healthy": "Unknown HealthUnobserved"},
		},
		"health that should be seen and is not counts": {
			out: changed(func(o *Outcome) {
				o.Health = Health{Known: true, Status: metav1.ConditionUnknown, Reason: ReasonClusterUnreachable}
			}),
			want: want{"Ready": "Unknown ClusterUnreachable"},
		},
		"a refused tip is not ready although the last good revision is in force": {
			out: changed(func(o *Outcome) {
				o.Refused = &StageProblem{Condition: v1alpha1.ConditionSourceVerified, Problem: refused}
			}),
			want: want{"Ready": "False Unsigned", "SourceVerified": "False Unsigned", "Stalled": "True Unsigned", "Applied": "True InSync"},
		},
		"a tip that policy refuses is verified all the same": {
			out: changed(func(o *Outcome) {
				o.Refused = &StageProblem{Condition: v1alpha1.ConditionPolicyPassed, Problem: Problem{Class: No, Reason: "PolicyViolation"}}
			}),
			want: want{"Ready": "False PolicyViolation", "SourceVerified": "True Verified", "PolicyPassed": "False PolicyViolation"},
		},
		"what could not be told is unknown and stalls nothing": {
			out: changed(func(o *Outcome) {
				o.Attempted = ""
				o.Refused = &StageProblem{Condition: v1alpha1.ConditionSourceVerified, Problem: Problem{Class: CouldNotTell, Reason: source.ReasonSourceUnreachable}}
			}),
			want: want{"Ready": "Unknown SourceUnreachable", "SourceVerified": "Unknown SourceUnreachable", "Stalled": "-"},
		},
		"objects that failed keep it from being applied": {
			out: changed(func(o *Outcome) {
				o.Applied = nil
				o.Failed = &StageProblem{Condition: v1alpha1.ConditionApplied, Problem: Problem{Class: CouldNotTell, Reason: ReasonApplyFailed}}
			}),
			want: want{"Ready": "False ApplyFailed", "Applied": "False ApplyFailed", "SourceVerified": "True Verified"},
		},
		"applied without a record is not attested": {
			out: changed(func(o *Outcome) {
				o.Applied.Attestation = ""
				o.Failed = &StageProblem{Condition: v1alpha1.ConditionAttested, Problem: Problem{Class: CouldNotTell, Reason: ReasonAttestationFailed}}
			}),
			want: want{"Ready": "False AttestationFailed", "Applied": "True InSync", "Attested": "False AttestationFailed"},
		},
		"a suspended factory says so": {
			out: Outcome{Suspended: true}, want: want{"Ready": "False Suspended"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := conditionsOf(Status(&v1alpha1.Factory{Status: c.before}, c.out))
			for condition, want := range c.want {
				have := got[condition]
				if have == "" {
					have = "-"
				}
				if have != want {
					t.Errorf("%s is %q, want %q", condition, have, want)
				}
			}
		})
	}
}

func TestAConditionThatPassedGoesAway(t *testing.T) {
	t.Parallel()
	f := &v1alpha1.Factory{}
	f.Status = Status(f, changed(func(o *Outcome) {
		o.Refused = &StageProblem{Condition: v1alpha1.ConditionSourceVerified, Problem: Problem{Class: No, Reason: "Unsigned"}}
		o.Open = []v1alpha1.OpenDrift{{DriftRecord: v1alpha1.DriftRecord{Object: "ConfigMap a/b"}, Reason: ReasonDriftReported}}
	}))
	if got := conditionsOf(f.Status); got["Stalled"] == "" || got["Drifted"] == "" || f.Status.Refused == nil {
		t.Fatalf("conditions: %v", got)
	}
	f.Status = Status(f, good())
	if got := conditionsOf(f.Status); got["Stalled"] != "" || got["Drifted"] != "" || f.Status.Refused != nil {
		t.Errorf("conditions stay: %v, refused %+v", got, f.Status.Refused)
	}
	for _, c := range f.Status.Conditions {
		if c.ObservedGeneration != 3 {
			t.Errorf("%s is about generation %d, want 3", c.Type, c.ObservedGeneration)
		}
	}
}

func TestNothingIsToldTwice(t *testing.T) {
	t.Parallel()
	before := &v1alpha1.Factory{}
	o := changed(func(o *Outcome) {
		o.Refused = &StageProblem{Condition: v1alpha1.ConditionSourceVerified, Problem: Problem{Class: No, Reason: "Unsigned", Detail: "x"}}
	})
	after := before.DeepCopy()
	after.Status = Status(before, o)
	if n := len(Events(before, after, o)); n != 2 {
		t.Errorf("%d events at first, want a refusal and a revision", n)
	}
	again := after.DeepCopy()
	again.Status = Status(after, o)
	if e := Events(after, again, o); len(e) != 0 {
		t.Errorf("told again: %+v", e)
	}
	if !SameStatus(after.Status, again.Status) {
		t.Error("the same outcome changes the status")
	}
}

func TestDriftIsCountedAndItsAuthorNamed(t *testing.T) {
	t.Parallel()
	f := &v1alpha1.Factory{}
	for i := range 12 {
		f.Status = Status(f, changed(func(o *Outcome) {
			o.Drifts = []v1alpha1.DriftRecord{{Object: fmt.Sprintf("ConfigMap a/%d", i), Manager: "mallory", Operation: "Update", Paths: []string{".data.x"}}}
		}))
	}
	if f.Status.Drift.Corrected != 12 || len(f.Status.Drift.Last) != 10 || f.Status.Drift.Last[0].Object != "ConfigMap a/11" {
		t.Errorf("drift: %d corrected, %d kept, newest %s", f.Status.Drift.Corrected, len(f.Status.Drift.Last), f.Status.Drift.Last[0].Object)
	}
	if e := driftEvent(f.Status.Drift.Last[0]); !strings.Contains(e.Message, "mallory") || !strings.Contains(e.Message, ".data.x") {
		t.Errorf("event: %+v", e)
	}
}

func TestARefusalKeepsItsWordsAndAnythingElseIsCouldNotTell(t *testing.T) {
	t.Parallel()
	no := Describe(fmt.Errorf("wrapped: %w", &gitverify.Refusal{Reason: "Unsigned", Code: "sig/missing", Commit: commit, Detail: "d", Hint: "h"}), "Other")
	if no.Class != No || no.Reason != "Unsigned" || no.Code != "sig/missing" || no.Commit != commit || no.Hint != "h" {
		t.Errorf("refusal: %+v", no)
	}
	unknown := Describe(errors.New("boom"), ReasonRenderUnknown)
	if unknown.Class != CouldNotTell || unknown.Reason != ReasonRenderUnknown || unknown.Hint == "" {
		t.Errorf("unknown: %+v", unknown)
	}
}

func TestTextFromOutsideIsOneHarmlessLine(t *testing.T) { // row D34
	t.Parallel()
	got := OneLine("a\x1b[31mred\x1b[0m\nb\u202egnp.exe " + strings.Repeat("x", 5000))
	if strings.ContainsAny(got, "\x1b\n\u202e") || len(got) > maxDetail+8 {
		t.Errorf("%d bytes: %.60q", len(got), got)
	}
}

func TestEveryReasonHasAHint(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if r.Hint == "" || r.Class == "" || r.Reason == "" {
			t.Errorf("row %+v is incomplete", r)
		}
		if key := r.Reason + " " + r.Code; seen[key] {
			t.Errorf("row %s is there twice", key)
		} else {
			seen[key] = true
		}
	}
}
