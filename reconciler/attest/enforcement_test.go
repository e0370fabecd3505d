package attest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/reconciler/attest"
)

// noon is a moment of the tests.
func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// enforcement is a complete record of an hour in which one object drifted.
func enforcement() attest.Enforcement {
	at := noon()
	return attest.Enforcement{
		Reconciler: attest.Reconciler{ID: "spiffe://example.org/millwright", Version: "v0.1.0"},
		Factory:    attest.Factory{Namespace: "millwright-system", Name: "factory"},
		Target:     attest.Target{Environment: "production", ClusterUID: "0f8b6a3e-2a52-4c57-9a55-54d3c1a0f1d2", KubernetesVersion: "v1.36.3"},
		Sequence:   2, Trigger: attest.TriggerDrift,
		Previous: attest.Previous{Sequence: 1, GitCommit: commitA, Attestation: digest("9")},
		Revision: attest.Enforced{
			Sequence: 1, Repository: "https://git.example.org/factory.git", Ref: "refs/heads/main", Commit: commitA, Rendered: digest("b"),
		},
		Enforced: attest.Stretch{
			From: at, To: at.Add(time.Hour), Looks: 7, Sweeps: 6, Objects: 161,
			Gaps: attest.NewGaps([]attest.Gap{{From: at.Add(30 * time.Minute), To: at.Add(31 * time.Minute), Reason: attest.GapRestart}}),
			Drift: attest.NewSightings([]attest.Sighting{{
				Object: "ConfigMap tekton-pipelines/feature-flags", Component: "tekton-pipelines", Paths: []string{".data.coschedule"},
				Managers: []string{"kubectl-edit"}, Operations: []string{"Update"},
				After: at.Add(10 * time.Minute), ChangedOn: at.Add(12 * time.Minute),
				SeenOn: at.Add(12*time.Minute + 300*time.Millisecond), EndedOn: at.Add(12*time.Minute + 400*time.Millisecond),
				Action: attest.ActionCorrected,
			}}),
		},
		State:  digest("8"),
		Health: attest.Health{Status: "True", Reason: "Healthy"},
	}
}

func enforced(t *testing.T, e attest.Enforcement) attest.Statement {
	t.Helper()
	s, err := attest.NewEnforcement(subjects(), e)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnEnforcementIsARecordOfTheChainLikeAnyOther(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	records := chain(t, attest.KeyFile{Key: key}, 1)
	e := enforcement()
	e.Previous.Attestation, e.Previous.GitCommit = records[0].Digest, records[0].Commit
	e.Revision.Commit = records[0].Commit
	s := enforced(t, e)
	bundle, err := attest.KeyFile{Key: key}.Sign(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := attest.VerifyBundle(bundle.JSON, nil, offline(key))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, verified.Statement); diff != "" {
		t.Errorf("reading changed it:\n%s", diff)
	}
	place := verified.Statement.Place()
	if !place.Begun.Equal(noon()) || !place.Until.Equal(noon().Add(time.Hour)) || place.Rendered != digest("b") {
		t.Errorf("its place is %+v", place)
	}
	records[0].Bundle = strings.Clone(records[0].Bundle)
	records = append(records, attest.Record{
		Sequence: 2, Commit: e.Revision.Commit, Digest: bundle.Digest, Previous: records[0].Digest, Bundle: string(bundle.JSON),
	})
	// The chain of the tests and the record name other environments, and the same
	// factory and cluster.
	report, err := attest.Audit(records, attest.Options{Policies: []attest.Policy{offline(key)}})
	if err != nil || !report.OK {
		t.Errorf("audit: %v %+v", err, report.Findings)
	}
}

func TestAnEnforcementThatContradictsItselfIsNoRecord(t *testing.T) {
	t.Parallel()
	at := noon()
	drift := func(change func(*attest.Sighting)) func(*attest.Enforcement) {
		return func(e *attest.Enforcement) {
			s := e.Enforced.Drift.Entries[0]
			change(&s)
			e.Enforced.Drift = attest.NewSightings([]attest.Sighting{s})
		}
	}
	gap := func(from, to time.Duration, reason string) func(*attest.Enforcement) {
		return func(e *attest.Enforcement) {
			e.Enforced.Gaps = attest.NewGaps([]attest.Gap{{From: at.Add(from), To: at.Add(to), Reason: reason}})
		}
	}
	for name, change := range map[string]func(*attest.Enforcement){
		"a first record":                      func(e *attest.Enforcement) { e.Sequence = 1 },
		"a stretch that ends before it began": func(e *attest.Enforcement) { e.Enforced.To = at.Add(-time.Second) },
		"more sweeps than looks":              func(e *attest.Enforcement) { e.Enforced.Sweeps = 99 },
		"another commit than before":          func(e *attest.Enforcement) { e.Previous.GitCommit = commitB },
		"a revision that comes after":         func(e *attest.Enforcement) { e.Revision.Sequence = 2 },
		"a commit as the trigger":             func(e *attest.Enforcement) { e.Trigger = attest.TriggerCommit },
		"a gap before the stretch":            gap(-time.Minute, time.Minute, attest.GapWatch),
		"a gap that ends before it began":     gap(2*time.Minute, time.Minute, attest.GapWatch),
		"a gap without a reason":              gap(time.Minute, 2*time.Minute, ""),
		"drift that is corrected and open":    drift(func(s *attest.Sighting) { s.EndedOn = time.Time{} }),
		"drift that ended before it was seen": drift(func(s *attest.Sighting) { s.EndedOn = s.SeenOn.Add(-time.Second) }),
		"drift with an unknown action":        drift(func(s *attest.Sighting) { s.Action = "shrugged" }),
		"fewer gaps than it could list":       func(e *attest.Enforcement) { e.Enforced.Gaps.Total = 2 },
		"fewer drifts than it could list":     func(e *attest.Enforcement) { e.Enforced.Drift.Total = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := enforcement()
			change(&e)
			if _, err := attest.NewEnforcement(subjects(), e); err == nil {
				t.Error("it is on record")
			}
		})
	}
}

