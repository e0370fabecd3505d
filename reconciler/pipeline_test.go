package reconciler_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
	"millwright.dev/millwright/render/policy"
)

func TestASignedCommitIsAppliedAndAttestedOnce(t *testing.T) {
	p := newPlant(t)
	p.setConfig("two")
	commit := p.commit(alice, "two")
	f := p.pass()
	if got, _ := p.settings(); got != "two" {
		t.Fatalf("the cluster says %q; status: %+v", got, f.Status.Conditions)
	}
	ready := conditionOf(f, v1alpha1.ConditionReady)
	if ready.Status != metav1.ConditionTrue {
		t.Errorf("Ready: %s %s %s", ready.Status, ready.Reason, ready.Message)
	}
	if c := conditionOf(f, v1alpha1.ConditionHealthy); c.Status != metav1.ConditionUnknown || c.Reason != report.ReasonHealthUnobserved {
		t.Errorf("Healthy: %+v", c)
	}
	applied := f.Status.Applied
	if applied == nil || applied.Commit != commit || applied.Signer != alice.Email || applied.Sequence != 1 || f.Status.Intent != nil {
		t.Fatalf("applied: %+v, intent: %+v", applied, f.Status.Intent)
	}
	_, version := p.settings()
	again := p.pass()
	if _, now := p.settings(); now != version {
		t.Error("a pass without news wrote to the cluster")
	}
	if again.ResourceVersion != f.ResourceVersion {
		t.Error("a pass without news wrote the status")
	}
	p.auditIsClean(1)
}

func TestARestartFindsNothingToDo(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "two")
	before := p.applied()
	_, version := p.settings()
	p.restart()
	after := p.pass()
	if _, now := p.settings(); now != version {
		t.Error("the first pass after a restart wrote to the cluster")
	}
	if after.Status.Applied.Attestation != before.Status.Applied.Attestation {
		t.Error("the revision was attested again")
	}
	p.auditIsClean(1)
}

func TestWhatWasRefusedChangesNothingAndSaysWhatWouldHelp(t *testing.T) {
	bad := func(p *plant) { p.setConfig("evil") }
	for name, c := range map[string]struct {
		who    string
		change func(*plant)
		reason string
		code   string
	}{
		"an unsigned commit":     {"nobody", bad, "Unsigned", "sig/missing"},
		"a commit by a stranger": {"mallory", bad, "UntrustedIdentity", "id/subject"},
		"a file outside of the root": {"alice", func(p *plant) {
			p.write("overlays/local/app/kustomization.yaml", "resources: [../../../../etc/passwd]\n")
		}, "", "render/outside-root"},
		"a resource from the network": {"alice", func(p *plant) {
			p.write("overlays/local/app/kustomization.yaml", "resources: ['https://127.0.0.1/x.yaml']\n")
		}, "", "render/remote"},
		"an object that a policy denies": {"alice", func(p *plant) { p.write("overlays/local/app/config.yaml", forbidden(p)) }, policy.ReasonViolation, "policy/violated"},
		"a configuration that is broken": {"alice", func(p *plant) { p.write("factory-config/factory.yaml", "spec: [") }, "FactoryConfigInvalid", "factory/syntax"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			good := p.commit(alice, "good")
			p.applied()
			value, version := p.settings()
			c.change(p)
			who := alice
			switch c.who {
			case "nobody":
				who = nobody
			case "mallory":
				who = mallory
			}
			commit := p.commit(who, "bad")
			f := p.pass()
			r := f.Status.Refused
			if r == nil || r.Code != c.code || (c.reason != "" && r.Reason != c.reason) {
				t.Fatalf("refused: %+v", r)
			}
			if r.Commit != commit || r.Hint == "" {
				t.Errorf("the refusal names commit %q with hint %q, want %s", r.Commit, r.Hint, commit)
			}
			if now, v := p.settings(); now != value || v != version {
				t.Errorf("the refused commit changed the cluster: %s", now)
			}
			if conditionOf(f, v1alpha1.ConditionReady).Status != metav1.ConditionFalse || conditionOf(f, v1alpha1.ConditionStalled).Status != metav1.ConditionTrue {
				t.Errorf("conditions: %+v", f.Status.Conditions)
			}
			if f.Status.Applied.Commit != good {
				t.Errorf("applied is %s, want the last good %s", f.Status.Applied.Commit, good)
			}
			p.edit("mallory-kubectl", "drifted")
			p.pass()
			if now, _ := p.settings(); now != value {
				t.Errorf("with a refused tip drift is not put back: %s", now)
			}
			p.auditIsClean(1)
		})
	}
}

