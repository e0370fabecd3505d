package overlays_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lockImages writes the images of an adopter, all but one: one reference for each
// name that the strict environments ask for.
func lockImages(t *testing.T, root, environment, but string) {
	t.Helper()
	asked := regexp.MustCompile(`fieldPath: data\.([a-z-]+)}`)
	lines := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, "overlays", "strict", "*", "images", "kustomization.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d components say which images they need: %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range asked.FindAllStringSubmatch(string(data), -1) {
			if m[1] != but {
				lines[fmt.Sprintf("  %[1]s: registry.example.org/%[1]s@sha256:%[2]x\n", m[1], sha256.Sum256([]byte(m[1])))] = true
			}
		}
	}
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: images\n  annotations: {config.kubernetes.io/local-config: \"true\"}\ndata:\n" +
		strings.Join(slices.Sorted(maps.Keys(lines)), "")
	if err := os.WriteFile(filepath.Join(root, "overlays", environment, "images", "images.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ownKey writes the public key of an adopter for the catalog, and gives the file with
// the private one.
func ownKey(t *testing.T, root, environment string) string {
	t.Helper()
	key, public := makeKey(t)
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: catalog-key\n  annotations: {config.kubernetes.io/local-config: \"true\"}\ndata:\n  public: |\n    " +
		strings.ReplaceAll(strings.TrimSpace(public), "\n", "\n    ") + "\n"
	if err := os.WriteFile(filepath.Join(root, "overlays", environment, "catalog", "key.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return key
}

// Staging and production render with the images of whoever adopts them, with a catalog
// that they signed, and not without: nothing is invented.
func TestStagingAndProductionAreStrictAndRunTheirAdoptersImages(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := materialise(root); err != nil {
		t.Fatal(err)
	}
	for _, environment := range []string{"staging", "production"} {
		if _, err := build(root, environment); err == nil || !strings.Contains(err.Error(), "images.yaml") {
			t.Errorf("%s without images: %v", environment, err)
		}
		for _, missing := range []string{"tekton-entrypoint", "millwright"} {
			lockImages(t, root, environment, missing)
			if _, err := build(root, environment); err == nil || !strings.Contains(err.Error(), missing) {
				t.Errorf("%s without %s: %v", environment, missing, err)
			}
		}
		lockImages(t, root, environment, "")
		if _, err := build(root, environment); err == nil || !strings.Contains(err.Error(), "key.yaml") {
			t.Errorf("%s without a key for the catalog: %v", environment, err)
		}
		key := ownKey(t, root, environment)
		if _, err := build(root, environment); err == nil || !strings.Contains(err.Error(), "signatures.yaml") {
			t.Errorf("%s without signatures: %v", environment, err)
		}
		sign(t, root, environment, key)
		if out, err := tektonCatalog(t, filepath.Join(root, "overlays", environment, "catalog"), "verify"); err != nil {
			t.Errorf("%s: %v\n%s", environment, err, out)
		}
		objects, err := build(root, environment)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			checkStrict(t, environment, o)
		}
		strictValues(t, environment, objects)
		own := fmt.Sprintf("registry.example.org/millwright@sha256:%x", sha256.Sum256([]byte("millwright")))
		if diff := cmp.Diff(running(objects, own), listed(t, objects)); diff != "" {
			t.Errorf("%s: images (-run +listed):\n%s", environment, diff)
		}
	}
}

var adopted = regexp.MustCompile(`^registry\.example\.org/[a-z-]+@sha256:[0-9a-f]{64}$`)

func checkStrict(t *testing.T, environment string, o object) {
	t.Helper()
	for where, image := range imagesOf(o) {
		if !adopted.MatchString(image) {
			t.Errorf("%s: %s runs %q as %s", environment, o.id(), image, where)
		}
	}
	if name := o.text("metadata", "name"); o.text("kind") == "ConfigMap" && (name == "images" && o.component != "admission" || name == "catalog-key") {
		t.Errorf("%s applies %s with %s", environment, name, o.component)
	}
	text := string(o.json)
	for _, never := range []string{"registry.localhost", "factory.test", "198.18.", "198.19.", "spiffe://factory.test"} {
		if strings.Contains(text, never) {
			t.Errorf("%s: %s names %s, which is the local environment's", environment, o.id(), never)
		}
	}
	// Examples in Tekton's ConfigMaps and descriptions of kinds have such addresses.
	if ours := !slices.Contains([]string{"kyverno", "tekton-pipelines"}, o.component); ours && o.text("kind") != "CustomResourceDefinition" && strings.Contains(text, "http://") {
		t.Errorf("%s: %s speaks without TLS", environment, o.id())
	}
}

// strictValues are those that local relaxes.
func strictValues(t *testing.T, environment string, objects []object) {
	t.Helper()
	want := map[string]any{
		"ConfigMap. tekton-pipelines/feature-flags coschedule":                                      "isolate-pipelinerun",
		"ConfigMap. tekton-pipelines/feature-flags trusted-resources-verification-no-match-policy":  "fail",
		"ConfigMap. tekton-chains/chains-config builder.id":                                         "https://millwright.dev/factory/" + environment + "@1",
		"Deployment.apps kyverno/kyverno-admission-controller replicas":                             "3",
		"HorizontalPodAutoscaler.autoscaling tekton-pipelines/tekton-pipelines-webhook minReplicas": "1",
	}
	got := map[string]any{}
	for _, o := range objects {
		for at := range want {
			if id, field := at[:strings.LastIndexByte(at, ' ')], at[strings.LastIndexByte(at, ' ')+1:]; id == o.id() {
				part := "data"
				if o.field(part) == nil {
					part = "spec"
				}
				got[at] = fmt.Sprint(o.field(part, field))
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", environment, diff)
	}
}

// Only local relaxes, and the list of what it does is a file of its own.
func TestOnlyTheEnvironmentLocalRelaxes(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"staging", "production", "strict"} {
		err := filepath.WalkDir(environment, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(p)
			if strings.Contains(string(data), "Relaxation ") || d.Name() == "relaxations.yaml" {
				t.Errorf("%s relaxes something", p)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
