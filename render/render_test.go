package render_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"millwright.dev/millwright/render"
)

// factory is a small factory of three components with most of what
// kustomizations may say.
func factory() map[string]string {
	return map[string]string{
		"factory.yaml":                           "not: read\n",
		"bases/app/kustomization.yaml":           "resources: [all.yaml]\nlabels:\n- pairs: {app: x}\n  includeTemplates: true\n",
		"bases/app/all.yaml":                     deployment + "---\n# nothing here\n---\n" + crd,
		"bases/app/unused.yaml":                  bomb,
		"bases/shared/kustomization.yaml":        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: mw-\n",
		"overlays/local/app/kustomization.yaml":  "resources: [../../../bases/app]\ncomponents: [../../../bases/shared]\nnamespace: factory\npatches:\n- path: replicas.yaml\n- target: {kind: Deployment}\n  patch: '[{\"op\": \"add\", \"path\": \"/metadata/annotations\", \"value\": {\"a\": \"b\"}}]'\nimages:\n- {name: img, newTag: v2}\n",
		"overlays/local/app/replicas.yaml":       "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n",
		"overlays/local/maps/kustomization.yaml": "configMapGenerator:\n- name: made\n  files: [k=app.txt, app.txt]\n  envs: [app.env]\n  literals: [l=1]\nresources: [list.yaml]\nreplacements:\n- path: replace.yaml\nconfigurations: [names.yaml]\n",
		"overlays/local/maps/app.txt":            "not: [yaml\n",
		"overlays/local/maps/app.env":            "A=b\nHOME\n",
		"overlays/local/maps/names.yaml":         "nameReference: []\n",
		"overlays/local/maps/replace.yaml":       "source: {kind: ConfigMap, name: one, fieldPath: data.n}\ntargets:\n- select: {kind: ConfigMap, name: two}\n  fieldPaths: [data.n]\n",
		"overlays/local/maps/list.yaml":          "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {n: '0777', yes: 'no'}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: two}, data: {n: x}}\n",
		"overlays/local/base/kustomization.yaml": "resources: [ns.yaml]\n",
		"overlays/local/base/ns.yaml":            "apiVersion: v1\nkind: Namespace\nmetadata: {name: factory, creationTimestamp: null}\nstatus: {}\n",
	}
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: &l {tier: web}}
  template:
    metadata: {labels: *l}
    spec:
      containers:
      - {name: c, image: "img:v1", args: ["<a>", "&"], env: [{name: D, value: 2026-01-01}]}
`

const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec: {n: 0o17, big: 9007199254740993, f: 1e3, h: 0x1F, s: 1_000, e: ~, d: 2026-01-01T00:00:00Z}
`

var stages = []render.Component{{Name: "maps", Stage: 2}, {Name: "base"}, {Name: "app", Path: "overlays/local/app", Stage: 1}}

func mapFS(content map[string]string) fstest.MapFS {
	tree := fstest.MapFS{}
	for name, text := range content {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return tree
}

func mustRender(t testing.TB, tree fs.FS) render.Manifests {
	t.Helper()
	m, err := render.Render(tree, "overlays/local", stages, render.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestObjectsComeInStageOrderSortedByName(t *testing.T) {
	t.Parallel()
	m := mustRender(t, mapFS(factory()))
	var got []string
	for _, o := range m.Objects() {
		name, _, _ := strings.Cut(o.ID().String(), "made-") // a hash follows
		got = append(got, o.Component()+" "+name)
	}
	want := []string{
		"base Namespace factory", "app CustomResourceDefinition.apiextensions.k8s.io things.example.com",
		"app Deployment.apps factory/mw-web", "maps ConfigMap ", "maps ConfigMap one", "maps ConfigMap two",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c := m.Components(); c[0].Name != "base" || c[0].Path != "overlays/local/base" || c[2].Name != "maps" {
		t.Errorf("components: %v", c)
	}
	for _, o := range m.Objects() {
		content := o.Unstructured()
		if content.GetName() != o.ID().Name || content.GetAPIVersion() != o.APIVersion() || !strings.HasPrefix(o.Digest(), "sha256:") {
			t.Errorf("%s decodes to %v", o.ID(), content)
		}
		content.SetName("changed")
		if o.Unstructured().GetName() == "changed" {
			t.Error("a copy is not fresh")
		}
	}
}

func TestStatusAndEmptyTimestampsAreDropped(t *testing.T) {
	t.Parallel()
	got := string(mustRender(t, mapFS(factory())).Objects()[0].JSON())
	if want := `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"factory"}}`; got != want {
		t.Errorf("got %s", got)
	}
}

// D14: an API server reads these scalars so. What looks like a time is a string.
func TestScalarsAreWhatAnAPIServerReads(t *testing.T) {
	t.Parallel()
	for _, o := range mustRender(t, mapFS(factory())).Objects() {
		if o.ID().Kind != "CustomResourceDefinition" {
			continue
		}
		want := map[string]any{
			"n": int64(15), "big": int64(9007199254740993), "f": int64(1000), "h": int64(31), "s": int64(1000), "e": nil,
			"d": "2026-01-01T00:00:00Z",
		}
		if diff := cmp.Diff(want, o.Unstructured().Object["spec"]); diff != "" {
			t.Error(diff)
		}
	}
}

// D33: the order of files, of components and of goroutines changes nothing.
func TestTheSameTreeGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	want := mustRender(t, mapFS(factory()))
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			tree := fstest.MapFS{}
			for name, text := range factory() {
				tree[name] = &fstest.MapFile{Data: []byte(text)}
			}
			components := slices.Clone(stages)
			components[i%3], components[0] = components[0], components[i%3]
			got, err := render.Render(tree, "overlays/local", components, render.Limits{})
			if err != nil {
				t.Error(err)
				return
			}
			if got.Digest() != want.Digest() {
				t.Errorf("digest %s, want %s", got.Digest(), want.Digest())
			}
			for i, o := range got.Objects() {
				if string(o.JSON()) != string(want.Objects()[i].JSON()) {
					t.Errorf("%s differs", o.ID())
				}
			}
		})
	}
	all.Wait()
}

