package reconciler_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/source"
)

// untilSeen waits until the watch saw what somebody did.
func (p *plant) untilSeen() {
	p.t.Helper()
	key := types.NamespacedName{Namespace: p.namespace, Name: "factory"}
	for deadline := time.Now().Add(30 * time.Second); len(p.setup.Watcher.Seen(key)) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatal("the watch saw nothing")
		}
	}
}

func TestWhatIsInForceIsPutBackBeforeTheSourceIsAsked(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	l, _ := p.audited()
	p.applied()
	p.untilQuiet(l)
	p.setConfig("unsigned")
	bad := p.commit(nobody, "unsigned")
	refused := conditionOf(p.pass(), v1alpha1.ConditionSourceVerified)
	if refused.Status == "True" {
		t.Fatalf("an unsigned commit is accepted: %+v", refused)
	}
	p.untilQuiet(l)

	// The source is away, which a pass that asked it would say.
	p.git.Stop()
	p.edit("mallory-kubectl", "drifted")
	p.untilSeen()
	f := p.pass()
	if now, _ := p.settings(); now != "one" {
		t.Errorf("it is %q after the pass", now)
	}
	if c := conditionOf(f, v1alpha1.ConditionSourceVerified); c.Reason != refused.Reason || f.Status.Refused == nil || f.Status.Refused.Commit != bad {
		t.Errorf("the pass asked the source, or forgot what was said of it: %+v, %+v", c, f.Status.Refused)
	}
	if len(f.Status.Drift.Last) != 1 || f.Status.Drift.Last[0].Manager != "mallory-kubectl" {
		t.Errorf("told is %+v", f.Status.Drift)
	}

	// Whoever goes on, with other objects, does not keep the source from being asked.
	p.late += 1100 * time.Millisecond
	guard := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policies.kyverno.io/v1", "kind": "ValidatingPolicy", "metadata": map[string]any{"name": "no-tokens-in-" + p.namespace + "-work"},
	}}
	p.must(p.client.Patch(t.Context(), guard, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"failurePolicy":"Ignore"}}`)), client.FieldOwner("mallory-kubectl")))
	p.untilSeen()
	f = p.pass()
	p.must(p.client.Get(t.Context(), client.ObjectKeyFromObject(guard), guard))
	if now, _, _ := unstructured.NestedString(guard.Object, "spec", "failurePolicy"); now != "Fail" {
		t.Errorf("the policy says %q after a pass that asked the source", now)
	}
	if c := conditionOf(f, v1alpha1.ConditionSourceVerified); c.Reason != source.ReasonSourceUnreachable {
		t.Errorf("the source was not asked: %+v", c)
	}
	p.auditIsClean(1)
}