func forbidden(p *plant) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: " + p.namespace + "-work}\ndata: {token: x}\n"
}

// edit changes the live object as somebody else.
func (p *plant) edit(manager, value string) {
	p.t.Helper()
	c := &corev1.ConfigMap{}
	p.must(p.client.Get(p.t.Context(), client.ObjectKey{Namespace: p.namespace + "-work", Name: "settings"}, c))
	c.Data["key"] = value
	p.must(p.client.Update(p.t.Context(), c, client.FieldOwner(manager)))
}

func TestAHandEditIsPutBackAndItsAuthorNamed(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	p.edit("mallory-kubectl", "drifted")
	f := p.pass()
	if now, _ := p.settings(); now != "one" {
		t.Fatalf("the cluster says %q", now)
	}
	if f.Status.Drift.Corrected != 1 || len(f.Status.Drift.Last) != 1 {
		t.Fatalf("drift: %+v", f.Status.Drift)
	}
	d := f.Status.Drift.Last[0]
	if d.Manager != "mallory-kubectl" || d.Operation != "Update" || len(d.Paths) != 1 || !strings.Contains(d.Paths[0], "key") {
		t.Errorf("record: %+v", d)
	}
	told := false
	for len(p.events.Events) > 0 {
		e := <-p.events.Events
		told = told || strings.Contains(e, "DriftCorrected") && strings.Contains(e, "mallory-kubectl")
	}
	if !told {
		t.Error("no event names who changed the object")
	}
	p.auditIsClean(1)
}

func TestDriftOfAnAlertingComponentIsReportedAndLeft(t *testing.T) {
	p := newPlant(t)
	p.write("factory-config/factory.yaml", strings.Replace(factoryConfig, "dependsOn: [base], drift: correct", "dependsOn: [base], drift: alert", 1))
	p.commit(alice, "alert")
	p.applied()
	p.edit("mallory-kubectl", "drifted")
	f := p.applied()
	if now, _ := p.settings(); now != "drifted" {
		t.Errorf("drift was put back although the mode is alert: %s", now)
	}
	if c := conditionOf(f, v1alpha1.ConditionDrifted); c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "settings") {
		t.Errorf("Drifted: %+v", c)
	}
	p.write("factory-config/factory.yaml", factoryConfig)
	p.commit(alice, "correct again")
	if f = p.applied(); conditionOf(f, v1alpha1.ConditionDrifted).Type != "" {
		t.Errorf("Drifted stays although it was put back: %+v", f.Status.Conditions)
	}
	if now, _ := p.settings(); now != "one" {
		t.Errorf("the mode is correct again, but drift stays: %s", now)
	}
}

func TestASecondFactoryInTheClusterTakesNothingFromTheFirst(t *testing.T) {
	first, second := newPlant(t), newPlant(t)
	first.commit(alice, "first")
	first.applied()
	_, version := first.settings()
	second.commit(alice, "second")
	second.applied()
	second.restart()
	second.setConfig("other")
	second.commit(alice, "third")
	second.applied()
	if now, v := first.settings(); now != "one" || v != version {
		t.Errorf("the second factory touched the first one's object: %q", now)
	}
}

func TestARevisionPrunesWhatItNoLongerDeclares(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	p.write("overlays/local/app/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: "+p.namespace+"-work}\n")
	p.commit(alice, "renamed")
	p.applied()
	if now, _ := p.settings(); now != "" {
		t.Errorf("the object that left the declaration is still there: %q", now)
	}
	p.auditIsClean(2)
}

