package reconciler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
)

func TestAStaleSourceIsAnAlarmAndEndsNothing(t *testing.T) { // rule T11, row C22
	p := newPlantWith(t, "  freshness: {maxAge: 1h}\n")
	p.setConfig("two")
	p.commit(alice, "two")
	f := p.applied()
	if c := conditionOf(f, v1alpha1.ConditionStale); c.Type != "" || f.Status.Fresh == nil || time.Since(f.Status.Fresh.Time) > 5*time.Minute {
		t.Fatalf("a fresh commit: Stale %+v, fresh %v", c, f.Status.Fresh)
	}
	p.late = 2 * time.Hour
	f = p.applied()
	if c := conditionOf(f, v1alpha1.ConditionStale); c.Status != metav1.ConditionTrue || c.Reason != report.ReasonSourceStale {
		t.Fatalf("Stale: %+v", c)
	}
	p.edit("mallory-kubectl", "drifted")
	if p.applied(); p.value() != "two" {
		t.Errorf("with a stale source drift is not put back: %q", p.value())
	}
	p.setConfig("three")
	p.commit(alice, "three")
	if p.applied(); p.value() != "three" {
		t.Errorf("with a stale source a good commit is not taken: %q", p.value())
	}
	p.git.SetAway(true)
	p.restart()
	if f = p.pass(); conditionOf(f, v1alpha1.ConditionStale).Reason != report.ReasonSourceStale {
		t.Errorf("after a restart without a source: %+v", f.Status.Conditions)
	}
	p.git.SetAway(false)
	p.late = 0
	if f = p.applied(); conditionOf(f, v1alpha1.ConditionStale).Type != "" {
		t.Errorf("Stale stays: %+v", f.Status.Conditions)
	}
}

func TestARevokedCommitThatIsAppliedIsAnAlarmUntilItIsPutRight(t *testing.T) { // rule T9
	p := newPlant(t)
	p.setConfig("two")
	stolen := p.commit(alice, "two")
	p.applied()
	p.setPolicy(2, fmt.Sprintf("  revocations:\n  - {identity: alice, from: %q, reason: laptop stolen}\n", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)))
	p.commit(carol, "alice is revoked")
	for _, when := range []string{"at once", "after a restart"} {
		f := p.applied() // what is in force stays in force
		c := conditionOf(f, v1alpha1.ConditionRevoked)
		if c.Status != metav1.ConditionTrue || c.Reason != report.ReasonRevokedApplied || !strings.Contains(c.Message, stolen) || !strings.Contains(c.Message, "laptop stolen") {
			t.Errorf("%s: Revoked: %+v", when, c)
		}
		if p.value() != "two" {
			t.Errorf("%s: the cluster says %q", when, p.value())
		}
		p.restart()
	}
	p.setConfig("evil")
	p.commit(alice, "with the stolen laptop")
	p.wantRefused(p.pass(), "id/revoked", "two")
	p.local("reset", "-q", "--hard", "HEAD~1")
	p.write("README", "x")
	p.commit(carol, "not what was asked for")
	if c := conditionOf(p.applied(), v1alpha1.ConditionRevoked); c.Type == "" {
		t.Error("a commit that puts nothing right ends the alarm")
	}
	p.setConfig("three")
	p.commit(carol, "put right")
	if c := conditionOf(p.applied(), v1alpha1.ConditionRevoked); c.Type != "" {
		t.Errorf("put right, and Revoked stays: %+v", c)
	}
	p.auditIsClean(4)
}

// beat pushes a heartbeat by somebody that names what is at HEAD.
func (p *plant) beat(who sigstoretest.Committer) {
	p.t.Helper()
	_, err := p.sigstore.Git(p.t.Context(), p.work, who, "tag", "-f", "-m", "seen", "heartbeat")
	p.must(err)
	p.local("push", "-q", "--force", p.git.Path("factory"), "refs/tags/heartbeat:refs/millwright/heartbeat")
}

