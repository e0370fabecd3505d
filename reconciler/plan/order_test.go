package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/render"
)

func TestKindsDecideTheOrderNotComponentsOrFiles(t *testing.T) {
	t.Parallel()
	m := declare(t, []string{"first", "second"}, map[string][]string{
		"first": {
			doc("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "", "hook", "x"),
			// Of a policy with parameters, which belongs to another component.
			doc("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "", "guard", "x"),
			doc("mill.example.org/v1", "Wheel", "ns", "wheel", "x"),
			doc("apps/v1", "Deployment", "ns", "first", "x"),
			doc("v1", "ServiceAccount", "ns", "first", "x"),
		},
		"second": {
			doc("v1", "Service", "ns", "second", "x"), cm("second", "x"),
			doc("rbac.authorization.k8s.io/v1", "Role", "ns", "second", "x"),
			doc("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "", "guard", "x"),
			definition("wheels.mill.example.org", "mill.example.org", "Wheel"), doc("v1", "Namespace", "", "ns", "x"),
		},
	})
	live := map[render.ID]Live{}
	for _, o := range m.Objects() {
		live[o.ID()] = Live{State: Absent}
	}
	p, err := Compute(m, Observation{Live: live}, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range p.Batches() {
		var kinds []string
		for _, c := range b.Changes {
			kinds = append(kinds, c.ID.Kind)
		}
		got = append(got, strings.TrimSpace(b.Name+": "+strings.Join(kinds, " ")+" "+string(b.Gate)))
	}
	want := []string{
		"namespaces and definitions: Namespace CustomResourceDefinition Foundations",
		"native admission policies: ValidatingAdmissionPolicy",
		"bindings of admission policies: ValidatingAdmissionPolicyBinding",
		"first: identity and access: ServiceAccount",
		"first: services and workloads: Deployment",
		"first: custom resources: Wheel",
		"second: identity and access: Role",
		"second: configuration: ConfigMap",
		"second: services and workloads: Service",
		"webhooks and aggregated APIs: ValidatingWebhookConfiguration",
	}
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" || len(got) != len(want) || got[0][:10] != want[0][:10] || got[1] != want[1] || got[2] != want[2] || got[9] != want[9] {
		t.Errorf("%s\n%s", diff, strings.Join(got, "\n"))
	}
	for _, c := range p.Changes() {
		if c.ID.Kind == "Wheel" {
			want := []render.ID{{Kind: "Namespace", Name: "ns"}, {Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "wheels.mill.example.org"}}
			if diff := cmp.Diff(want, c.Needs); diff != "" {
				t.Errorf("needs: %s", diff)
			}
		}
	}
}

// sorted makes the order of kinds inside a batch irrelevant.
func sorted(batches []string) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, b := range batches {
		i := strings.LastIndex(b, ": ")
		set := map[string]bool{}
		for kind := range strings.FieldsSeq(b[i+2:]) {
			set[kind] = true
		}
		out[b[:i]] = set
	}
	return out
}

func TestPruningIsTheReverseOfApplying(t *testing.T) {
	t.Parallel()
	ids := []render.ID{
		{Kind: "Namespace", Name: "ns"},
		{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "wheels.mill.example.org"},
		{Kind: "ServiceAccount", Namespace: "ns", Name: "sa"},
		{Kind: "ConfigMap", Namespace: "ns", Name: "c"},
		{Group: "apps", Kind: "Deployment", Namespace: "ns", Name: "d"},
		{Group: "mill.example.org", Kind: "Wheel", Namespace: "ns", Name: "w"},
		{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration", Name: "h"},
	}
	obs := Observation{Live: map[render.ID]Live{}, Inventory: Inventory{Entries: map[render.ID]Entry{}}}
	for _, id := range ids {
		obs.Inventory.Entries[id] = Entry{Component: "mill", APIVersion: "v1", Meta: meta("u")}
		obs.Live[id] = Live{State: Present, Managed: true, Meta: meta("u")}
	}
	p, err := Compute(one(t), obs, Limits{MaxPrune: 99, MaxPrunePercent: 100, AllowProtected: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range p.Changes() {
		got = append(got, c.ID.Kind)
	}
	want := []string{
		"MutatingWebhookConfiguration", "Wheel", "Deployment", "ConfigMap", "ServiceAccount",
		"CustomResourceDefinition", "Namespace",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