func TestTheDigestSeesObjectComponentAndStage(t *testing.T) {
	t.Parallel()
	seen := map[string]string{mustRender(t, mapFS(factory())).Digest(): "nothing"}
	note := func(what string, content map[string]string, components []render.Component) {
		m, err := render.Render(mapFS(content), "overlays/local", components, render.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if other, taken := seen[m.Digest()]; taken {
			t.Errorf("changing %s gives the digest of changing %s", what, other)
		}
		seen[m.Digest()] = what
	}
	note("an object", with(factory(), "overlays/local/base/ns.yaml", strings.Replace(factory()["overlays/local/base/ns.yaml"], "factory", "other", 1)), stages)
	later := slices.Clone(stages)
	later[0].Stage = 3
	note("a stage", factory(), later)
	renamed := slices.Clone(stages)
	renamed[2].Name = "renamed"
	note("a component", factory(), renamed)
	note("the number of components", factory(), stages[:2])
}

// What kustomize itself makes of the whole tree is what we make of a part of it.
// Not parallel: kustomize is called past the lock.
func TestTheResultIsThatOfKustomize(t *testing.T) {
	disk := filesys.MakeFsInMemory()
	for name, text := range factory() {
		if err := disk.WriteFile("/"+name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]any{}
	m := mustRender(t, mapFS(factory()))
	for _, c := range m.Components() {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "/"+c.Path)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range built.Resources() {
			text, err := r.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			var content map[string]any
			if err := json.Unmarshal(text, &content); err != nil {
				t.Fatal(err)
			}
			delete(content, "status")
			if metadata := content["metadata"].(map[string]any); metadata["creationTimestamp"] == nil {
				delete(metadata, "creationTimestamp")
			}
			want[r.GetKind()+r.GetName()] = content
		}
	}
	got := map[string]any{}
	for _, o := range m.Objects() {
		var content map[string]any
		if err := json.Unmarshal(o.JSON(), &content); err != nil {
			t.Fatal(err)
		}
		got[o.ID().Kind+o.ID().Name] = content
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyFilesOfTheClosureAreRead(t *testing.T) {
	t.Parallel()
	tree := &watched{MapFS: mapFS(factory()), seen: map[string]bool{}}
	mustRender(t, tree)
	want := slices.Sorted(maps.Keys(factory()))
	want = slices.DeleteFunc(want, func(name string) bool {
		return name == "factory.yaml" || name == "bases/app/unused.yaml"
	})
	got := slices.DeleteFunc(slices.Sorted(maps.Keys(tree.seen)), func(name string) bool {
		info, err := fs.Stat(tree.MapFS, name)
		return err == nil && info.IsDir()
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// D19: the message names both.
func TestAnObjectOfTwoComponentsIsRefused(t *testing.T) {
	t.Parallel()
	tree := with(factory(), "overlays/local/base/ns.yaml",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n")
	_, err := render.Render(mapFS(tree), "overlays/local", stages, render.Limits{})
	var refused *render.Refusal
	if !errors.As(err, &refused) || refused.Code != "render/conflict" ||
		!strings.Contains(refused.Detail, "base and maps") || !strings.Contains(refused.Detail, "ConfigMap one") {
		t.Errorf("got %v", err)
	}
}

// K22: a file of no bytes makes kustomize's reader of CRDs panic.
func TestAPanicOfKustomizeIsARefusal(t *testing.T) {
	t.Parallel()
	tree := files(kustomization("resources: [config.yaml]", "crds: [empty.json]"))
	tree[dir+"empty.json"] = &fstest.MapFile{}
	_, err := app(tree, render.Limits{})
	var refused *render.Refusal
	if !errors.As(err, &refused) || refused.Code != "render/panic" {
		t.Errorf("got %v", err)
	}
	if _, err := app(files(nil), render.Limits{}); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestATreeThatCannotBeReadIsNotARefusal(t *testing.T) {
	t.Parallel()
	_, err := app(retyped{files(nil), dir + "config.yaml", 0}, render.Limits{})
	var refused *render.Refusal
	if err == nil || errors.As(err, &refused) {
		t.Errorf("got %v, want an error that is no refusal", err)
	}
}

func TestAComponentOutsideOfTheOverlayIsRefused(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"bases/app", "overlays/local/../../bases/app", "../x", "/overlays/local/app", "overlays/local"} {
		_, err := render.Render(mapFS(factory()), "overlays/local", []render.Component{{Name: "app", Path: p}}, render.Limits{})
		var refused *render.Refusal
		if !errors.As(err, &refused) || refused.Code != "render/outside-root" {
			t.Errorf("%s: got %v", p, err)
		}
	}
}

// D34: a repository cannot write to a terminal or fill a condition.
func TestErrorsAreOneShortPrintableLine(t *testing.T) {
	t.Parallel()
	hostile := "\x1b[2J\u202e\u0085\nvery long " + strings.Repeat("é", 5000)
	for name, tree := range map[string]map[string]string{
		"a path":  kustomization(fmt.Sprintf("resources: [%q]", "x"+hostile)),
		"a field": kustomization(fmt.Sprintf("%q: 1", hostile)),
		"a name":  object("apiVersion: v1", "kind: ConfigMap", fmt.Sprintf("metadata: {uid: x, name: %q}", hostile)),
		"a patch": kustomization("resources: [config.yaml]", "patches:", fmt.Sprintf("- patch: %q", "{"+hostile)),
		"a directory": with(kustomization(`resources: ["`+strings.Repeat("é", 400)+`"]`),
			dir+strings.Repeat("é", 400)+"/kustomization.yaml", "x: y"),
	} {
		_, err := app(files(tree), render.Limits{})
		var refused *render.Refusal
		if !errors.As(err, &refused) {
			t.Fatalf("%s: got %v", name, err)
		}
		if len(refused.Detail) > 512 || len(refused.Path) > 512 || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: %d bytes, %q", name, len(refused.Detail), err)
		}
	}
}

func TestEveryReasonHasAHint(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range render.Reasons() {
		if r.Reason == "" || r.Hint == "" || seen[r.Code] {
			t.Errorf("row %+v", r)
		}
		seen[r.Code] = true
	}
}

// Only what changed is built again: a renderer that remembers answers as one
// that does not.
func TestARendererThatRemembersGivesTheSame(t *testing.T) {
	t.Parallel()
	var r render.Renderer
	changed := with(factory(), "overlays/local/base/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n")
	for _, content := range []map[string]string{factory(), factory(), changed, factory()} {
		got, err := r.Render(mapFS(content), "overlays/local", stages, render.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if want := mustRender(t, mapFS(content)); got.Digest() != want.Digest() {
			t.Error("remembered something else")
		}
	}
	strict := render.Limits{ObjectBytes: 10}
	if _, err := r.Render(mapFS(factory()), "overlays/local", stages, strict); err == nil {
		t.Error("remembered what other limits allowed")
	}
}

// kustomize is given a bounded number of bytes at a time; one component that has more is
// built all the same, beside no other.
func TestAComponentOfMoreThanIsBuiltAtATimeIsBuilt(t *testing.T) {
	t.Parallel()
	content, names := map[string]string{}, []string{}
	for i := range 18 {
		name := fmt.Sprintf("c%d.yaml", i)
		names = append(names, name)
		content[dir+name] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata: {a: %s}\n", i, strings.Repeat("x", 1<<20))
	}
	content[dir+"kustomization.yaml"] = "resources: [" + strings.Join(names, ", ") + "]\nlabels: [{pairs: {a: b}}]\n"
	if m, err := app(files(content), render.Limits{}); err != nil || len(m.Objects()) != len(names) {
		t.Errorf("%d objects, %v", len(m.Objects()), err)
	}
}
