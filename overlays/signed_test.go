package overlays_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"millwright.dev/millwright/tools/assets"
)

// signer is the program with which a catalog is signed, and which asks Tekton's own
// code whether a signature holds.
var signer = sync.OnceValues(func() (string, error) {
	bin, err := assets.Ensure(context.Background(), os.Stderr, "tekton-catalog")
	if err != nil {
		return "", err
	}
	return bin.Path("tekton-catalog"), nil
})

// tektonCatalog runs it about what a folder renders to.
func tektonCatalog(t *testing.T, folder string, args ...string) (string, error) {
	t.Helper()
	program, err := signer()
	if err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = bytes.NewReader(rendered)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// makeKey makes a key as whoever keeps the catalog's does, and tells its public part.
func makeKey(t *testing.T) (file, public string) {
	t.Helper()
	private, pub, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "catalog.key")
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, string(pub)
}

// sign writes the signatures of an environment's catalog where they belong.
func sign(t *testing.T, root, environment, key string) {
	t.Helper()
	catalog := filepath.Join(root, "overlays", environment, "catalog")
	if out, err := tektonCatalog(t, filepath.Join(catalog, "unsigned"), "sign", "-key", key, "-out", filepath.Join(catalog, "signatures.yaml")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// The catalog of local, with a key made for it: Tekton's own verification accepts
// each of its Tasks and its Pipeline, and none after any letter was changed.
func TestTektonAcceptsTheSignedCatalogAndNothingElse(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, dir := range []string{"bases/catalog", "overlays/local/catalog"} {
		if err := copyYAML(filepath.Join(root, dir), filepath.Join("..", dir)); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) string { return filepath.Join(root, filepath.FromSlash(name)) }
	change := func(name, from, to string) (back func()) {
		t.Helper()
		before, err := os.ReadFile(file(name))
		if err != nil || !strings.Contains(string(before), from) {
			t.Fatalf("%s has no %q: %v", name, from, err)
		}
		if err := os.WriteFile(file(name), []byte(strings.ReplaceAll(string(before), from, to)), 0o600); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.WriteFile(file(name), before, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	key, public := makeKey(t)
	change("overlays/local/catalog/key.yaml", "MILLWRIGHT_CATALOG_KEY", strings.ReplaceAll(public, "\n", `\n`))
	catalog := file("overlays/local/catalog")
	refused := func(what, because string) {
		t.Helper()
		out, err := tektonCatalog(t, catalog, "verify")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(out, because) {
			t.Errorf("%s: %v %s", what, err, out)
		}
	}
	refused("before it was signed", "catalog/signature")
	sign(t, root, "local", key)
	if out, err := tektonCatalog(t, catalog, "verify"); err != nil || !strings.HasSuffix(out, "signatures hold for runs in build-sample\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, row := range []struct{ name, from, to, because string }{
		{"bases/catalog/build.yaml", "-trimpath", "-trimpatH", "Task build"},
		{"bases/catalog/source.yaml", `usercode: "false"`, `usercode: "true"`, "Task source"},
		{"bases/catalog/publish.yaml", "annotations: {millwright.dev/egress: registry}", "annotations: {millwright.dev/egress: none}", "Task publish"},
		{"bases/catalog/secure-build.yaml", "- {name: name, value: sbom}", "- {name: name, value: sbon}", "Pipeline secure-build"},
		{"overlays/local/catalog/unsigned/build.json6902.yaml", "value: registry.localhost:5000/go@sha256:0", "value: registry.localhost:5000/go@sha256:1", "Task build"},
		{"overlays/local/catalog/signatures.yaml", "signature: ", "signature: A", "Pipeline secure-build"},
		{"bases/catalog/verification-policy.yaml", "namespaces/factory-catalog/", "namespaces/another-catalog/", "catalog/policy"},
		{"bases/catalog/verification-policy.yaml", "mode: enforce", "mode: warn", "catalog/policy"},
	} {
		back := change(row.name, row.from, row.to)
		refused(row.name, row.because)
		back()
	}
	other, _ := makeKey(t)
	sign(t, root, "local", other)
	refused("signed with another key", "catalog/signature")
}

// Where the signatures go is written in advance, and whoever adds a Task to the catalog
// adds it there. Tekton looks for the policy in the namespace of the run.
func TestTheCatalogHasAPlaceForEachSignatureAndEachNamespaceOfBuildsAPolicy(t *testing.T) {
	t.Parallel()
	builds, policies, places := map[string]bool{}, map[string]bool{}, 0
	anchored := regexp.MustCompile(`^\^[^|]*(\([a-z|]+\)[^|]*)?\$$`)
	for _, o := range mustBuild(t) {
		switch kind := o.text("kind"); {
		case kind == "Namespace" && o.text("metadata", "labels", "millwright.dev/purpose") == "build":
			builds[o.text("metadata", "name")] = true
		case kind == "VerificationPolicy":
			policies[o.text("metadata", "namespace")] = true
			patterns, _ := o.field("spec", "resources").([]any)
			for _, p := range patterns {
				if pattern, _ := p.(map[string]any)["pattern"].(string); !anchored.MatchString(pattern) {
					t.Errorf("%s: what the pattern %q fits may have anything before or after it", o.id(), pattern)
				}
			}
			if len(patterns) == 0 || o.text("spec", "mode") != "enforce" || !strings.Contains(string(o.json), "MILLWRIGHT_CATALOG_KEY") {
				t.Errorf("%s is %s", o.id(), o.json)
			}
		case kind == "Task" || kind == "Pipeline" || kind == "StepAction":
			if o.text("metadata", "annotations", "tekton.dev/signature") != "MILLWRIGHT_CATALOG_SIGNATURE" {
				t.Errorf("overlays/local/catalog/signatures.yaml has no place for %s", o.id())
			}
			places++
		}
	}
	if len(builds) == 0 || places < 6 {
		t.Errorf("there are %d namespaces of builds, and %d Tasks and Pipelines", len(builds), places)
	}
	for namespace := range builds {
		if !policies[namespace] {
			t.Errorf("in %s nothing says whose signature counts: no run would start", namespace)
		}
	}
}