func TestRollbackAndForeignHistoryAreRefused(t *testing.T) {
	p := newPlant(t)
	older := p.commit(alice, "older")
	p.setConfig("newer")
	p.commit(alice, "newer")
	p.applied()
	p.push(older)
	f := p.pass()
	if f.Status.Refused == nil || f.Status.Refused.Code != "hist/rollback" {
		t.Fatalf("refused: %+v", f.Status.Refused)
	}
	if now, _ := p.settings(); now != "newer" {
		t.Errorf("the cluster was rolled back to %q", now)
	}
	p.restart()
	if f = p.pass(); f.Status.Refused == nil || f.Status.Refused.Code != "hist/rollback" {
		t.Errorf("after a restart the rollback is judged otherwise: %+v", f.Status.Refused)
	}
}

func TestCouldNotTellKeepsTheLastGoodState(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	t.Run("a Git server that is away", func(t *testing.T) {
		p.t = t
		p.git.SetAway(true)
		defer p.git.SetAway(false)
		p.edit("mallory-kubectl", "drifted")
		f := p.pass()
		if c := conditionOf(f, v1alpha1.ConditionSourceVerified); c.Status != metav1.ConditionUnknown || c.Reason != source.ReasonSourceUnreachable {
			t.Errorf("SourceVerified: %+v", c)
		}
		if now, _ := p.settings(); now != "one" {
			t.Errorf("drift is not put back: %s", now)
		}
	})
	t.Run("a trusted root that is missing", func(t *testing.T) {
		p.t = t
		path := p.setup.TrustedRoot
		defer func() { p.setup.TrustedRoot = path }()
		p.setup.TrustedRoot = filepath.Join(t.TempDir(), "none.json")
		p.late += 5 * time.Minute // edits by hand are minutes apart: no fight
		p.edit("mallory-kubectl", "drifted")
		f := p.pass()
		if now, _ := p.settings(); now != "one" {
			t.Errorf("drift is not put back: %s", now)
		}
		if c := conditionOf(f, v1alpha1.ConditionSourceVerified); c.Reason != report.ReasonTrustedRoot || c.Status != metav1.ConditionUnknown {
			t.Errorf("SourceVerified: %+v", c)
		}
	})
	t.Run("a policy process that is missing", func(t *testing.T) {
		p.t = t
		path := p.setup.Policy.Path
		defer func() { p.setup.Policy.Path = path }()
		p.setup.Policy.Path = "/nonexistent/millwright-policy"
		p.setConfig("untested")
		p.commit(alice, "untested")
		f := p.pass()
		if c := conditionOf(f, v1alpha1.ConditionPolicyPassed); c.Reason != report.ReasonPolicyUnknown || c.Status != metav1.ConditionUnknown {
			t.Errorf("PolicyPassed: %+v", c)
		}
		if now, _ := p.settings(); now != "one" {
			t.Errorf("what was not tested was applied: %s", now)
		}
	})
	p.t = t
	if f := p.pass(); f.Status.Applied.Sequence < 2 || conditionOf(f, v1alpha1.ConditionReady).Status != metav1.ConditionTrue {
		t.Errorf("it did not recover: %+v", f.Status)
	}
	p.auditIsClean(2)
}

func TestAnObjectStoreThatLostObjectsIsFilledAgain(t *testing.T) { // fault I07
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	p.setConfig("two")
	p.commit(alice, "two")
	p.restart()
	objects := filepath.Join(p.setup.DataDir, p.namespace, "factory", "source.git", "objects")
	files, err := filepath.Glob(filepath.Join(objects, "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no objects below %s: %v", objects, err)
	}
	for _, file := range files {
		p.must(os.Remove(file))
	}
	for range 3 {
		if now, _ := p.settings(); now == "two" {
			break
		}
		p.pass()
	}
	if now, _ := p.settings(); now != "two" {
		t.Errorf("the cluster says %q", now)
	}
	p.auditIsClean(2)
}

