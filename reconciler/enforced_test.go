package reconciler_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
)

// enforcedIn is the stretch of a record that has to be one of enforcement.
func (p *plant) enforcedIn(record int) attest.Stretch {
	p.t.Helper()
	if kind := p.records()[record].Spec.Type; kind != v1alpha1.RecordEnforced {
		p.t.Fatalf("record %d is %s", record+1, kind)
	}
	s := p.statement(record)
	if s.Enforcement == nil {
		p.t.Fatalf("record %d says another type than its statement", record+1)
	}
	return s.Enforcement.Enforced
}

func TestDriftThatWasPutBackIsOnRecordInOneBatch(t *testing.T) { // rows F01, F15
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	const canary = "canary-7e0c1f"
	p.edit("mallory-kubectl", canary)
	p.applied()
	p.late += 10 * time.Second
	p.edit("another-editor", canary+"-again")
	p.applied()
	if n := len(p.records()); n != 1 {
		t.Fatalf("%d records before the batch is full", n)
	}
	p.late += 2 * time.Minute
	f := p.applied()
	if n := len(p.records()); n != 2 {
		t.Fatalf("%d records after it, want 2", n)
	}
	stretch, first := p.enforcedIn(1), p.statement(0)
	if !stretch.From.Equal(first.Predicate.FinishedOn) {
		t.Errorf("the stretch begins at %s and not where the record before ends, %s", stretch.From, first.Predicate.FinishedOn)
	}
	if stretch.Drift.Total != 2 || len(stretch.Drift.Entries) != 2 {
		t.Fatalf("drift on record: %+v", stretch.Drift)
	}
	for i, who := range []string{"mallory-kubectl", "another-editor"} {
		d := stretch.Drift.Entries[i]
		if d.Object != "ConfigMap "+p.namespace+"-work/settings" || d.Component != "app" || len(d.Paths) != 1 || d.Paths[0] != ".data.key" ||
			len(d.Managers) != 1 || d.Managers[0] != who || d.Operations[0] != "Update" || d.Action != attest.ActionCorrected {
			t.Errorf("entry %d: %+v", i, d)
		}
		if d.ChangedOn.IsZero() || d.SeenOn.Before(d.After) || d.EndedOn.Before(d.SeenOn) {
			t.Errorf("its times: after %s, changed %s, seen %s, ended %s", d.After, d.ChangedOn, d.SeenOn, d.EndedOn)
		}
	}
	if f.Status.Applied.Sequence != 2 || f.Status.Applied.Attestation != p.records()[1].Spec.Digest {
		t.Errorf("the status names record %d", f.Status.Applied.Sequence)
	}
	if text := p.records()[1].Spec.Bundle + payload(p.statement(1)); strings.Contains(text, canary) {
		t.Error("what mallory wrote is in the record")
	}
	p.auditIsClean(1)
	p.late += 2 * time.Minute
	p.applied()
	if n := len(p.records()); n != 2 {
		t.Errorf("%d records although nothing happened since", n)
	}
}

