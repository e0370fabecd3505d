package apply

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

func TestAFactoryIsAppliedInOnePassAndTheNextPassWritesNothing(t *testing.T) { // row H02
	t.Parallel()
	s := newSite(t, "whole")
	// In the order in which they could not be applied: the custom resource
	// before its definition, everything before its namespace, and a fail-closed
	// webhook without a server before what it would refuse.
	m := s.components(map[string]string{
		"whole-a": webhook + "\n---\n" + custom,
		"whole-b": deployment + "\n---\n" + configMap("NAME", "settings", "one"),
		"whole-c": definition + "\n---\n" + namespaceDoc("NAME"),
	}, "whole-a", "whole-b", "whole-c")
	set := s.converge(m)
	if got := set.Count(); got[Created] != 6 || len(got) != 1 {
		t.Fatalf("got %v, want 6 created", got)
	}
	if last := set.Results[5].ID.Kind; last != "ValidatingWebhookConfiguration" {
		t.Errorf("%s was applied last, want the webhook", last)
	}
	before := s.versions(set.Inventory)
	s.restart()
	p, again := s.pass(m)
	if !p.Empty() || len(again.Results) != 0 {
		t.Errorf("second pass:\n%s%s", p.Text(), describe(again))
	}
	if diff := cmp.Diff(before, s.versions(set.Inventory)); diff != "" {
		t.Errorf("the second pass wrote:\n%s", diff)
	}
	if diff := cmp.Diff(set.Inventory.Records, again.Inventory.Records); diff != "" {
		t.Errorf("the second pass wrote the inventory:\n%s", diff)
	}
}

func TestANewRevisionChangesOnlyWhatItChanges(t *testing.T) {
	t.Parallel()
	s := newSite(t, "revise")
	s.namespace("revise")
	first := s.converge(s.component(deployment, configMap("NAME", "a", "one"), configMap("NAME", "b", "one")))
	p, set := s.pass(s.component(deployment, configMap("NAME", "a", "one"), configMap("NAME", "b", "two")))
	changes := p.Changes()
	if len(changes) != 1 || changes[0].Op != plan.Update || changes[0].ID.Name != "b" {
		t.Fatalf("plan:\n%s", p.Text())
	}
	if want := []plan.Difference{{Path: ".data.key"}}; !cmp.Equal(changes[0].Differences, want) {
		t.Errorf("differences %+v, want %+v", changes[0].Differences, want)
	}
	if set.Count()[Updated] != 1 {
		t.Error(describe(set))
	}
	a := render.ID{Kind: "ConfigMap", Namespace: "revise", Name: "a"}
	if first.Inventory.Entries[a] != set.Inventory.Entries[a] {
		t.Error("the entry of an unchanged object changed")
	}
}

func TestAFieldThatIsNoLongerDeclaredIsRemoved(t *testing.T) {
	t.Parallel()
	s := newSite(t, "unfield")
	s.namespace("unfield")
	s.converge(s.component(configMap("NAME", "a", "one") + "\n  # more\n"))
	s.converge(s.component("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NAME}\ndata: {other: x}"))
	o := s.get(configMaps, "unfield", "a")
	data, _ := o.Object["data"].(map[string]any)
	if len(data) != 1 || data["other"] != "x" || len(o.GetLabels()) != 0 {
		t.Errorf("got data %v, labels %v", data, o.GetLabels())
	}
}

func TestOneBadObjectFailsByNameAndTheRestConverges(t *testing.T) { // row G22
	t.Parallel()
	s := newSite(t, "badone")
	s.namespace("badone")
	p, set := s.pass(s.component(
		configMap("NAME", "good", "one"),
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_A_Name, namespace: NAME}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: homeless, namespace: badone-nowhere}",
		"apiVersion: nowhere.example.org/v1\nkind: Ghost\nmetadata: {name: boo, namespace: NAME}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nameless}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: untyped, namespace: NAME}\ndata: {k: true}",
		configMap("NAME", "large", string(make32K(40))),
	))
	want := map[string]string{
		"Not_A_Name": plan.ReasonInvalid, "homeless": ReasonNamespaceMissing, "boo": ReasonNotServed,
		"nameless": plan.ReasonInvalid, "untyped": plan.ReasonInvalid, "large": ReasonTooLarge, "good": "",
	}
	got := map[string]string{}
	for _, r := range set.Results {
		got[r.ID.Name] = r.Reason
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s\n%s", diff, describe(set), p.Text())
	}
	if s.get(configMaps, "badone", "good") == nil || set.Complete() {
		t.Error("the good one was not applied, or the set claims to be complete")
	}
}