func TestADeletedRecordIsMissedAndItsNumberNotGivenOutAgain(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "one")
	p.applied()
	p.setConfig("two")
	p.commit(alice, "two")
	p.applied()
	newest := p.records()[1]
	p.must(p.client.Delete(t.Context(), &newest))
	f := p.pass()
	if c := conditionOf(f, v1alpha1.ConditionAttested); c.Reason != report.ReasonChainBroken || c.Status != metav1.ConditionFalse {
		t.Errorf("Attested: %+v", c)
	}
	if n := len(p.records()); n != 1 {
		t.Errorf("%d records: the number of the deleted one was given out again", n)
	}
	p.edit("mallory-kubectl", "drifted")
	p.pass()
	if now, _ := p.settings(); now != "two" {
		t.Errorf("drift is not put back while the record is missing: %s", now)
	}
}

func TestARecordThatSomebodyForgedStopsNewRevisions(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	first := p.records()[0]
	forged := first.DeepCopy()
	forged.ObjectMeta = metav1.ObjectMeta{Namespace: p.namespace, Name: v1alpha1.AppliedRevisionName("factory", 2), Labels: first.Labels}
	forged.Spec.Sequence, forged.Spec.Previous = 2, first.Spec.Digest
	p.must(p.client.Create(t.Context(), forged))
	p.setConfig("two")
	p.commit(alice, "two")
	f := p.pass()
	if c := conditionOf(f, v1alpha1.ConditionAttested); c.Reason != report.ReasonChainBroken || c.Status != metav1.ConditionFalse {
		t.Errorf("Attested: %+v", c)
	}
	if now, _ := p.settings(); now != "one" {
		t.Errorf("a revision was applied on top of a broken chain: %s", now)
	}
	p.edit("mallory-kubectl", "drifted")
	if f = p.pass(); conditionOf(f, v1alpha1.ConditionReady).Reason != report.ReasonChainBroken {
		t.Errorf("Ready: %+v", conditionOf(f, v1alpha1.ConditionReady))
	}
	if now, _ := p.settings(); now != "one" {
		t.Errorf("a forged record ends the correction of drift: %s", now)
	}
}

func TestEachRecordCoversTheCommitsSinceTheOneBefore(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "one")
	p.commit(alice, "two")
	p.applied()
	p.setConfig("three")
	third := p.commit(alice, "three")
	f := p.applied()
	p.auditIsClean(2)
	if f.Status.Applied.Signer != alice.Email || f.Status.Applied.Commit != third {
		t.Errorf("applied: %+v", f.Status.Applied)
	}
	for i, want := range []int{2, 1} {
		statement := p.statement(i)
		if got := statement.Predicate.Source.Range; got.Total != want || got.Commits[want-1].Commit != statement.Commit() {
			t.Errorf("record %d covers %+v, want %d commits", i+1, got, want)
		}
	}
}

func TestARecordNeverChanges(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	record := p.records()[0]
	record.Spec.Commit = strings.Repeat("0", 40)
	if err := p.client.Update(t.Context(), &record); err == nil {
		t.Error("the API server let somebody rewrite a record")
	}
}

// auditIsClean walks the chain as an auditor would, and counts its revisions.
func (p *plant) auditIsClean(revisions int) {
	p.t.Helper()
	data, err := os.ReadFile(p.setup.TrustedRoot)
	p.must(err)
	material, err := attest.ParseTrustedRoot(data)
	p.must(err)
	result, err := attest.Audit(reconciler.Records(p.records()), attest.Options{
		TrustedRoot: material, Policies: []attest.Policy{{Key: p.setup.Key.Public(), UnsafeWithoutLog: true}},
	})
	p.must(err)
	seen := map[string]bool{}
	for _, r := range result.Records {
		if r.Result == "Enforced" {
			continue
		}
		if seen[r.Commit] {
			p.t.Errorf("commit %s has two records", r.Commit)
		}
		seen[r.Commit] = true
	}
	if !result.OK || len(seen) != revisions {
		p.t.Errorf("audit: records of %d revisions, want %d\n%s", len(seen), revisions, result.Text())
	}
}
