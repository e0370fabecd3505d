package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// catalogStep is a step of a Task of the catalog, as far as it matters here.
type catalogStep struct {
	Name string
	Args []string
	Env  []struct{ Name, Value string }
}

func stepOf(t *testing.T, task, name string) catalogStep {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "bases", "catalog", task+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Spec struct{ Steps []catalogStep } }
	if err := yaml.Unmarshal(data, &made); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(made.Spec.Steps, func(s catalogStep) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("the Task %s has no step %s", task, name)
	}
	return made.Spec.Steps[i]
}

// plain is a commit that asks for nothing.
func plain(more map[string]string) map[string]string {
	files := map[string]string{
		"go.mod":  "module factory.test/plain\n\ngo 1.26\n",
		"main.go": "package main\n\nimport \"runtime\"\n\nfunc word() string { return \"plain\" }\n\nfunc main() { println(word(), runtime.Version()) }\n",
	}
	maps.Copy(files, more)
	return files
}

// withLibrary needs a module that the commit has beside itself.
func withLibrary(more map[string]string) map[string]string {
	files := plain(map[string]string{
		"go.mod":        "module factory.test/plain\n\ngo 1.26\n\nrequire factory.test/lib v1.0.0\n\nreplace factory.test/lib => ./lib\n",
		"main.go":       "package main\n\nimport \"factory.test/lib\"\n\nfunc main() { println(lib.Word) }\n",
		"lib/go.mod":    "module factory.test/lib\n\ngo 1.26\n",
		"lib/lib.go":    "package lib\n\nconst Word = \"plain\"\n",
		"../lib/go.mod": "module factory.test/lib\n\ngo 1.26\n",
		"../lib/lib.go": "package lib\n\nconst Word = \"elsewhere\"\n",
	})
	maps.Copy(files, more)
	return files
}

const (
	obeys  = "#!/bin/sh\ntouch \"$OBEYED\"\nexec \"$@\"\n"
	asksIt = "GOFLAGS=-toolexec=./obeyed\n"
)

// compiling is what came of the step that compiles.
type compiling struct {
	said, problems string
	obeyed         bool
}

// compile runs the step of the catalog on a commit, as its Task has it but for where
// things are, and but for what the row changes, and then the program.
func compile(t *testing.T, s catalogStep, files map[string]string, pkg string, change map[string]string) compiling {
	t.Helper()
	dir := t.TempDir()
	tree, out, mark := filepath.Join(dir, "source", "tree"), filepath.Join(dir, "out"), filepath.Join(dir, "obeyed")
	for name, content := range files {
		name = filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	place := strings.NewReplacer("$(workspaces.source.path)", filepath.Dir(tree), "$(workspaces.deps.path)", filepath.Join(dir, "deps"),
		"$(workspaces.out.path)", out, "$(params.package)", pkg, "/tmp/cache", strings.TrimSpace(string(cache)))
	env := map[string]string{"OBEYED": mark, "PATH": "/usr/bin:/bin"}
	for _, e := range s.Env {
		env[e.Name] = place.Replace(e.Value)
	}
	env["HOME"] = dir
	maps.Copy(env, change)
	var args []string
	for _, arg := range s.Args {
		if arg != "--" || change["--"] == "" {
			args = append(args, place.Replace(arg))
		}
	}
	command, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), command, args...)
	cmd.Dir = tree
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var c compiling
	if b, err := cmd.CombinedOutput(); err != nil {
		c.problems = string(b) + err.Error()
	} else if b, err = exec.CommandContext(t.Context(), filepath.Join(out, "app")).CombinedOutput(); err != nil {
		t.Errorf("the program: %v\n%s", err, b)
	} else {
		c.said = strings.TrimSpace(string(b))
	}
	_, err = os.Stat(mark)
	c.obeyed = err == nil
	return c
}

