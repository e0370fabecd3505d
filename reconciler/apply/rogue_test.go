package apply

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

func TestARogueEditIsPutBackAndAttributedHoweverItWasMade(t *testing.T) { // row F01
	t.Parallel()
	s := newSite(t, "rogue")
	s.namespace("rogue")
	m := s.component(configMap("NAME", "updated", "x"), configMap("NAME", "impersonated", "x"), configMap("NAME", "replaced", "x"), configMap("NAME", "forced", "x"))
	s.converge(m)
	client, force := s.dynamic.Resource(configMaps).Namespace("rogue"), true
	evil := func(name string) []byte {
		return []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"},"data":{"key":"evil"}}`)
	}
	s.edit(configMaps, "rogue", "updated", "kubectl-edit", map[string]any{"data": map[string]any{"key": "evil"}})
	// With our own name, our own way of writing, and force.
	if _, err := client.Patch(t.Context(), "impersonated", types.ApplyPatchType, evil("impersonated"), metav1.PatchOptions{FieldManager: s.manager("rogue"), Force: &force}); err != nil {
		t.Fatal(err)
	}
	replaced := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "replaced", "namespace": "rogue"}, "data": map[string]any{"key": "evil"},
	}}
	if _, err := client.Update(t.Context(), replaced, metav1.UpdateOptions{FieldManager: "kubectl-replace"}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Patch(t.Context(), "forced", types.ApplyPatchType, evil("forced"), metav1.PatchOptions{FieldManager: "thief", Force: &force}); err != nil {
		t.Fatal(err)
	}
	p, set := s.pass(m)
	got := map[string]string{}
	for _, c := range p.Corrections() {
		for _, d := range c.Differences {
			if d.Path == ".data.key" {
				got[c.ID.Name] = d.Manager + " " + d.Operation
			}
		}
	}
	for name, want := range map[string]string{
		"updated": "kubectl-edit Update", "impersonated": s.manager("rogue") + " Apply", "replaced": "kubectl-replace Update", "forced": "thief Apply",
	} {
		if got[name] != want {
			t.Errorf("%s is attributed to %q, want %q", name, got[name], want)
		}
		if data, _ := s.get(configMaps, "rogue", name).Object["data"].(map[string]any); data["key"] != "x" {
			t.Errorf("%s is not put back: %v", name, data)
		}
	}
	if len(set.Corrected()) != 4 || !set.Complete() {
		t.Error(describe(set))
	}
	s.inSync(m)
}

func TestAKindThatIsDefinedLaterIsFoundForItsWatch(t *testing.T) {
	t.Parallel()
	s := newSite(t, "later")
	s.namespace("later")
	finder := engineAt(t, s.cfg, "later")
	if _, err := finder.GVR(t.Context(), "later.example.org/v1", "Mill"); !errors.Is(err, ErrNotServed) {
		t.Fatalf("before its definition: %v", err)
	}
	s.converge(s.component(definition, custom))
	if gvr, err := finder.GVR(t.Context(), "later.example.org/v1", "Mill"); err != nil || gvr.Resource != "mills" {
		t.Errorf("after its definition: %v, %v", gvr, err)
	}
}

func TestAnInventoryThatWasEditedTogetherWithItsObjectHidesNothing(t *testing.T) { // row F08
	t.Parallel()
	s := newSite(t, "covered")
	s.namespace("covered")
	m := s.component(configMap("NAME", "a", "x"))
	set := s.converge(m)
	s.edit(configMaps, "covered", "a", "rogue", map[string]any{"data": map[string]any{"key": "evil"}})
	// The record is made to say that the object is in order as it is now.
	live := s.get(configMaps, "covered", "a")
	forged := set.Inventory
	id := render.ID{Kind: "ConfigMap", Namespace: "covered", Name: "a"}
	entry := forged.Entries[id]
	entry.Meta, _ = plan.MetaOf(live, s.manager("covered"))
	forged.Entries[id] = entry
	accomplice := engineAt(t, s.cfg, "covered")
	if _, err := accomplice.store(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	p, set := s.pass(m)
	if len(p.Corrections()) != 1 || len(set.Corrected()) != 1 {
		t.Fatalf("%s%s", p.Text(), describe(set))
	}
	if data, _ := s.get(configMaps, "covered", "a").Object["data"].(map[string]any); data["key"] != "x" {
		t.Errorf("not put back: %v", data)
	}
	s.inSync(m)
}
