package reconciler_test

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// before lists what was asked before the first write of a declared object.
func before(asked []string, write string) []string {
	i := slices.IndexFunc(asked, func(what string) bool { return strings.HasSuffix(what, write) })
	if i < 0 {
		return nil
	}
	return asked[:i]
}

// What comes before the first write is what has to: which cluster it is, that the
// records are those that we know, and the verdict.
func TestACommitIsFollowedWithoutAskingForWhatItDoesNotChange(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	l, _ := p.audited()
	p.applied()
	p.untilQuiet(l)
	for _, value := range []string{"two", "three"} {
		p.setConfig(value)
		p.commit(alice, value)
		l.take()
		p.step()
		asked := l.take()
		if got, _ := p.settings(); got != value {
			t.Fatalf("the cluster says %q", got)
		}
		ns := "/namespaces/" + p.namespace
		want := []string{
			"GET /api/v1/namespaces/kube-system", "GET /api/v1" + ns + "/configmaps",
			"POST /apis/millwright.dev/v1alpha1" + ns + "/appliedrevisions",
		}
		// The intent is stored beside the write, and may arrive before it.
		intent := "PUT /apis/millwright.dev/v1alpha1" + ns + "/factories/factory/status"
		if !slices.Contains(asked, intent) {
			t.Errorf("%s: the intent was not stored: %v", value, asked)
		}
		got := slices.DeleteFunc(slices.Clone(before(asked, "-work/configmaps/settings")), func(what string) bool { return what == intent })
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: before the write it asked %v, want %v", value, got, want)
		}
		writes := slices.DeleteFunc(slices.Clone(asked), func(what string) bool { return !strings.HasSuffix(what, "-work/configmaps/settings") })
		if len(writes) != 1 || !strings.HasPrefix(writes[0], "PATCH ") {
			t.Errorf("%s: of the object it asked %v", value, writes)
		}
		p.untilQuiet(l)
	}
	if n := len(p.records()); n != 3 {
		t.Errorf("%d records of three revisions", n)
	}
}

// What a look would have shown is found in the same pass, by looking.
func TestAWriteWithoutALookThatFailsIsDecidedByLooking(t *testing.T) { // row H14
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
	l, _ := p.audited()
	p.applied()
	p.untilQuiet(l)
	settings("two", "")
	p.commit(alice, "two")
	l.take()
	c := conditionOf(p.pass(), v1alpha1.ConditionApplied)
	if c.Status != metav1.ConditionFalse || c.Reason != "ImmutableField" || strings.Contains(c.Message, "two") {
		t.Errorf("Applied: %+v", c)
	}
	if asked := l.take(); !slices.ContainsFunc(asked, func(what string) bool {
		return strings.HasPrefix(what, "GET ") && strings.HasSuffix(what, "-work/configmaps/settings")
	}) {
		t.Errorf("it was not looked at: %v", asked)
	}
	if got, _ := p.settings(); got != "one" {
		t.Errorf("the cluster says %q", got)
	}
	settings("two", ", objects: [{kind: ConfigMap, name: settings, recreate: true}]")
	p.commit(alice, "two, made anew")
	p.applied() // in one pass
	if got, _ := p.settings(); got != "two" {
		t.Errorf("the cluster says %q", got)
	}
}