func make32K(n int) []byte {
	out := make([]byte, n<<15)
	for i := range out {
		out[i] = 'x'
	}
	return out
}

func TestWhatNeedsAFailedDefinitionWaitsAndEverythingElseGoesOn(t *testing.T) { // row H01
	t.Parallel()
	s := newSite(t, "gated")
	s.namespace("gated")
	// Another definition has the names already: ours is never Established.
	other := "gatedother"
	o := newSite(t, other)
	taken := `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: windmills.gated.example.org}
spec:
  group: gated.example.org
  scope: Namespaced
  names: {kind: Mill, plural: windmills, singular: mill, listKind: MillList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}`
	o.converge(o.component(taken))
	_, set := s.pass(s.component(definition, custom, configMap("NAME", "free", "x")))
	got := map[string]string{}
	for _, r := range set.Results {
		got[r.ID.Kind] = r.Reason
	}
	want := map[string]string{
		"CustomResourceDefinition": ReasonNotEstablished, "Mill": ReasonDependencyFailed, "ConfigMap": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s", diff, describe(set))
	}
}

func TestHealthIsKnownWhereSomethingReportsItAndUnknownWhereNot(t *testing.T) {
	t.Parallel()
	s := newSite(t, "health")
	m := s.component(namespaceDoc("NAME"), definition, custom, deployment, configMap("NAME", "a", "x"))
	s.converge(m)
	h, err := s.Health(t.Context(), m, HealthUnknown, "no kubelet here")
	if err != nil {
		t.Fatal(err)
	}
	if h.Verdict != Unknown || h.Reason != ReasonNoWorkloadController {
		t.Errorf("got %+v", h)
	}
	if want := (Tally{Ready: 3, Unknown: 2}); h.Components["health"] != want {
		t.Errorf("got %+v, want %+v", h.Components["health"], want)
	}
	s.restart() // the definition's state is asked for again
	h, err = s.Health(t.Context(), m, HealthObserve, "")
	if err != nil {
		t.Fatal(err)
	}
	// The Deployment has no controller that would observe its generation.
	if h.Verdict != InProgress || h.Components["health"].InProgress != 1 || len(h.NotReady) != 1 {
		t.Errorf("got %+v", h)
	}
}

func TestAnObjectMayMoveToAnotherComponent(t *testing.T) {
	t.Parallel()
	s := newSite(t, "moved")
	s.namespace("moved")
	before := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NAME}\ndata: {one: x, two: x}"
	after := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NAME}\ndata: {one: z}"
	rest := configMap("NAME", "rest", "x")
	s.converge(s.components(map[string]string{"moved-from": before + "\n---\n" + rest, "moved-to": ""}, "moved-from", "moved-to"))
	set := s.converge(s.components(map[string]string{"moved-from": rest, "moved-to": after}, "moved-from", "moved-to"))
	if set.Count()[Updated] != 1 || set.Count()[Pruned] != 0 {
		t.Error(describe(set))
	}
	o := s.get(configMaps, "moved", "a")
	if data, _ := o.Object["data"].(map[string]any); len(data) != 1 || data["one"] != "z" {
		t.Errorf("got data %v", data)
	}
	for _, f := range o.GetManagedFields() {
		if f.Manager == plan.FieldManager("moved-system/moved", "moved-from") {
			t.Error("the old component still owns fields")
		}
	}
	s.restart()
	if e := s.plan(s.components(map[string]string{"moved-from": rest, "moved-to": after}, "moved-from", "moved-to")); !e.Empty() {
		t.Error(e.Text())
	}
}

func TestAFailClosedWebhookWithoutAServerIsNamedAndTheRestConverges(t *testing.T) {
	t.Parallel()
	s := newSite(t, "webhooked")
	s.namespace("webhooked")
	s.converge(s.component(webhook))
	_, set := s.pass(s.component(webhook, deployment, configMap("NAME", "a", "x")))
	if f := set.Failed(); len(f) != 1 || f[0].Reason != ReasonWebhookUnavailable || !f[0].Retry {
		t.Error(describe(set))
	}
	if s.get(configMaps, "webhooked", "a") == nil {
		t.Error("the rest was not applied")
	}
}
