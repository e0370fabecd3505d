package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// The program that is described is the test itself, which has dependencies.
func selfIn(t *testing.T) (dir string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sample"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAProgramIsDescribedTheSameWayEachTime(t *testing.T) {
	t.Parallel()
	var documents []string
	for range 2 {
		dir := selfIn(t)
		to := filepath.Join(dir, "sbom.json")
		if err := run(t.Context(), []string{"sbom", "-dir", dir, "-program", "sample", "-out", to, "-created", "2026-11-27T00:00:00Z"}, io.Discard); err != nil {
			t.Fatal(err)
		}
		documents = append(documents, read(t, to))
	}
	if documents[0] != documents[1] {
		t.Error("two descriptions of one program differ")
	}
	// Read by the format's own library, which refuses what is not SPDX.
	doc, err := spdxjson.Read(strings.NewReader(documents[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		t.Error(err)
	}
	described, err := spdxlib.GetDescribedPackageIDs(doc)
	if err != nil || len(described) != 1 {
		t.Errorf("described: %v %v", described, err)
	}
	purls := map[string]bool{}
	for _, p := range doc.Packages {
		for _, r := range p.PackageExternalReferences {
			purls[r.Locator] = true
		}
	}
	info, _ := debug.ReadBuildInfo()
	for _, want := range []string{"pkg:golang/std@" + strings.TrimPrefix(runtime.Version(), "go"), "pkg:golang/millwright.dev/millwright/tools/pods"} {
		if !purls[want] {
			t.Errorf("%s is missing in %v", want, purls)
		}
	}
	if want := 2 + len(info.Deps); len(purls) != want {
		t.Errorf("%d modules, want %d", len(purls), want)
	}
}

func TestModulesAreNamedAsTheyWereCompiled(t *testing.T) {
	t.Parallel()
	replaced := modulePackage(debug.Module{Path: "example.com/a", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/Fork/b", Version: "v2.0.0+incompatible", Sum: "h1:x="}})
	if replaced.Name != "example.com/Fork/b" || replaced.References[0].Locator != "pkg:golang/example.com/Fork/b@v2.0.0%2Bincompatible" {
		t.Errorf("%+v", replaced)
	}
	if replaced.Comment != "in place of example.com/a v1.0.0; go.sum h1:x=" {
		t.Error(replaced.Comment)
	}
}

func TestWhatIsNoGoProgramIsRefused(t *testing.T) {
	t.Parallel()
	dir := selfIn(t)
	b, _ := os.ReadFile(filepath.Join(dir, "sample"))
	write(t, filepath.Join(dir, "text"), "no program", 0o600)
	write(t, filepath.Join(dir, "cut"), string(b[:4096]), 0o600)
	write(t, filepath.Join(dir, "broken"), "\x7fELF"+string(bytes.Repeat([]byte{2}, 4096)), 0o600)
	if err := os.Symlink("/proc/self/exe", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"text": reasonProgram, "cut": reasonProgram, "broken": reasonProgram, "link": reasonKind, "../sample": reasonName, "/proc/self/exe": reasonName} {
		to := filepath.Join(t.TempDir(), "sbom.json")
		if err := run(t.Context(), []string{"sbom", "-dir", dir, "-program", name, "-out", to}, io.Discard); refusal.ReasonOf(err) != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
		if _, err := os.Lstat(to); err == nil {
			t.Errorf("%s: refused, and yet there is a document", name)
		}
	}
	for _, created := range []string{"now", "2026-11-27", "2026-11-27T00:00:00+01:00", ""} {
		if err := run(t.Context(), []string{"sbom", "-dir", dir, "-program", "sample", "-out", os.DevNull, "-created", created}, io.Discard); refusal.ReasonOf(err) != reasonCreated {
			t.Errorf("%q: %v", created, err)
		}
	}
}
