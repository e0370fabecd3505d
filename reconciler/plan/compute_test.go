package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/render"
)

// declare renders components, in stage order, from documents.
func declare(t testing.TB, order []string, docs map[string][]string) render.Manifests {
	t.Helper()
	tree := fstest.MapFS{}
	var list []render.Component
	for i, name := range order {
		path := "overlays/test/" + name
		resources := "resources: [objects.yaml]\n"
		if len(docs[name]) == 0 {
			resources = "resources: []\n"
		}
		tree[path+"/kustomization.yaml"] = &fstest.MapFile{
			Data: []byte("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" + resources),
		}
		tree[path+"/objects.yaml"] = &fstest.MapFile{Data: []byte(strings.Join(docs[name], "\n---\n"))}
		list = append(list, render.Component{Name: name, Path: path, Stage: i})
	}
	m, err := render.Render(tree, "overlays/test", list, render.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func one(t testing.TB, docs ...string) render.Manifests {
	t.Helper()
	return declare(t, []string{"mill"}, map[string][]string{"mill": docs})
}

func doc(apiVersion, kind, namespace, name, value string) string {
	meta := "name: " + name
	if namespace != "" {
		meta += ", namespace: " + namespace
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {%s}\ndata: {k: %s}", apiVersion, kind, meta, value)
}

func cm(name, value string) string { return doc("v1", "ConfigMap", "ns", name, value) }

func cmID(name string) render.ID { return render.ID{Kind: "ConfigMap", Namespace: "ns", Name: name} }

func definition(name, group, kind string) string {
	return fmt.Sprintf("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: %s}\n"+
		"spec: {group: %s, names: {kind: %s}}", name, group, kind)
}

func digestOf(t testing.TB, m render.Manifests, id render.ID) string {
	t.Helper()
	for _, o := range m.Objects() {
		if o.ID() == id {
			return o.Digest()
		}
	}
	t.Fatalf("%v is not declared", id)
	return ""
}

func meta(uid string) Meta { return Meta{UID: uid, ResourceVersion: "1", Fingerprint: "f"} }

// only is what a plan says about the one object that there is.
func only(p Plan) (op Op, owned bool, blocked string) {
	for _, c := range p.Changes() {
		op, owned = c.Op, c.Owned
	}
	for _, b := range p.Blocked() {
		blocked = b.Reason
	}
	return op, owned, blocked
}

func TestWhatIsDecidedAboutADeclaredObject(t *testing.T) {
	t.Parallel()
	m := one(t, cm("a", "x"))
	now := digestOf(t, m, cmID("a"))
	entry := Entry{Component: "mill", APIVersion: "v1", Declared: now, Meta: meta("u")}
	older, moved, intended := entry, entry, entry
	older.Declared = "sha256:older"
	moved.Component = "other"
	intended.Pending, intended.Meta = true, Meta{}
	diff := []Difference{{Path: ".data.k", Manager: "rogue"}}
	for name, tc := range map[string]struct {
		entry   *Entry
		live    Live
		op      Op
		owned   bool
		blocked string
		restore bool
	}{
		"not there":                           {nil, Live{State: Absent}, Create, false, "", false},
		"not there any more":                  {&entry, Live{State: Absent}, Create, false, "", false},
		"as declared":                         {&entry, Live{State: InSync, Meta: meta("u"), Managed: true}, "", false, "", false},
		"as declared but not recorded":        {nil, Live{State: InSync, Meta: meta("u"), Managed: true}, "", false, "", true},
		"as declared, recorded as intent":     {&intended, Live{State: InSync, Meta: meta("u"), Managed: true}, "", false, "", true},
		"as declared, recorded elsewhere":     {&moved, Live{State: InSync, Meta: meta("u"), Managed: true}, "", false, "", true},
		"as declared, another uid":            {&entry, Live{State: InSync, Meta: meta("v"), Managed: true}, "", false, "", true},
		"edited by somebody":                  {&entry, Live{State: Differs, Meta: meta("u"), Differences: diff}, Correct, true, "", false},
		"declared anew":                       {&older, Live{State: Differs, Meta: meta("u"), Differences: diff}, Update, true, "", false},
		"never ours, nobody objects":          {nil, Live{State: Differs, Meta: meta("u"), Differences: diff}, Update, false, "", false},
		"intended, and made by us":            {&intended, Live{State: Differs, Meta: meta("u"), Managed: true}, Update, true, "", false},
		"intended, and made by somebody else": {&intended, Live{State: Differs, Meta: meta("u")}, Update, false, "", false},
		"never ours, somebody objects":        {nil, Live{State: Conflict, Differences: diff}, "", false, ReasonFieldConflict, false},
		"being deleted":                       {&entry, Live{State: Terminating}, "", false, ReasonTerminating, false},
		"refused by the API server":           {&entry, Live{State: Rejected}, "", false, ReasonInvalid, false},
		"not observed":                        {&entry, Live{}, "", false, ReasonUnobserved, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obs := Observation{Live: map[render.ID]Live{cmID("a"): tc.live}, Inventory: Inventory{Entries: map[render.ID]Entry{}}}
			if tc.entry != nil {
				obs.Inventory.Entries[cmID("a")] = *tc.entry
			}
			p, err := Compute(m, obs, DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			op, owned, blocked := only(p)
			if op != tc.op || owned != tc.owned || blocked != tc.blocked || p.RestoreInventory() != tc.restore {
				t.Errorf("got %q owned=%v blocked=%q restore=%v\n%s", op, owned, blocked, p.RestoreInventory(), p.Text())
			}
			if p.Empty() != (tc.op == "" && tc.blocked == "" && !tc.restore) {
				t.Errorf("empty is %v", p.Empty())
			}
			if _, ok := p.Inventory().Entries[cmID("a")]; !ok && tc.op != "" {
				t.Error("the inventory that is stored before the write does not name the object")
			}
		})
	}
}

func TestWhatIsDecidedAboutAnObjectThatIsNotDeclaredAnyMore(t *testing.T) {
	t.Parallel()
	m := one(t, cm("a", "x"))
	entry := Entry{Component: "mill", APIVersion: "v1", Declared: "sha256:x", Meta: meta("u")}
	for name, tc := range map[string]struct {
		live    Live
		rebuilt []string
		prune   bool
		blocked string
		keeps   bool
	}{
		"gone already":                       {Live{State: Absent}, nil, false, "", false},
		"there and ours":                     {Live{State: Present, Meta: meta("u"), Managed: true}, nil, true, "", true},
		"made anew, but by us":               {Live{State: Present, Meta: meta("v"), Managed: true}, nil, true, "", true},
		"made anew by somebody else":         {Live{State: Present, Meta: meta("v")}, nil, false, "", false},
		"there and not ours any more":        {Live{State: Present, Meta: meta("u")}, nil, false, ReasonNotOurs, true},
		"not observed":                       {Live{}, nil, false, ReasonUnobserved, true},
		"being deleted":                      {Live{State: Terminating, Meta: meta("u"), Managed: true}, nil, false, ReasonTerminating, true},
		"in an inventory that was rebuilt":   {Live{State: Present, Meta: meta("u"), Managed: true}, []string{"mill"}, false, ReasonInventoryRebuilt, true},
		"another inventory was rebuilt":      {Live{State: Present, Meta: meta("u"), Managed: true}, []string{"other"}, true, "", true},
		"not even mentioned by the observer": {Live{}, nil, false, ReasonUnobserved, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obs := Observation{
				Live:      map[render.ID]Live{cmID("a"): {State: InSync, Meta: meta("a")}, cmID("old"): tc.live},
				Inventory: Inventory{Rebuilt: tc.rebuilt, Entries: map[render.ID]Entry{cmID("old"): entry}},
			}
			p, err := Compute(m, obs, DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			prune := len(p.Changes()) == 1 && p.Changes()[0].Op == Prune && p.Changes()[0].Live == tc.live.Meta
			blocked := ""
			if b := p.Blocked(); len(b) > 0 {
				blocked = b[0].Reason
			}
			_, keeps := p.Inventory().Entries[cmID("old")]
			if prune != tc.prune || blocked != tc.blocked || keeps != tc.keeps {
				t.Errorf("prune=%v blocked=%q keeps=%v\n%s", prune, blocked, keeps, p.Text())
			}
		})
	}
}

func TestLimitsOfPruning(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		inventory, prune int
		limits           Limits
		code             string
	}{
		"nothing to prune":              {10, 0, Limits{}, ""},
		"one of few":                    {3, 1, DefaultLimits(), ""},
		"at the share":                  {100, 25, DefaultLimits(), ""},
		"over the share":                {99, 26, Limits{MaxPrune: 99, MaxPrunePercent: 25}, "plan/prune-share"},
		"over the number":               {1000, 26, DefaultLimits(), "plan/prune-count"},
		"everything":                    {4, 4, DefaultLimits(), "plan/prune-share"},
		"nothing is allowed by default": {10, 1, Limits{}, "plan/prune-count"},
	} {
		obs := Observation{Live: map[render.ID]Live{}, Inventory: Inventory{Entries: map[render.ID]Entry{}}}
		var docs []string
		for i := range tc.inventory {
			n := fmt.Sprintf("c%d", i)
			obs.Inventory.Entries[cmID(n)] = Entry{Component: "mill", APIVersion: "v1", Meta: meta("u")}
			obs.Live[cmID(n)] = Live{State: Present, Managed: true, Meta: meta("u")}
			if i >= tc.prune {
				docs = append(docs, cm(n, "x"))
			}
		}
		_, err := Compute(one(t, docs...), obs, tc.limits)
		var no *Refusal
		if errors.As(err, &no); (no == nil) != (tc.code == "") || (no != nil && no.Code != tc.code) {
			t.Errorf("%s: got %v, want %q", name, err, tc.code)
		}
	}
}

func TestTheSamePlanIsTheSameTextAndHoldsNoValues(t *testing.T) {
	t.Parallel()
	m := one(t, cm("a", "hidden"), cm("b", "hidden"), cm("c", "hidden"))
	obs := Observation{Live: map[render.ID]Live{
		cmID("a"): {State: Absent},
		cmID("b"): {State: Differs, Meta: meta("u"), Differences: []Difference{{Path: ".data.k", Manager: "rogue", Operation: "Update"}}},
		cmID("c"): {State: Conflict, Differences: []Difference{{Path: ".data.k", Manager: "helm"}}},
	}}
	p, err := Compute(m, obs, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	want := `mill: configuration:
  create  ConfigMap ns/a
  update  ConfigMap ns/b
          .data.k by rogue (Update)
left alone:
  FieldConflict ConfigMap ns/c
          .data.k by helm
1 to create, 1 to update, 0 to correct, 0 to prune, 1 left alone, of 3 declared
`
	if diff := cmp.Diff(want, p.Text()); diff != "" {
		t.Error(diff)
	}
	raw, err := json.Marshal(p)
	if err != nil || strings.Contains(string(raw), "hidden") || !json.Valid(raw) {
		t.Errorf("%v %s", err, raw)
	}
}

func TestDriftOfAComponentThatOnlyAlertsIsReportedAndLeft(t *testing.T) {
	t.Parallel()
	m := declare(t, []string{"loud", "quiet"}, map[string][]string{
		"loud": {cm("a", "x"), cm("new", "x")}, "quiet": {cm("b", "x"), cm("gone", "x")},
	})
	obs := Observation{Inventory: Inventory{Entries: map[render.ID]Entry{}}, Live: map[render.ID]Live{cmID("new"): {State: Absent}}}
	for _, o := range m.Objects() {
		if o.ID() != cmID("new") {
			obs.Inventory.Entries[o.ID()] = Entry{Component: o.Component(), APIVersion: "v1", Declared: o.Digest(), Meta: meta("u")}
			obs.Live[o.ID()] = Live{State: Differs, Meta: meta("u")}
		}
	}
	obs.Live[cmID("gone")] = Live{State: Absent}
	p, err := Compute(m, obs, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.Corrections()); n != 3 {
		t.Fatalf("%d corrections, want 3 (a deleted object is drift too)\n%s", n, p.Text())
	}
	p = p.LeaveDrift(func(c string, _ render.ID) bool { return c == "quiet" })
	if len(p.Changes()) != 2 || len(p.Blocked()) != 2 || p.Blocked()[0].Reason != ReasonDriftLeft {
		t.Errorf("%s", p.Text())
	}
	if p.Inventory().Entries[cmID("gone")].Pending {
		t.Error("what was left would not be known as drift any more")
	}
}
