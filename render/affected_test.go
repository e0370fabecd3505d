package render_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"millwright.dev/millwright/render"
)

func closureOf(t *testing.T, tree fs.FS, overlay string) []string {
	t.Helper()
	paths, err := new(render.Renderer).Closure(tree, overlay, render.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(paths) {
		t.Errorf("the closure is not sorted: %v", paths)
	}
	return paths
}

func TestAChangeOutsideOfTheClosureChangesNoManifest(t *testing.T) { // rule T12
	t.Parallel()
	before := mustRender(t, mapFS(factory())).Digest()
	closure := closureOf(t, mapFS(factory()), "overlays/local")
	for name := range factory() {
		changed := factory()
		changed[name] += "\nx: [" // breaks what is read as YAML
		m, err := render.Render(mapFS(changed), "overlays/local", stages, render.DefaultLimits())
		same := err == nil && m.Digest() == before
		if in := slices.Contains(closure, name); in == same {
			t.Errorf("%s: in the closure %t, and the manifests stay the same %t (%v)", name, in, same, err)
		}
	}
}

func TestEveryFileThatIsReadIsInTheClosure(t *testing.T) {
	t.Parallel()
	tree := &watched{MapFS: mapFS(factory()), seen: map[string]bool{}}
	mustRender(t, tree)
	closure := closureOf(t, mapFS(factory()), "overlays/local")
	for name := range tree.seen {
		if info, err := fs.Stat(tree.MapFS, name); err == nil && !info.IsDir() && !slices.Contains(closure, name) {
			t.Errorf("%s is read and not in the closure", name)
		}
	}
}

func TestTheClosureHasWhatWouldTurnTheRendering(t *testing.T) {
	t.Parallel()
	closure := closureOf(t, mapFS(factory()), "overlays/local")
	for name, why := range map[string]string{
		"bases/app/kustomization.yml": "a second kustomization file breaks it",
		"bases/app":                   "a link or a submodule in place of the directory breaks it",
		"overlays/local/base/ns.yaml": "it is read",
	} {
		if !slices.Contains(closure, name) {
			t.Errorf("%s is not in the closure, though %s", name, why)
		}
	}
	if slices.Contains(closure, "bases/app/unused.yaml") {
		t.Error("a file that nothing names is in the closure")
	}
}

func TestABrokenComponentHidesNoOtherAndCountsAsFarAsItCanBeRead(t *testing.T) {
	t.Parallel()
	broken := factory()
	broken["overlays/local/app/kustomization.yaml"] = "resources: [../../../bases/app, ../../../bases/none]\n"
	closure := closureOf(t, mapFS(broken), "overlays/local")
	for _, name := range []string{"bases/app/all.yaml", "bases/none", "overlays/local/maps/list.yaml", "overlays/local/base/ns.yaml"} {
		if !slices.Contains(closure, name) {
			t.Errorf("%s is not in the closure", name)
		}
	}
	if paths := closureOf(t, mapFS(broken), "overlays/production"); !slices.Equal(paths, []string{"overlays", "overlays/production"}) {
		t.Errorf("an overlay that is not there reads %v", paths)
	}
	linked := retyped{MapFS: mapFS(factory()), name: "overlays/local/base", mode: fs.ModeSymlink}
	if paths := closureOf(t, linked, "overlays/local"); !slices.Contains(paths, "overlays/local/base") || slices.Contains(paths, "overlays/local/base/ns.yaml") {
		t.Errorf("a link in the overlay: %v", paths)
	}
}

func TestAClosureIsBounded(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range 50 {
		many["overlays/local/"+strings.Repeat("d/", i)+"kustomization.yaml"] = "resources: []\n"
	}
	_, err := new(render.Renderer).Closure(mapFS(many), "overlays/local", render.Limits{Kustomizations: 2})
	var no *render.Refusal
	if !errors.As(err, &no) || no.Code != "limits/kustomizations" {
		t.Errorf("got %v, want a refusal", err)
	}
	for _, overlay := range []string{"../x", "/etc", "https://x/y", ""} {
		if _, err := new(render.Renderer).Closure(mapFS(many), overlay, render.DefaultLimits()); !errors.As(err, &no) {
			t.Errorf("overlay %q: %v", overlay, err)
		}
	}
}