// TestWhatACommitTellsTheCompiler has the step that compiles do what a hostile commit
// or run asks for. Each refusal has its twin: the same, changed so that it is obeyed.
func TestWhatACommitTellsTheCompiler(t *testing.T) {
	t.Parallel()
	s := stepOf(t, "build", "compile")
	for name, row := range map[string]struct {
		files   map[string]string
		pkg     string
		said    string            // by the program, in front
		refused string            // instead
		twin    map[string]string // what makes it obeyed
		obeyed  string            // what the twin's program says; "" if its order was obeyed
	}{
		"nothing":             {files: plain(nil), said: "plain " + runtime.Version()},
		"another compiler":    {files: plain(map[string]string{"go.mod": "module factory.test/plain\n\ngo 1.26\n\ntoolchain go1.99.0\n"}), said: "plain " + runtime.Version()},
		"a later language":    {files: plain(map[string]string{"go.mod": "module factory.test/plain\n\ngo 1.99\n"}), refused: "GOTOOLCHAIN=local"},
		"a file outside":      {files: plain(map[string]string{"e.go": "package main\n\nimport _ \"embed\"\n\n//go:embed ../../secret\nvar secret string\n", "../../secret": "x"}), refused: "invalid pattern syntax"},
		"a linker of its own": {files: plain(map[string]string{"c.go": "package main\n\n// #cgo LDFLAGS: -fuse-ld=./obeyed\nimport \"C\"\n", "obeyed": obeys}), said: "plain"},
		"nothing but C":       {files: map[string]string{"go.mod": plain(nil)["go.mod"], "main.go": "package main\n\n// #cgo LDFLAGS: -fuse-ld=./obeyed\nimport \"C\"\n\nfunc main() {}\n", "obeyed": obeys}, refused: "build constraints exclude all Go files"},
		"a program to run each tool with": {
			files: plain(map[string]string{"obeyed": obeys, "go.env": asksIt, ".config/go/env": asksIt, "go/env": asksIt}), said: "plain",
			twin: map[string]string{"GOFLAGS": "-toolexec=./obeyed"},
		},
		"settings of whoever builds": {
			files: plain(map[string]string{"obeyed": obeys, "../../.config/go/env": asksIt}), said: "plain",
			twin: map[string]string{"GOENV": "", "GOFLAGS": ""},
		},
		"a flag in place of a package": {
			files: plain(map[string]string{"obeyed": obeys}), pkg: "-toolexec=./obeyed", refused: "-toolexec",
			twin: map[string]string{"--": "none"},
		},
		"other files in place of its own": {
			files: plain(map[string]string{"overlay.json": `{"Replace": {"main.go": "other"}}`, "other": "package main\n\nfunc main() { println(\"elsewhere\") }\n"}),
			pkg:   "-overlay=overlay.json", refused: "-overlay",
			twin: map[string]string{"--": "none"}, obeyed: "elsewhere",
		},
		"a workspace elsewhere": {
			files: withLibrary(map[string]string{"go.work": "go 1.26\n\nuse .\n\nreplace factory.test/lib => ../lib\n", "go.mod": "module factory.test/plain\n\ngo 1.26\n\nrequire factory.test/lib v1.0.0\n\nreplace factory.test/lib v1.0.0 => ./lib\n"}), said: "plain",
			twin: map[string]string{"GOWORK": ""}, obeyed: "elsewhere",
		},
		"other modules than it names": {
			files: withLibrary(map[string]string{"vendor/modules.txt": "# factory.test/lib v1.0.0 => ./lib\n## explicit; go 1.26\nfactory.test/lib\n# factory.test/lib => ./lib\n", "vendor/factory.test/lib/lib.go": "package lib\n\nconst Word = \"elsewhere\"\n"}), said: "plain",
			twin: map[string]string{"GOFLAGS": "-mod=vendor"}, obeyed: "elsewhere",
		},
		// What is there to be read may be compiled: in the Task that is the compiler's own
		// library, and modules whose digest was compared.
		"a module that is mounted": {files: withLibrary(map[string]string{"go.mod": "module factory.test/plain\n\ngo 1.26\n\nrequire factory.test/lib v1.0.0\n\nreplace factory.test/lib => ../lib\n"}), said: "elsewhere"},
		"a generator":              {files: plain(map[string]string{"g.go": "package main\n\n//go:generate ./obeyed\n", "obeyed": obeys}), said: "plain"},
		"a tool": {files: withLibrary(map[string]string{
			"go.mod":    "module factory.test/plain\n\ngo 1.26\n\ntool factory.test/plain/x\n\nrequire factory.test/lib v1.0.0\n\nreplace factory.test/lib => ./lib\n",
			"x/main.go": "package main\n\nfunc main() { panic(1) }\n",
		}), said: "plain"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pkg := row.pkg
			if pkg == "" {
				pkg = "."
			}
			c := compile(t, s, row.files, pkg, nil)
			if c.obeyed || !strings.HasPrefix(c.said, row.said) || (row.refused == "") != (c.problems == "") || !strings.Contains(c.problems, row.refused) {
				t.Errorf("want %q or a refusal with %q, got %+v", row.said, row.refused, c)
			}
			if row.twin == nil {
				return
			}
			if c := compile(t, s, row.files, pkg, row.twin); c.said != row.obeyed && row.obeyed != "" || row.obeyed == "" && !c.obeyed {
				t.Errorf("the twin: want %q, got %+v", row.obeyed, c)
			}
		})
	}
}