func TestAHeartbeatKeepsAQuietSourceFresh(t *testing.T) { // rule T11, row C22
	p := newPlantWith(t, "  freshness: {maxAge: 1h}\n")
	p.commit(alice, "good")
	f := p.applied()
	signed := f.Status.Fresh.Time
	time.Sleep(2 * time.Second) // so that the heartbeat is younger, in whole seconds
	p.late = time.Hour - time.Since(signed) + time.Second
	if f = p.applied(); conditionOf(f, v1alpha1.ConditionStale).Type == "" {
		t.Fatal("not stale without a heartbeat")
	}
	p.beat(alice) // who may write everything, and is not trusted with heartbeats
	f = p.applied()
	if c := conditionOf(f, v1alpha1.ConditionStale); c.Type == "" || !strings.Contains(c.Message, "tag/role") {
		t.Errorf("a heartbeat by somebody without the role: %+v", c)
	}
	p.beat(pulse)
	if f = p.applied(); conditionOf(f, v1alpha1.ConditionStale).Type != "" || !f.Status.Fresh.After(signed) {
		t.Errorf("a heartbeat does not refresh: %+v, fresh %v", conditionOf(f, v1alpha1.ConditionStale), f.Status.Fresh)
	}
	p.local("push", "-q", p.git.Path("factory"), ":refs/millwright/heartbeat")
	if f = p.applied(); conditionOf(f, v1alpha1.ConditionStale).Type != "" {
		t.Error("a heartbeat that is taken back was never there")
	}
	p.late += 2 * time.Hour
	if f = p.applied(); conditionOf(f, v1alpha1.ConditionStale).Reason != report.ReasonSourceStale {
		t.Error("a heartbeat refreshes for ever")
	}
}

func TestAServerThatHoldsCommitsBackIsBehindTheHeartbeat(t *testing.T) { // rule T11, rows C22, C23
	p := newPlant(t)
	good := p.commit(alice, "good")
	p.beat(pulse)
	if c := conditionOf(p.applied(), v1alpha1.ConditionStale); c.Type != "" {
		t.Fatalf("Stale: %+v", c)
	}
	p.setConfig("two")
	newer := p.commit(alice, "two")
	p.push(good)
	p.beat(pulse)
	f := p.applied()
	if c := conditionOf(f, v1alpha1.ConditionStale); c.Reason != report.ReasonSourceBehind || !strings.Contains(c.Message, newer) {
		t.Errorf("a tip that others saw is held back: %+v", c)
	}
	p.local("push", "-q", p.git.Path("factory"), ":refs/millwright/heartbeat")
	if c := conditionOf(p.applied(), v1alpha1.ConditionStale); c.Reason != report.ReasonSourceBehind {
		t.Errorf("the heartbeat that told is taken back, and nothing is wrong: %+v", c)
	}
	p.push(newer)
	if f = p.applied(); conditionOf(f, v1alpha1.ConditionStale).Type != "" || p.value() != "two" {
		t.Errorf("the tip is served again: %+v, %q", conditionOf(f, v1alpha1.ConditionStale), p.value())
	}
	p.setConfig("three")
	p.commit(alice, "three") // after the heartbeat
	if c := conditionOf(p.applied(), v1alpha1.ConditionStale); c.Type != "" {
		t.Errorf("a commit that is newer than the heartbeat: %+v", c)
	}
}

func TestATipThatIsAcceptedAndNotAppliedIsEvidenceAllTheSame(t *testing.T) { // rule T11
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	p.write("overlays/local/app/config.yaml", forbidden(p))
	tip := p.commit(alice, "signed as it should be, and denied by a policy")
	for _, when := range []string{"at once", "after a restart"} {
		f := p.pass()
		if f.Status.Refused == nil || f.Status.Accepted != tip {
			t.Errorf("%s: refused %+v, accepted %s, want %s", when, f.Status.Refused, f.Status.Accepted, tip)
		}
		p.restart()
	}
}
