package architecture

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// The bounds of the tail. The linters have the same ones; this test also holds
// where golangci-lint does not run, as in the nested modules under tools/.
const (
	maxFile     = 400
	maxFunction = 60
)

// tracked lists the files of the repository that git knows or would add.
func tracked(t *testing.T, patterns ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}, patterns...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("this needs the git repository, not an archive of it: %v", err)
	}
	files := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	return slices.DeleteFunc(files, func(file string) bool {
		_, err := os.Lstat(filepath.Join(root, file))
		return file == "" || err != nil // deleted, not committed yet
	})
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestNoPackageIsNamedAfterNothing(t *testing.T) {
	t.Parallel()
	for _, file := range tracked(t, "*.go") {
		for folder := range strings.SplitSeq(path.Dir(file), "/") {
			switch folder {
			case "util", "utils", "common", "helper", "helpers", "types", "misc", "shared", "base":
				t.Errorf("%s: a package is named for what it is about", file)
			}
		}
		switch path.Base(file) {
		case "types.go", "utils.go", "util.go", "interfaces.go", "common.go", "helpers.go", "misc.go":
			t.Errorf("%s: a file is named for what it is about", file)
		}
	}
}

func TestFilesAndFunctionsFitTheirBounds(t *testing.T) {
	t.Parallel()
	for _, file := range tracked(t, "*.go") {
		src := read(t, file)
		if strings.HasSuffix(file, "_test.go") || bytes.Contains(src, []byte("DO NOT EDIT.")) {
			continue
		}
		if lines := bytes.Count(src, []byte("\n")); lines > maxFile {
			t.Errorf("%s has %d lines, more than %d", file, lines, maxFile)
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, src, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("parsing: %v", err)
			continue
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line - 1; lines > maxFunction {
				t.Errorf("%s: %s has %d lines, more than %d", file, f.Name.Name, lines, maxFunction)
			}
		}
	}
}

func TestEveryPackageHasAManual(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, file := range tracked(t, "*.go") {
		if strings.HasSuffix(file, "_test.go") || strings.Contains(file, "testdata/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, read(t, file), parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("parsing: %v", err)
			continue
		}
		dir := path.Dir(file)
		documented[dir] = documented[dir] || parsed.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: the package comment is missing", dir)
		}
	}
}

func TestNothingOfOneMachineIsInTheRepository(t *testing.T) {
	t.Parallel()
	// Spelled in parts, so that this file does not find itself.
	foreign := [][]byte{[]byte("/" + "work/"), []byte("/" + "root/"), []byte("/tmp/" + "mw")}
	for _, file := range tracked(t) {
		if info, err := os.Lstat(filepath.Join(root, file)); err != nil || !info.Mode().IsRegular() {
			continue
		}
		src := read(t, file)
		for _, name := range foreign {
			if bytes.Contains(src, name) {
				t.Errorf("%s names %s, a place on somebody's machine", file, name)
			}
		}
	}
}
