package reconciler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
)

// ruled is the configuration with a rule for one object of the component app.
func ruled(rule string) string {
	return strings.Replace(factoryConfig, "dependsOn: [base], drift: correct",
		"dependsOn: [base], drift: correct, objects: [{kind: ConfigMap, name: settings, "+rule+"}]", 1)
}

func TestARuleForOneObjectSaysHowItsDriftIsMet(t *testing.T) {
	p := newPlant(t)
	p.write("factory-config/factory.yaml", ruled("drift: alert"))
	p.write("overlays/local/app/kustomization.yaml", "resources: [config.yaml, other.yaml]\n")
	p.write("overlays/local/app/other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: "+p.namespace+"-work}\ndata: {key: one}\n")
	p.commit(alice, "one object is only reported")
	p.applied()
	p.edit("mallory-kubectl", "drifted")
	other := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: p.namespace + "-work", Name: "other"}
	p.must(p.client.Get(t.Context(), key, other))
	other.Data["key"] = "drifted"
	p.must(p.client.Update(t.Context(), other, client.FieldOwner("mallory-kubectl")))
	f := p.applied()
	p.must(p.client.Get(t.Context(), key, other))
	if now, _ := p.settings(); now != "drifted" || other.Data["key"] != "one" {
		t.Errorf("the object with the rule says %q, the other %q", now, other.Data["key"])
	}
	if c := conditionOf(f, v1alpha1.ConditionDrifted); c.Reason != report.ReasonDriftReported || !strings.Contains(c.Message, "settings by mallory-kubectl") {
		t.Errorf("Drifted: %+v", c)
	}
	first := f.Status.Drift.Open[0].Time
	p.late += time.Minute
	if f = p.applied(); len(f.Status.Drift.Open) != 1 || !f.Status.Drift.Open[0].Time.Equal(&first) {
		t.Errorf("the same drift is new in the next pass: %+v", f.Status.Drift.Open)
	}
	p.write("factory-config/factory.yaml", ruled("ignore: [.data.key]"))
	p.commit(alice, "one field is ignored")
	if f = p.applied(); conditionOf(f, v1alpha1.ConditionDrifted).Type != "" {
		t.Errorf("what is ignored is drift: %+v", f.Status.Conditions)
	}
	if now, _ := p.settings(); now != "drifted" {
		t.Errorf("what is ignored was put back: %s", now)
	}
	p.late += time.Minute
	p.write("factory-config/factory.yaml", factoryConfig)
	p.commit(alice, "no rule any more")
	p.applied()
	if now, _ := p.settings(); now != "one" {
		t.Errorf("without a rule the object says %q", now)
	}
	p.auditIsClean(3)
}

func TestASweepIsToldWithTimeAndCountAndNoMoreOftenThanItIsDue(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	f := p.applied()
	first := f.Status.Drift.Swept
	if first == nil || first.Objects != 4 || first.Unobserved != 0 {
		t.Fatalf("swept: %+v", first)
	}
	version, before := f.ResourceVersion, f
	p.late += time.Minute
	if f = p.applied(); f.ResourceVersion != version {
		t.Errorf("a pass that found nothing wrote the status:\n%s", cmp.Diff(before.Status, f.Status))
	}
	p.late += 10 * time.Minute
	if f = p.applied(); !f.Status.Drift.Swept.Time.After(first.Time.Time) {
		t.Errorf("after the interval there was no sweep: %+v", f.Status.Drift.Swept)
	}
	f.Spec.Drift.SweepInterval = metav1.Duration{Duration: time.Hour}
	p.must(p.client.Update(t.Context(), f))
	p.late += 11 * time.Minute
	second := f.Status.Drift.Swept
	if f = p.applied(); !f.Status.Drift.Swept.Time.Equal(&second.Time) {
		t.Error("the interval of the spec is not heeded")
	}
}
