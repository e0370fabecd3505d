package assets

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWithLittleDiskAFirstBuildKeepsProgramsOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		missing int
		free    uint64
		want    bool
	}{
		{missing: 40, free: LeastGiB, want: true},
		{missing: 40, free: keptGiB - 1, want: true},
		{missing: 40, free: keptGiB},
		{missing: ManyPrograms - 1, free: 1}, // a change of one program is built from what there is
	} {
		if lean(c.missing, c.free) != c.want {
			t.Errorf("%d programs with %d GiB free: lean is not %v", c.missing, c.free, c.want)
		}
	}
}

// Not parallel: it sets the environment.
func TestALeanBuildLeavesNothingButPrograms(t *testing.T) {
	root, cache, own := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("GOCACHE", filepath.Join(own, "compiled"))
	t.Setenv("GOMODCACHE", filepath.Join(own, "modules"))
	for _, module := range []string{"one", "two"} {
		writeFile(t, filepath.Join(root, module, "go.mod"), "module "+module+"\n\ngo 1.26.0\n")
		writeFile(t, filepath.Join(root, module, "main.go"), "package main\n\nfunc main() {}\n")
	}
	writeFile(t, filepath.Join(cache, "scratch", "modules", "left"), "by a build that was killed")
	tc, err := findToolchain(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	b := builder{root: root, cache: cache, toolchain: tc, progress: &lines{to: &bytes.Buffer{}}}
	two := asset{module: "two", pkg: ".", names: []string{"two", "alias"}}
	bin, err := b.ensureLean(t.Context(), [][]asset{{{module: "one", pkg: ".", names: []string{"one"}}}, {two}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two", "alias"} {
		if _, err := os.Stat(bin.Path(name)); err != nil {
			t.Error(err)
		}
	}
	if left := names(t, cache); !slices.Equal(left, []string{"one", "one.lock", "scratch.lock", "two", "two.lock"}) {
		t.Errorf("the cache has %v", left)
	}
	if left := names(t, own); len(left) != 0 {
		t.Errorf("the caches of the go command have %v", left)
	}
	writeFile(t, filepath.Join(root, "two", "main.go"), "package main\n\nfunc main() { undefinedName() }\n")
	if _, err := b.ensureLean(t.Context(), [][]asset{{two}}); err == nil || !strings.Contains(err.Error(), "undefinedName") {
		t.Errorf("error is %v", err)
	}
	if exists(filepath.Join(cache, "scratch")) {
		t.Error("a build that failed leaves what it compiled")
	}
}

func TestWhatModulesShareIsEmptiedWhenItIsMuch(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "scratch")
	if err := emptied(dir, 10); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
	writeFile(t, filepath.Join(dir, "a", "b"), "0123456789")
	if err := emptied(dir, 10); err != nil || !exists(dir) {
		t.Errorf("%v; it was removed, and is as large as it may be", err)
	}
	writeFile(t, filepath.Join(dir, "c"), "0")
	if err := emptied(dir, 10); err != nil || exists(dir) {
		t.Errorf("%v; it is still there", err)
	}
}

func TestTheFirstModuleThatFailsEndsTheOthers(t *testing.T) {
	t.Parallel()
	root, cache := t.TempDir(), t.TempDir()
	var modules [][]asset
	for _, name := range []string{"bad", "good", "later", "last"} {
		writeFile(t, filepath.Join(root, name, "go.mod"), "module "+name+"\n\ngo 1.26.0\n")
		writeFile(t, filepath.Join(root, name, "main.go"), "package main\n\nfunc main() {}\n")
		modules = append(modules, []asset{{module: name, pkg: ".", names: []string{name}}})
	}
	if err := os.Remove(filepath.Join(root, "bad", "main.go")); err != nil {
		t.Fatal(err)
	}
	tc, err := findToolchain(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	b := builder{root: root, cache: cache, toolchain: tc, progress: &lines{to: &bytes.Buffer{}}}
	if _, err := b.ensureAll(t.Context(), modules, 1); err == nil || !strings.HasPrefix(err.Error(), "building bad:") {
		t.Errorf("error is %v", err)
	}
	if exists(filepath.Join(cache, "last")) {
		t.Error("modules were built after one that failed")
	}
}

func writeFile(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}
