package reconciler_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
)

// gate is a factory whose second component waits for the first, and health is
// judged by an expression about what is never there.
func gate(current string) string {
	text := strings.Replace(factoryConfig, "{mode: Unknown, reason: no kubelet runs here}", "{mode: Observe}", 1)
	return strings.Replace(text, "{name: base, path: base, drift: correct}", `name: base
    path: base
    drift: correct
    wait: 1h
    health: [{apiVersion: policies.kyverno.io/v1, kind: ValidatingPolicy, current: '`+current+`'}]`, 1)
}

func TestANextCommitDoesNotWaitForOneThatNeverBecomesHealthy(t *testing.T) { // row H19
	p := newPlant(t)
	p.setConfig("two")
	p.write("factory-config/factory.yaml", gate("object.status.ready == true"))
	p.commit(alice, "a gate that never opens")
	f := p.pass()
	c := conditionOf(f, v1alpha1.ConditionApplied)
	if c.Status != metav1.ConditionFalse || c.Reason != report.ReasonHealthGateClosed || !strings.Contains(c.Message, "ValidatingPolicy") {
		t.Fatalf("Applied: %+v", c)
	}
	if got, _ := p.settings(); got != "" || len(p.records()) != 0 {
		t.Errorf("%q was applied behind a closed gate, or attested", got)
	}
	result, err := p.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(f)})
	if err != nil || result.RequeueAfter.Seconds() > 1 {
		t.Errorf("looks again after %v, %v", result.RequeueAfter, err)
	}
	p.setConfig("three")
	p.write("factory-config/factory.yaml", gate("has(object.spec)"))
	p.commit(alice, "a gate that opens")
	f = p.applied()
	if got, _ := p.settings(); got != "three" {
		t.Errorf("the cluster says %q; %+v", got, f.Status.Conditions)
	}
	p.auditIsClean(1)
}

func TestTheDemoSaysWhichGatesItOpensWithoutLooking(t *testing.T) {
	p := newPlant(t)
	p.write("factory-config/factory.yaml", strings.Replace(factoryConfig, "path: base, drift", "path: base, wait: 5m, drift", 1))
	p.commit(alice, "a gate where nothing runs")
	f := p.applied()
	if c := conditionOf(f, v1alpha1.ConditionHealthy); c.Reason != report.ReasonHealthUnobserved || !strings.Contains(c.Message, "base (1 objects)") {
		t.Errorf("Healthy: %+v", c)
	}
}

func TestAFieldThatCannotBeChangedIsTheReasonOfTheRevision(t *testing.T) { // row H14
	p := newPlant(t)
	settings := func(value, extra string) {
		p.write("overlays/local/app/config.yaml", strings.ReplaceAll(`apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NAMESPACE-work}
immutable: true
data: {key: `+value+`}
`, "NAMESPACE", p.namespace))
		p.write("factory-config/factory.yaml", strings.Replace(factoryConfig, "dependsOn: [base], drift: correct", "dependsOn: [base], drift: correct"+extra, 1))
	}
	settings("one", "")
	p.commit(alice, "one")
	p.applied()
	settings("two", "")
	p.commit(alice, "two")
	c := conditionOf(p.pass(), v1alpha1.ConditionApplied)
	if c.Status != metav1.ConditionFalse || c.Reason != "ImmutableField" || !strings.Contains(c.Message, "recreate: true") || strings.Contains(c.Message, "two") {
		t.Fatalf("Applied: %+v", c)
	}
	settings("two", ", objects: [{kind: ConfigMap, name: settings, recreate: true}]")
	p.commit(alice, "two, made anew")
	p.applied()
	if got, _ := p.settings(); got != "two" {
		t.Errorf("the cluster says %q", got)
	}
}
