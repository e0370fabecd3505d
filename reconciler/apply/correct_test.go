package apply

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

var deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}

func TestAHandEditIsPutBackAndItsAuthorNamed(t *testing.T) { // row F01
	t.Parallel()
	s := newSite(t, "handedit")
	s.namespace("handedit")
	m := s.component(deployment, configMap("NAME", "settings", "one"))
	s.converge(m)
	image := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []any{map[string]any{"name": "web", "image": "example.org/evil:1"}},
	}}}}
	// A merge patch replaces the list; args go with it.
	s.edit(deployments, "handedit", "web", "kubectl-edit", image)
	s.edit(configMaps, "handedit", "settings", "intruder", map[string]any{"data": map[string]any{"key": "two"}})
	started := time.Now()
	p, set := s.pass(m)
	t.Logf("observed, planned and put back in %v", time.Since(started))
	who := map[string]string{}
	for _, c := range p.Changes() {
		if c.Op != plan.Correct {
			t.Errorf("%s %s, want Correct", c.Op, plan.Name(c.ID))
		}
		for _, d := range c.Differences {
			who[c.ID.Name+d.Path] = d.Manager + " " + d.Operation
		}
	}
	want := map[string]string{
		"web.spec.template.spec.containers[name=web].image": "kubectl-edit Update",
		"web.spec.template.spec.containers[name=web].args":  "kubectl-edit Update",
		"settings.data.key": "intruder Update",
	}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Errorf("differences:\n%s", diff)
	}
	if len(set.Corrected()) != 2 || !set.Complete() {
		t.Error(describe(set))
	}
	if strings.Contains(p.Text(), "evil") || strings.Contains(describe(set), "two") {
		t.Errorf("a value of a field is in the record:\n%s", p.Text())
	}
	s.inSync(m)
}

func TestWhatSomebodyTookAwayComesBack(t *testing.T) { // rows F02, F03, F04
	t.Parallel()
	s := newSite(t, "taken")
	s.namespace("taken")
	m := s.component(configMap("NAME", "deleted", "x"), configMap("NAME", "stripped", "x"),
		configMap("NAME", "remade", "x"), configMap("NAME", "disowned", "x"), configMap("NAME", "stolen", "x"))
	first := s.converge(m)
	s.remove(configMaps, "taken", "deleted")
	s.edit(configMaps, "taken", "stripped", "kubectl-label", map[string]any{"metadata": map[string]any{"labels": nil}})
	s.remove(configMaps, "taken", "remade")
	remade := s.get(configMaps, "taken", "stolen").DeepCopy()
	remade.Object = map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"key": "evil"}}
	remade.SetName("remade")
	if _, err := s.dynamic.Resource(configMaps).Namespace("taken").Create(t.Context(), remade, metav1.CreateOptions{FieldManager: "rogue"}); err != nil {
		t.Fatal(err)
	}
	s.edit(configMaps, "taken", "disowned", "rogue", map[string]any{"metadata": map[string]any{"managedFields": []any{map[string]any{}}}})
	// Taken over by force, with our own name of a manager but another way of writing.
	force := true
	_, err := s.dynamic.Resource(configMaps).Namespace("taken").Patch(t.Context(), "stolen", types.ApplyPatchType,
		[]byte(`{"apiVersion":"v1","kind":"ConfigMap","data":{"key":"evil"}}`), metav1.PatchOptions{FieldManager: "thief", Force: &force})
	if err != nil {
		t.Fatal(err)
	}
	p, set := s.pass(m)
	got := map[string]string{}
	for _, c := range p.Changes() {
		paths := make([]string, 0, len(c.Differences))
		for _, d := range c.Differences {
			paths = append(paths, d.Path+" "+d.Manager)
		}
		got[c.ID.Name] = string(c.Op) + " " + strings.Join(paths, ",")
	}
	want := map[string]string{
		"deleted":  "Create . ",
		"stripped": "Correct .metadata.labels ",
		"remade":   "Correct .data.key rogue,.metadata.labels rogue",
		"disowned": "Correct .metadata.managedFields ",
		"stolen":   "Correct .data.key thief",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s", diff, p.Text())
	}
	if !set.Complete() || len(set.Corrected()) != 5 {
		t.Error(describe(set))
	}
	id := render.ID{Kind: "ConfigMap", Namespace: "taken", Name: "remade"}
	if a, b := first.Inventory.Entries[id].UID, set.Inventory.Entries[id].UID; a == b || b == "" {
		t.Errorf("uid %q was recorded after %q", b, a)
	}
	s.inSync(m)
}

