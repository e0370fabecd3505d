package render

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// named is a tree whose directories name the content of files, as a verified
// tree does, and counts what is read.
type named struct {
	fstest.MapFS
	mu    *sync.Mutex
	reads map[string]int
}

type namedEntry struct {
	fs.DirEntry
	id string
}

func (e namedEntry) ObjectID() string { return e.id }

func (n named) ReadDir(dir string) ([]fs.DirEntry, error) {
	entries, err := n.MapFS.ReadDir(dir)
	for i, e := range entries {
		if !e.IsDir() {
			entries[i] = namedEntry{e, digest(n.MapFS[path.Join(dir, e.Name())].Data)}
		}
	}
	return entries, err
}

func (n named) ReadFile(name string) ([]byte, error) {
	n.mu.Lock()
	n.reads[name]++
	n.mu.Unlock()
	return n.MapFS.ReadFile(name)
}

func tree(content map[string]string) named {
	out := named{MapFS: fstest.MapFS{}, mu: &sync.Mutex{}, reads: map[string]int{}}
	for name, text := range content {
		out.MapFS[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// apps is a component that puts n apps of three objects together.
func apps(n, version int) map[string]string {
	out := map[string]string{}
	var names []string
	for i := range n {
		name := fmt.Sprintf("app-%d", i)
		names = append(names, name)
		out["o/apps/"+name+"/kustomization.yaml"] = "resources: [app.yaml]\n"
		out["o/apps/"+name+"/app.yaml"] = fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s, namespace: apps}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: %[1]s, namespace: apps}
data: {version: "%[2]d"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: apps}
spec: {template: {spec: {serviceAccountName: %[1]s, containers: [{name: app, image: "app:%[2]d", envFrom: [{configMapRef: {name: %[1]s}}]}]}}}
`, name, version)
	}
	out["o/apps/kustomization.yaml"] = "resources: [" + strings.Join(names, ", ") + "]\n"
	out["o/other/kustomization.yaml"] = "resources: [other.yaml]\nnamespace: elsewhere\n"
	out["o/other/other.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"
	return out
}

func rendering(t *testing.T, r *Renderer, in fs.FS) Manifests {
	t.Helper()
	m, err := r.Render(in, "o", []Component{{Name: "apps"}, {Name: "other", Stage: 1}}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What a change costs is counted: what was read, and what kustomize built.
func TestAChangedFileHasOnlyItselfReadAndBuilt(t *testing.T) {
	t.Parallel()
	var r Renderer
	rendering(t, &r, tree(apps(20, 1)))
	before := r.built.order.Len()

	same := tree(apps(20, 1))
	rendering(t, &r, same)
	if len(same.reads) > 0 || r.built.order.Len() != before {
		t.Errorf("nothing changed, and %v were read, %d things built", same.reads, r.built.order.Len()-before)
	}

	content := apps(20, 1)
	const changed = "o/apps/app-7/app.yaml"
	content[changed] = apps(20, 2)[changed]
	now := tree(content)
	m := rendering(t, &r, now)
	if len(now.reads) != 1 || now.reads[changed] == 0 {
		t.Errorf("one file changed, and read were %v", now.reads)
	}
	// One piece, and the component that it is put together to.
	if built := r.built.order.Len() - before; built != 2 {
		t.Errorf("one file changed, and %d things were built", built)
	}
	if want := rendering(t, new(Renderer), tree(content)); m.Digest() != want.Digest() {
		t.Error("what was put together is not what is built anew")
	}
}

func TestAnOtherDirectoryOfOneComponentBuildsNoOtherComponent(t *testing.T) {
	t.Parallel()
	var r Renderer
	content := apps(3, 1)
	rendering(t, &r, tree(content))
	before := r.built.order.Len()
	content["o/other/other.yaml"] += "data: {a: b}\n"
	now := tree(content)
	rendering(t, &r, now)
	if built := r.built.order.Len() - before; built != 1 || len(now.reads) != 2 {
		t.Errorf("%d things were built, %v read", built, now.reads)
	}
}

// What the memory holds never decides: lost, it is filled again.
func TestALostMemoryMeansWorkAgain(t *testing.T) {
	t.Parallel()
	var r Renderer
	want := rendering(t, &r, tree(apps(5, 1))).Digest()
	r.built, r.known = built{}, known{}
	if got := rendering(t, &r, tree(apps(5, 1))).Digest(); got != want {
		t.Errorf("%s after it was lost, %s before", got, want)
	}
}

// A tree that shows another content under the name of one that was read is not
// believed where the content is needed.
func TestAnotherContentUnderTheSameNameIsNotBuilt(t *testing.T) {
	t.Parallel()
	var r Renderer
	honest := tree(apps(2, 1))
	rendering(t, &r, honest)
	r.built = built{} // so that files are read again
	lying := lyingTree{honest}
	_, err := r.Render(lying, "o", []Component{{Name: "apps"}}, Limits{})
	var no *Refusal
	if err == nil || errors.As(err, &no) || !errors.Is(err, errOtherContent) {
		t.Errorf("got %v, want that it could not be told", err)
	}
}

type lyingTree struct{ named }

func (l lyingTree) ReadFile(name string) ([]byte, error) {
	text, err := l.MapFS.ReadFile(name)
	return append(text, "# other\n"...), err
}

func TestTheMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var b built
	for i := range builtMost + 100 {
		b.remember(builtKey{component: Component{Stage: i}}, []Object{{}})
	}
	if b.order.Len() != builtMost || len(b.objects) != builtMost {
		t.Errorf("%d and %d are remembered", b.order.Len(), len(b.objects))
	}
	large := []Object{{json: make([]byte, builtBytes/4)}}
	for i := range 8 {
		b.remember(builtKey{component: Component{Stage: -1 - i}}, large)
	}
	if b.bytes > builtBytes {
		t.Errorf("%d bytes are remembered", b.bytes)
	}
	if _, known := b.recall(builtKey{component: Component{Stage: -8}}); !known {
		t.Error("the newest was forgotten")
	}
}

// What is put together from pieces is, byte for byte, what kustomize builds as a
// whole, and what it refuses is refused in its words. Cases are generated: their
// objects refer to each other, and their directories use what changes names.
func TestPiecesAreWhatKustomizeBuilds(t *testing.T) {
	t.Parallel()
	const cases = 1000
	taken, lifted, met, refused := 0, 0, 0, 0
	for seed := range uint64(cases) {
		g := generator{Rand: rand.New(rand.NewPCG(seed, 7)), files: map[string]string{}}
		g.directory("o/app", 3)
		in := tree(g.files)
		var r Renderer
		c := Component{Name: "app", Path: "o/app"}
		files, err := r.reach(in, c.Path, DefaultLimits())
		if err != nil {
			continue // refused before it is built
		}
		if pieces, ok := files.pieces(c.Path); ok && len(pieces) > 1 {
			taken++
		}
		if _, ok, _ := new(Renderer).light(c, files, DefaultLimits()); ok {
			lifted++
			if _, reread := files.untouched(); reread {
				met++
			}
		}
		got, gotErr := r.component(in, c, DefaultLimits())
		want, wantErr := complete(c, files, DefaultLimits())
		if wantErr != nil {
			refused++
		}
		if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) || !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: put together %v (%v), built as a whole %v (%v), of\n%s", seed, names(got), gotErr, names(want), wantErr, &g)
		}
	}
	if taken < cases/5 || refused < cases/50 || refused > cases/2 {
		t.Errorf("%d of %d cases were taken apart, %d refused: the generator proves nothing", taken, cases, refused)
	}
	if lifted < cases/10 {
		t.Errorf("of %d cases schemas were taken out", lifted)
	}
	if met < cases/200 {
		t.Errorf("of %d cases schemas were taken out where a patch may meet them: the generator proves nothing", met)
	}
	t.Logf("%d taken apart, %d without schemas, %d of them with a patch, %d refused", taken, lifted, met, refused)
}

func names(objects []Object) []string {
	var out []string
	for _, o := range objects {
		out = append(out, string(o.json))
	}
	return out
}

// Each of these changes what an object elsewhere says, or is counted with it.
func TestWhatReachesOutOfItsDirectoryIsBuiltAsAWhole(t *testing.T) {
	t.Parallel()
	const (
		config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"
		user   = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: user}\nspec: {template: {spec: {containers: [{name: c, envFrom: [{configMapRef: {name: one}}]}]}}}\n"
		joined = "resources: [a, b]\n"
	)
	for name, in := range map[string]map[string]string{
		"a prefix":         {"o/app/a/kustomization.yaml": "resources: [x.yaml]\nnamePrefix: pre-\n", "o/app/a/x.yaml": config, "o/app/b/x.yaml": user},
		"a suffix":         {"o/app/a/kustomization.yaml": "resources: [x.yaml]\nnameSuffix: -suf\n", "o/app/a/x.yaml": config, "o/app/b/x.yaml": user},
		"a generator":      {"o/app/a/kustomization.yaml": "configMapGenerator: [{name: one, literals: [a=b]}]\n", "o/app/b/x.yaml": user},
		"a second object":  {"o/app/a/x.yaml": config, "o/app/b/x.yaml": config},
		"another version":  {"o/app/a/x.yaml": strings.ReplaceAll(user, "apps/v1", "apps/v1beta1"), "o/app/b/x.yaml": user},
		"the default one":  {"o/app/a/x.yaml": config, "o/app/b/x.yaml": strings.ReplaceAll(config, "name: one", "name: one, namespace: default")},
		"a local object":   {"o/app/a/x.yaml": strings.ReplaceAll(config, "name: one", `name: one, annotations: {config.kubernetes.io/local-config: "true"}`), "o/app/b/x.yaml": config},
		"a component":      {"o/app/a/kustomization.yaml": "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nresources: [x.yaml]\n", "o/app/a/x.yaml": config, "o/app/b/x.yaml": user},
		"a pretended name": {"o/app/a/x.yaml": strings.ReplaceAll(config, "name: one", `name: two, annotations: {internal.config.kubernetes.io/previousNames: one, internal.config.kubernetes.io/previousNamespaces: default, internal.config.kubernetes.io/previousKinds: ConfigMap}`), "o/app/b/x.yaml": user},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in["o/app/kustomization.yaml"] = joined
			for _, dir := range []string{"o/app/a/", "o/app/b/"} {
				if in[dir+"kustomization.yaml"] == "" {
					in[dir+"kustomization.yaml"] = "resources: [x.yaml]\n"
				}
			}
			var r Renderer
			c := Component{Name: "app", Path: "o/app"}
			files, err := r.reach(tree(in), c.Path, DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			got, gotErr := r.component(tree(in), c, DefaultLimits())
			want, wantErr := complete(c, files, DefaultLimits())
			if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) || !reflect.DeepEqual(got, want) {
				t.Errorf("put together %v (%v), built as a whole %v (%v)", names(got), gotErr, names(want), wantErr)
			}
			if _, ok, _ := r.assemble(c, files, DefaultLimits()); ok {
				t.Error("it was taken apart")
			}
		})
	}
}
