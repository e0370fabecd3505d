package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A build in the factory compiles what the commit has, and takes the standard library
// as it is in the image: with the flags of the Tasks, which decide whether it fits.
func TestTheCompilersImageHasTheStandardLibraryCompiled(t *testing.T) {
	t.Parallel()
	image, err := toolchain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for place, from := range image.Files {
		place = filepath.Join(dir, place)
		if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(from, place); err != nil {
			t.Fatal(err)
		}
	}
	tree := filepath.Join(dir, "tree")
	for name, content := range plain(map[string]string{
		"main_test.go": "package main\n\nimport (\n\t\"net/http\"\n\t\"testing\"\n)\n\nfunc TestWord(t *testing.T) { _ = http.MethodGet }\n",
	}) {
		if err := os.MkdirAll(tree, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for task, step := range map[string]catalogStep{"build": stepOf(t, "build", "compile"), "test": stepOf(t, "test", "test")} {
		env := slices.Concat(image.Env, []string{"GOROOT=" + filepath.Join(dir, "usr/local/go"), "PATH=/usr/bin:/bin"})
		for _, e := range step.Env {
			env = append(env, e.Name+"="+strings.ReplaceAll(e.Value, "$(workspaces.deps.path)", dir))
		}
		for setting, compiled := range map[string]bool{inGoroot: false, "GODEBUG=": true} {
			args := append([]string{step.Args[0], "-n"}, step.Args[1:]...)
			for i, arg := range args {
				args[i] = strings.NewReplacer("$(workspaces.out.path)", dir, "$(params.package)", ".").Replace(arg)
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(dir, image.Entrypoint), args...)
			cmd.Dir, cmd.Env = tree, append(env, setting, "GOCACHE="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s, %s: %v\n%s", task, setting, err, out)
			}
			if got := strings.Contains(string(out), " -p runtime "); got != compiled || !strings.Contains(string(out), " -p main ") {
				t.Errorf("%s, %s: the standard library is compiled: %v\n%s", task, setting, got, out)
			}
		}
	}
}
