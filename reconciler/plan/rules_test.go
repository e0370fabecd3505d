package plan

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/render"
)

// staged renders components at stages of their own, with an observation in
// which nothing is there yet.
func staged(t *testing.T, stages map[string]int, docs map[string][]string) (render.Manifests, Observation) {
	t.Helper()
	tree := fstest.MapFS{}
	var list []render.Component
	for name, stage := range stages {
		path := "o/" + name
		tree[path+"/kustomization.yaml"] = &fstest.MapFile{Data: []byte("resources: [objects.yaml]\n")}
		tree[path+"/objects.yaml"] = &fstest.MapFile{Data: []byte(strings.Join(docs[name], "\n---\n"))}
		list = append(list, render.Component{Name: name, Path: path, Stage: stage})
	}
	m, err := render.Render(tree, "o", list, render.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	obs := Observation{Live: map[render.ID]Live{}}
	for _, o := range m.Objects() {
		obs.Live[o.ID()] = Live{State: Absent}
	}
	return m, obs
}

func TestComponentsThatNothingOrdersAreAppliedTogether(t *testing.T) {
	t.Parallel()
	account := func(name string) string { return doc("v1", "ServiceAccount", "ns", name, "x") }
	m, obs := staged(t, map[string]int{"a": 0, "b": 0, "c": 1}, map[string][]string{
		"a": {account("a"), cm("a", "x")}, "b": {account("b"), cm("b", "x")}, "c": {account("c")},
	})
	p, err := Compute(m, obs, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range p.Batches() {
		got = append(got, b.Name)
		for _, c := range b.Changes {
			if c.Stage != b.Stage {
				t.Errorf("%s is of stage %d and in a batch of %d", Name(c.ID), c.Stage, b.Stage)
			}
		}
	}
	want := []string{"a, b: identity and access", "a, b: configuration", "c: identity and access"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAComponentIsBehindTheGatesOfAllThatItDependsOn(t *testing.T) {
	t.Parallel()
	hook := doc("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "", "hook", "x")
	guard := doc("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "", "guard", "x")
	crd := definition("wheels.mill.example.org", "mill.example.org", "Wheel")
	m, obs := staged(t, map[string]int{"base": 0, "between": 1, "end": 2, "beside": 2}, map[string][]string{
		"base": {cm("base", "x")}, "between": {cm("between", "x")}, "beside": {cm("beside", "x")},
		"end": {cm("end", "x"), hook, guard, crd},
	})
	rules := Rules{
		Gates: map[string]Gated{"base": {Within: time.Minute}, "beside": {Within: time.Minute}},
		After: map[string][]string{"between": {"base"}, "end": {"between"}},
	}
	// Drift is put back without waiting.
	between := cmID("between")
	obs.Inventory = Inventory{Entries: map[render.ID]Entry{between: {Component: "between", APIVersion: "v1", Declared: digestOf(t, m, between), Meta: meta("u")}}}
	p, err := Compute(m, obs, Limits{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range p.Changes() {
		got[c.ID.Name] = strings.Join(c.Gates, " ")
	}
	want := map[string]string{"base": "", "between": "", "beside": "", "end": "base", "hook": "base", "guard": "", "wheels.mill.example.org": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	gates := p.HealthGates()
	if len(gates) != 1 || len(gates["base"].Objects) != 1 || gates["base"].Within != time.Minute {
		t.Errorf("gates %+v: only those that something waits for are asked", gates)
	}
	if !strings.Contains(p.Text(), "create  ConfigMap ns/end (when healthy: base)\n") {
		t.Error(p.Text())
	}
	// Where all is in sync nothing is asked of anybody.
	for id := range obs.Live {
		obs.Live[id] = Live{State: InSync, Meta: meta("u")}
	}
	if p, err := Compute(m, obs, Limits{Rules: rules}); err != nil || len(p.HealthGates()) != 0 {
		t.Error(err, p.HealthGates())
	}
}

func TestWhatTheConfigurationPermitsForSingleObjects(t *testing.T) {
	t.Parallel()
	yes := func(string, render.ID) bool { return true }
	namespace := doc("v1", "Namespace", "", "ns", "x")
	for name, row := range map[string]struct {
		object string
		live   Live
		rules  Rules
		limits Limits
		op     Op
		reason string
		code   string
	}{
		"a conflict":                          {cm("a", "x"), Live{State: Conflict}, Rules{}, Limits{}, "", ReasonFieldConflict, ""},
		"a conflict that is forced":           {cm("a", "x"), Live{State: Conflict}, Rules{Force: yes}, Limits{}, Update, "", ""},
		"a conflict is no reason to recreate": {cm("a", "x"), Live{State: Conflict}, Rules{Recreate: yes}, Limits{}, "", ReasonFieldConflict, ""},
		"an immutable field":                  {cm("a", "x"), Live{State: Immutable, Managed: true}, Rules{}, DefaultLimits(), "", ReasonImmutableField, ""},
		"one, with force":                     {cm("a", "x"), Live{State: Immutable, Managed: true}, Rules{Force: yes}, DefaultLimits(), "", ReasonImmutableField, ""},
		"one, with recreate":                  {cm("a", "x"), Live{State: Immutable, Managed: true}, Rules{Recreate: yes}, Limits{MaxPrune: 1, MaxPrunePercent: 100}, Recreate, "", ""},
		"one, of an object that is not ours":  {cm("a", "x"), Live{State: Immutable}, Rules{Recreate: yes}, Limits{MaxPrune: 1, MaxPrunePercent: 100}, "", ReasonImmutableField, ""},
		"one, of a namespace":                 {namespace, Live{State: Immutable, Managed: true}, Rules{Recreate: yes}, Limits{MaxPrune: 1, MaxPrunePercent: 100}, "", ReasonImmutableField, ""},
		"one, over the limit":                 {cm("a", "x"), Live{State: Immutable, Managed: true}, Rules{Recreate: yes}, Limits{}, "", "", "plan/prune-count"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := one(t, row.object)
			id := m.Objects()[0].ID()
			row.live.Meta, row.limits.Rules = meta("u"), row.rules
			obs := Observation{
				Live:      map[render.ID]Live{id: row.live},
				Inventory: Inventory{Entries: map[render.ID]Entry{id: {Component: "mill", APIVersion: "v1", Declared: "sha256:old", Meta: meta("u")}}},
			}
			p, err := Compute(m, obs, row.limits)
			var no *Refusal
			if errors.As(err, &no); (no == nil) != (row.code == "") || no != nil && no.Code != row.code {
				t.Fatalf("got %v, want %q", err, row.code)
			}
			if no != nil {
				return
			}
			if op, _, reason := only(p); op != row.op || reason != row.reason {
				t.Errorf("got %q %q\n%s", op, reason, p.Text())
			}
		})
	}
}

func TestWhatIsMadeAnewComesAfterAllElseOfItsStage(t *testing.T) {
	t.Parallel()
	m, obs := staged(t, map[string]int{"a": 0, "b": 1}, map[string][]string{
		"a": {doc("v1", "ServiceAccount", "ns", "anew", "x"), doc("mill.example.org/v1", "Wheel", "ns", "w", "x")}, "b": {cm("b", "x")},
	})
	anew := render.ID{Kind: "ServiceAccount", Namespace: "ns", Name: "anew"}
	obs.Live[anew] = Live{State: Immutable, Managed: true, Meta: meta("u")}
	obs.Inventory = Inventory{Entries: map[render.ID]Entry{anew: {Component: "a", APIVersion: "v1", Meta: meta("u")}}}
	rules := Rules{Recreate: func(string, render.ID) bool { return true }}
	p, err := Compute(m, obs, Limits{MaxPrune: 1, MaxPrunePercent: 100, Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range p.Batches() {
		got = append(got, b.Name)
		if b.Recreate != (b.Changes[0].Op == Recreate) {
			t.Errorf("batch %s", b.Name)
		}
	}
	if diff := cmp.Diff([]string{"a: custom resources", "a: made anew", "b: configuration"}, got); diff != "" {
		t.Error(diff)
	}
}