func TestTooManyGapsBecomeWiderGapsAndNeverFewerMinutes(t *testing.T) {
	t.Parallel()
	at := noon()
	var all []attest.Gap
	for i := range 3 * attest.MaxGaps {
		from := at.Add(time.Duration(i) * time.Minute)
		all = append(all, attest.Gap{From: from, To: from.Add(time.Second), Reason: attest.GapWatch})
	}
	gaps := attest.NewGaps(all)
	if gaps.Total != len(all) || len(gaps.Entries) != attest.MaxGaps {
		t.Fatalf("%d of %d gaps", len(gaps.Entries), gaps.Total)
	}
	for _, g := range all {
		covered := false
		for _, e := range gaps.Entries {
			covered = covered || !g.From.Before(e.From) && !g.To.After(e.To)
		}
		if !covered {
			t.Fatalf("the gap from %s is in none", g.From)
		}
	}
	e := enforcement()
	e.Enforced.To, e.Enforced.Gaps = at.Add(24*time.Hour), gaps
	enforced(t, e)
}

func TestWhatStrangersChooseInDriftIsCutAndHoldsNoValue(t *testing.T) { // row F15
	t.Parallel()
	e := enforcement()
	var many []attest.Sighting
	for i := range attest.MaxDrift + 3 {
		s := e.Enforced.Drift.Entries[0]
		s.Object = fmt.Sprintf("Secret a/s%d", i)
		s.Paths = []string{`.data[="hunter2"]`, ".data.\x1b[31mpassword"}
		s.Managers = []string{strings.Repeat("m", 1000)}
		many = append(many, s)
	}
	e.Enforced.Drift = attest.NewSightings(many)
	s := enforced(t, e)
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	drift := s.Enforcement.Enforced.Drift
	if drift.Total != attest.MaxDrift+3 || len(drift.Entries) != attest.MaxDrift || drift.Entries[0].Object != "Secret a/s3" {
		t.Errorf("%d of %d entries, the first is %s", len(drift.Entries), drift.Total, drift.Entries[0].Object)
	}
	if strings.Contains(string(data), "hunter2") || strings.Contains(string(data), `\u001b`) || len(drift.Entries[0].Managers[0]) > 128 {
		t.Errorf("a value or raw text is in it: %s", drift.Entries[0].Paths)
	}
}
