package reconciler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/plan"
)

func TestAnEditedStatusTakesNothingBack(t *testing.T) {
	p := newPlant(t)
	older := p.commit(alice, "older")
	p.applied()
	p.setConfig("newer")
	p.commit(alice, "newer")
	f := p.applied()
	f.Status.Applied.Commit = older
	p.must(p.client.Status().Update(t.Context(), f))
	p.restart()
	p.git.SetAway(true)
	defer p.git.SetAway(false)
	p.pass()
	if now, _ := p.settings(); now != "newer" {
		t.Errorf("whoever may edit the status rolled the cluster back to %q", now)
	}
	p.auditIsClean(2)
}

func TestASecondControllerDoesNotTakeBackWhatTheFirstApplied(t *testing.T) {
	p := newPlant(t)
	older := p.commit(alice, "older")
	p.applied()
	first := p.loop
	p.setup.DataDir = t.TempDir()
	p.restart()
	p.setConfig("newer")
	p.commit(alice, "newer")
	p.applied()
	p.push(older)
	p.loop = first
	f := p.pass()
	if f.Status.Refused == nil || f.Status.Refused.Reason != "NonFastForward" {
		t.Errorf("a process that remembers the older revision accepts it: %+v", f.Status.Refused)
	}
	if now, _ := p.settings(); now != "newer" {
		t.Errorf("the cluster was rolled back to %q", now)
	}
}

func TestALostStoreWithATurnedRefIsNotShownAsApplied(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	p.push(p.anchor)
	p.setup.DataDir = t.TempDir()
	p.restart()
	f := p.pass()
	if c := conditionOf(f, v1alpha1.ConditionApplied); c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "not enforced") {
		t.Errorf("nothing is enforced, and Applied says %s %s: %s", c.Status, c.Reason, c.Message)
	}
	if now, _ := p.settings(); now != "one" {
		t.Errorf("the cluster says %q", now)
	}
}

func TestTheSameCommitInAnotherEnvironmentIsAttestedForItself(t *testing.T) {
	p := newPlant(t)
	p.write("factory-config/factory.yaml", strings.Replace(factoryConfig, "  components:\n",
		"  - name: other\n    overlay: overlays/other\n    health: {mode: Unknown, reason: no kubelet runs here}\n  components:\n", 1))
	p.write("overlays/other/base/kustomization.yaml", "resources: [objects.yaml]\n")
	p.write("overlays/other/base/objects.yaml", strings.ReplaceAll(baseObjects, "NAMESPACE", p.namespace+"-work"))
	p.write("overlays/other/app/kustomization.yaml", "resources: [config.yaml]\n")
	p.write("overlays/other/app/config.yaml", fmt.Sprintf(
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: %s-work}\ndata: {key: other}\n", p.namespace))
	p.commit(alice, "two environments")
	f := p.applied()
	f.Spec.Environment = "other"
	p.must(p.client.Update(t.Context(), f))
	f = p.applied()
	if now, _ := p.settings(); now != "other" {
		t.Fatalf("the cluster says %q", now)
	}
	records := p.records()
	if len(records) != 2 || records[1].Spec.Rendered != f.Status.Applied.Rendered || f.Status.Applied.Sequence != 2 {
		t.Errorf("what is applied has no record of its own: %d records, status %+v", len(records), f.Status.Applied)
	}
}

func TestAPlanThatIsRefusedLeavesTheLastGoodRevisionInForce(t *testing.T) {
	p := newPlant(t)
	good := p.commit(alice, "good")
	p.applied()
	p.write("overlays/local/base/objects.yaml", fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s-work}\n", p.namespace))
	p.setConfig("evil")
	bad := p.commit(alice, "the definition goes")
	for _, when := range []string{"at once", "again", "after a restart"} {
		if when == "after a restart" {
			p.restart()
		}
		p.late += 5 * time.Minute // edits by hand are minutes apart: no fight
		p.edit("mallory-kubectl", "drifted")
		f := p.pass()
		if r := f.Status.Refused; r == nil || r.Reason != plan.ReasonPruneLimit || r.Commit != bad {
			t.Fatalf("%s: refused: %+v; conditions: %+v", when, r, f.Status.Conditions)
		}
		if c := conditionOf(f, v1alpha1.ConditionReady); c.Status != metav1.ConditionFalse || c.Reason != plan.ReasonPruneLimit {
			t.Errorf("%s: Ready: %+v", when, c)
		}
		if now, _ := p.settings(); now != "one" || f.Status.Applied.Commit != good {
			t.Errorf("%s: the cluster says %q and the status %s", when, now, f.Status.Applied.Commit)
		}
	}
	p.auditIsClean(1)
}