func payload(s attest.Statement) string {
	data, err := s.Encode()
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func TestAHeartbeatSaysThatTheRevisionWasKept(t *testing.T) {
	p := newPlant(t)
	p.change(func(s *v1alpha1.FactorySpec) { s.Attest.Heartbeat.Duration = time.Hour })
	p.commit(alice, "good")
	p.applied()
	for range 5 {
		p.late += 10 * time.Minute
		p.applied()
	}
	if n := len(p.records()); n != 1 {
		t.Fatalf("%d records within the hour", n)
	}
	p.late += 11 * time.Minute
	p.applied()
	stretch := p.enforcedIn(1)
	if stretch.Looks != 6 || stretch.Sweeps == 0 || stretch.Gaps.Total != 0 || stretch.Drift.Total != 0 || stretch.To.Sub(stretch.From) < time.Hour {
		t.Errorf("an hour in which nothing happened: %+v", stretch)
	}
	if trigger := p.statement(1).Enforcement.Trigger; trigger != attest.TriggerSchedule {
		t.Errorf("trigger %s", trigger)
	}
	// The next one begins where this one ends, and so does a revision's.
	p.late += time.Hour
	p.applied()
	next := p.enforcedIn(2)
	p.setConfig("two")
	p.commit(alice, "next")
	p.late += time.Minute
	p.applied()
	last := p.statement(3)
	if !next.From.Equal(stretch.To) || last.Enforcement != nil || !last.Predicate.Enforced.From.Equal(next.To) ||
		!last.Predicate.Enforced.To.Equal(last.Predicate.StartedOn) || last.Predicate.Enforced.Gaps.Total != 0 {
		t.Errorf("the stretches do not touch: %s..%s, %s..%s, then %+v", stretch.From, stretch.To, next.From, next.To, last.Predicate.Enforced)
	}
	p.auditIsClean(2)
}

func TestARestartLeavesAGapOnlyIfSomethingWasWrittenMeanwhile(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	p.late += time.Hour
	p.restart()
	p.applied()
	p.late += 6 * time.Hour
	p.applied()
	if s := p.enforcedIn(1); s.Gaps.Total != 0 || s.Drift.Total != 0 {
		t.Errorf("nothing was written while the process was away, and there are gaps or drift: %+v", s)
	}
	// Written and taken back while nobody looked: no value tells, the version does.
	p.late += time.Hour
	p.edit("mallory-kubectl", "drifted")
	p.edit("mallory-kubectl", "one")
	p.restart()
	p.applied()
	p.late += 6 * time.Hour
	p.applied()
	s := p.enforcedIn(2)
	if s.Gaps.Total != 1 || s.Gaps.Entries[0].Reason != attest.GapRestart || !s.Gaps.Entries[0].From.Equal(s.From) {
		t.Errorf("what happened unseen left no gap: %+v", s.Gaps)
	}
	p.auditIsClean(1)
}

func TestDriftIsOnRecordThoughTheProcessDiedBeforeItWasToBe(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	p.late += 10 * time.Second
	p.edit("mallory-kubectl", "drifted")
	p.applied()
	p.restart()
	p.applied()
	p.late += 2 * time.Minute
	p.applied()
	s := p.enforcedIn(1)
	if s.Drift.Total != 1 || s.Drift.Entries[0].Managers[0] != "mallory-kubectl" || s.Gaps.Total != 1 {
		t.Errorf("the drift before the restart: %+v, gaps %+v", s.Drift, s.Gaps)
	}
	p.auditIsClean(1)
}

func TestALookThatTheWatchesJoinedToTheOneBeforeLeavesNoGap(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	_, end := p.audited()
	p.applied()
	held := func() bool {
		_, whole := p.setup.Watcher.Held(keyOf(p))
		return whole
	}
	for deadline := time.Now().Add(time.Minute); !held(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the watches never saw everything")
		}
	}
	p.late += 20 * time.Minute
	p.applied() // a sweep, with the watches
	p.edit("mallory-kubectl", "drifted")
	p.untilSettings("one")
	p.late += 2 * time.Minute
	p.applied()
	s := p.enforcedIn(1)
	if s.Drift.Total != 1 {
		t.Errorf("drift: %+v", s.Drift)
	}
	for _, g := range s.Gaps.Entries {
		if !g.To.Before(s.Drift.Entries[0].ChangedOn) {
			t.Errorf("a gap although the watches held: %+v, the drift %+v", g, s.Drift.Entries[0])
		}
	}
	// Without them nobody knows what was there between two looks that differ.
	end()
	p.late += time.Minute
	p.edit("mallory-kubectl", "drifted")
	p.applied()
	p.late += 2 * time.Minute
	p.applied()
	if s := p.enforcedIn(2); s.Gaps.Total != 1 || s.Gaps.Entries[0].Reason != attest.GapWatch {
		t.Errorf("gaps without watches: %+v", s.Gaps)
	}
}

func TestDriftThatIsLeftIsOnRecordUntilItIsOver(t *testing.T) {
	p := newPlant(t)
	p.write("factory-config/factory.yaml", strings.Replace(factoryConfig, "{name: app, path: app, dependsOn: [base], drift: correct}",
		"{name: app, path: app, dependsOn: [base], drift: alert}", 1))
	p.commit(alice, "good")
	p.applied()
	p.late += time.Minute
	p.edit("mallory-kubectl", "drifted")
	p.pass()
	for range 2 {
		p.late += 6 * time.Hour
		p.pass()
	}
	first, second := p.enforcedIn(1).Drift, p.enforcedIn(2).Drift
	if first.Total != 1 || second.Total != 1 || first.Entries[0].Action != attest.ActionReported || !first.Entries[0].EndedOn.IsZero() ||
		!second.Entries[0].SeenOn.Equal(first.Entries[0].SeenOn) {
		t.Errorf("drift that is left: %+v, then %+v", first, second)
	}
	// A revision that says to put it back ends it: its own record says so.
	p.write("factory-config/factory.yaml", factoryConfig)
	p.commit(alice, "correct it")
	p.late += time.Minute
	p.applied()
	record := p.statement(3).Predicate
	if record.Enforced.Drift.Total != 1 || record.Drift.Total != 1 || record.Drift.Entries[0].Action != "corrected" {
		t.Errorf("drift until the revision: %+v, in it: %+v", record.Enforced.Drift, record.Drift)
	}
	p.late += 7 * time.Hour
	p.applied()
	if after := p.enforcedIn(4).Drift; after.Total != 0 {
		t.Errorf("it is told again: %+v", after)
	}
}

func keyOf(p *plant) types.NamespacedName {
	return types.NamespacedName{Namespace: p.namespace, Name: "factory"}
}