func TestWhatOthersAddOrReportIsNoDrift(t *testing.T) {
	t.Parallel()
	s := newSite(t, "harmless")
	s.namespace("harmless")
	m := s.component(configMap("NAME", "settings", "x"), deployment)
	s.converge(m)
	s.edit(configMaps, "harmless", "settings", "injector", map[string]any{"data": map[string]any{"extra": "y"}})
	body := []byte(`{"status":{"replicas":1,"observedGeneration":1}}`)
	_, err := s.dynamic.Resource(deployments).Namespace("harmless").Patch(t.Context(), "web", types.MergePatchType, body,
		metav1.PatchOptions{FieldManager: "kube-controller-manager"}, "status")
	if err != nil {
		t.Fatal(err)
	}
	s.inSync(m)
}

func TestAnObjectOfSomebodyElseIsNotTakenOver(t *testing.T) { // row G08
	t.Parallel()
	s := newSite(t, "foreign")
	s.namespace("foreign")
	create := func(name, value string) {
		t.Helper()
		o := s.get(configMaps, "kube-system", "extension-apiserver-authentication").DeepCopy()
		o.Object = map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"key": value},
			"metadata": map[string]any{"labels": map[string]any{"part": "one"}},
		}
		o.SetName(name)
		if _, err := s.dynamic.Resource(configMaps).Namespace("foreign").Create(t.Context(), o, metav1.CreateOptions{FieldManager: "helm"}); err != nil {
			t.Fatal(err)
		}
	}
	create("theirs", "theirs")
	create("agreed", "ours")
	m := s.component(configMap("NAME", "theirs", "ours"), configMap("NAME", "agreed", "ours"), configMap("NAME", "free", "ours"))
	before := s.get(configMaps, "foreign", "theirs").GetResourceVersion()
	for range 2 { // the second pass, with an inventory, must come to the same answer
		p, set := s.pass(m)
		failed := set.Failed()
		if len(failed) != 1 || failed[0].ID.Name != "theirs" || failed[0].Reason != plan.ReasonFieldConflict {
			t.Fatalf("%s%s", describe(set), p.Text())
		}
		want := []plan.Difference{{Path: ".data.key", Manager: "helm"}}
		if diff := cmp.Diff(want, failed[0].Differences); diff != "" {
			t.Error(diff)
		}
	}
	if after := s.get(configMaps, "foreign", "theirs").GetResourceVersion(); before != after {
		t.Error("the foreign object was written to")
	}
	if s.get(configMaps, "foreign", "free") == nil {
		t.Error("the rest was not applied")
	}
}

func TestAStrangersObjectThatAppearsBetweenPlanAndApplyIsNotTakenOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, "between")
	s.namespace("between")
	m := s.component(configMap("NAME", "late", "ours"))
	p := s.plan(m)
	o := newSite(t, "betweenother")
	o.converge(o.component(configMap("between", "late", "theirs")))
	set, err := s.Apply(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if f := set.Failed(); len(f) != 1 || f[0].Reason != plan.ReasonFieldConflict || f[0].Differences[0].Manager != plan.FieldManager("betweenother-system/betweenother", "betweenother") {
		t.Error(describe(set))
	}
}
