package apply

import (
	"errors"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

func TestWhatLeavesTheDeclarationIsPruned(t *testing.T) {
	t.Parallel()
	s := newSite(t, "pruned")
	s.namespace("pruned")
	keep := configMap("NAME", "keep", "x")
	s.converge(s.component(keep, configMap("NAME", "a", "x"), deployment, configMap("NAME", "b", "x")))
	set := s.converge(s.component(keep, configMap("NAME", "b", "x"), deployment))
	if set.Count()[Pruned] != 1 || s.get(configMaps, "pruned", "a") != nil {
		t.Error(describe(set))
	}
	if len(set.Inventory.Entries) != 3 {
		t.Errorf("inventory %v", set.Inventory.IDs())
	}
}

func TestAComponentThatLeavesTheFactoryIsPruned(t *testing.T) {
	t.Parallel()
	s := newSite(t, "leaver")
	s.namespace("leaver")
	docs := map[string]string{"leaver-stays": "", "leaver-goes": configMap("NAME", "gone", "x")}
	for i := range 5 {
		docs["leaver-stays"] += configMap("NAME", fmt.Sprintf("stays-%d", i), "x") + "\n---\n"
	}
	s.converge(s.components(docs, "leaver-stays", "leaver-goes"))
	s.restart()
	set := s.converge(s.components(docs, "leaver-stays"))
	if set.Count()[Pruned] != 1 || s.get(configMaps, "leaver", "gone") != nil {
		t.Error(describe(set))
	}
}

func TestMorePruningThanAllowedIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "overprune")
	var docs []string
	for i := range 8 {
		docs = append(docs, configMap("NAME", fmt.Sprintf("c%d", i), "x"))
	}
	docs = append(docs, namespaceDoc("NAME"), namespaceDoc("NAME-two"))
	s.converge(s.component(docs...))
	for name, tc := range map[string]struct {
		docs   []string
		limits plan.Limits
		code   string
	}{
		"by number":    {docs[4:], plan.Limits{MaxPrune: 3, MaxPrunePercent: 100}, "plan/prune-count"},
		"by share":     {docs[4:], plan.Limits{MaxPrune: 25, MaxPrunePercent: 25}, "plan/prune-share"},
		"by kind":      {docs[:9], plan.DefaultLimits(), "plan/prune-protected"},
		"all at once":  {nil, plan.DefaultLimits(), "plan/prune-share"},
		"no allowance": {docs[1:], plan.Limits{}, "plan/prune-count"},
	} {
		p, err := s.tryPlan(t.Context(), s.component(tc.docs...), tc.limits)
		var no *plan.Refusal
		if !errors.As(err, &no) || no.Code != tc.code || no.Reason != plan.ReasonPruneLimit || no.Hint == "" {
			t.Errorf("%s: got %v, want %s\n%s", name, err, tc.code, p.Text())
		}
	}
	s.inSync(s.component(docs...))
}

func TestAnObjectHeldByAFinalizerStaysInTheInventoryUntilItIsGone(t *testing.T) { // row H12
	t.Parallel()
	s := newSite(t, "held")
	s.namespace("held")
	keep := s.component(configMap("NAME", "a", "x"), configMap("NAME", "b", "x"), configMap("NAME", "c", "x"))
	s.converge(s.component(configMap("NAME", "a", "x"), configMap("NAME", "b", "x"), configMap("NAME", "c", "x"), configMap("NAME", "stuck", "x")))
	s.edit(configMaps, "held", "stuck", "holder", map[string]any{"metadata": map[string]any{"finalizers": []any{"example.org/hold"}}})
	_, set := s.pass(keep)
	if set.Count()[Deleting] != 1 || len(set.Inventory.Entries) != 4 || set.Complete() {
		t.Fatal(describe(set))
	}
	p, set := s.pass(keep)
	if p.Empty() || set.Count()[Waiting] != 1 || len(set.Inventory.Entries) != 4 {
		t.Fatalf("%s%s", p.Text(), describe(set))
	}
	s.edit(configMaps, "held", "stuck", "holder", map[string]any{"metadata": map[string]any{"finalizers": nil}})
	s.inSync(keep)
}

func TestNothingIsDeletedAfterAFailure(t *testing.T) {
	t.Parallel()
	s := newSite(t, "nodelete")
	s.namespace("nodelete")
	rest := []string{configMap("NAME", "a", "x"), configMap("NAME", "b", "x"), configMap("NAME", "c", "x")}
	s.converge(s.component(append(rest, configMap("NAME", "old", "x"))...))
	_, set := s.pass(s.component(append(rest, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name, namespace: NAME}")...))
	if s.get(configMaps, "nodelete", "old") == nil || set.Count()[Waiting] != 1 {
		t.Error(describe(set))
	}
}

func TestAnInventoryThatSomebodyEditedDeletesNothingOfOthers(t *testing.T) { // row F08
	t.Parallel()
	s := newSite(t, "forged")
	s.namespace("forged")
	var docs []string
	for i := range 4 {
		docs = append(docs, configMap("NAME", fmt.Sprintf("c%d", i), "x"))
	}
	m := s.component(docs...)
	set := s.converge(m)
	// A well-formed record that claims a system object, with its true UID.
	victim := s.get(configMaps, "kube-system", "extension-apiserver-authentication")
	forged := set.Inventory
	forged.Entries[render.ID{Kind: "ConfigMap", Namespace: "kube-system", Name: victim.GetName()}] = plan.Entry{
		Component: "forged", APIVersion: "v1", Declared: "sha256:0",
		Meta: plan.Meta{UID: string(victim.GetUID()), ResourceVersion: victim.GetResourceVersion()},
	}
	if _, err := s.store(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	s.restart()
	p, set := s.pass(m)
	if len(p.Changes()) != 0 || set.Results[0].Reason != plan.ReasonNotOurs {
		t.Errorf("%s%s", p.Text(), describe(set))
	}
	if s.get(configMaps, "kube-system", victim.GetName()) == nil {
		t.Error("an object of somebody else was deleted")
	}
}

func TestAnObjectThatWasMadeAnewBySomebodyElseIsNotPruned(t *testing.T) {
	t.Parallel()
	s := newSite(t, "reborn")
	s.namespace("reborn")
	rest := []string{configMap("NAME", "a", "x"), configMap("NAME", "b", "x"), configMap("NAME", "c", "x")}
	s.converge(s.component(append(rest, configMap("NAME", "x", "x"))...))
	s.remove(configMaps, "reborn", "x")
	o := s.get(configMaps, "reborn", "a").DeepCopy()
	o.Object = map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"mine": "now"}}
	o.SetName("x")
	if _, err := s.dynamic.Resource(configMaps).Namespace("reborn").Create(t.Context(), o, metav1.CreateOptions{FieldManager: "other"}); err != nil {
		t.Fatal(err)
	}
	s.inSync(s.component(rest...))
	if s.get(configMaps, "reborn", "x") == nil {
		t.Error("it was deleted")
	}
}
