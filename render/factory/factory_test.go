package factory_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
)

const accepted = `apiVersion: millwright.dev/v1alpha1
kind: FactoryConfig
metadata: {name: factory}
spec:
  environments:
  - {name: local, overlay: overlays/local, health: {mode: Unknown, reason: no kubelet}}
  - {name: production, overlay: overlays/production, health: {mode: Observe}}
  components:
  - {name: namespaces, path: namespaces, drift: correct}
  - {name: tekton, path: tekton, dependsOn: [namespaces], drift: alert}
  - {name: admission, path: admission, drift: off}
`

func TestComponentsComeInStageOrderUnderTheOverlayOfAnEnvironment(t *testing.T) {
	t.Parallel()
	c, err := factory.Decode([]byte(strings.Replace(accepted, "drift: off", `drift: "off"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Environment("production")
	if err != nil || e.Health.Mode != factory.HealthObserve {
		t.Fatalf("got %+v, %v", e, err)
	}
	want := []render.Component{
		{Name: "namespaces", Path: "overlays/production/namespaces", Stage: 0},
		{Name: "admission", Path: "overlays/production/admission", Stage: 0},
		{Name: "tekton", Path: "overlays/production/tekton", Stage: 1},
	}
	if diff := cmp.Diff(want, e.Components(c)); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
	if k, ok := c.Component("tekton"); !ok || k.Drift != factory.DriftAlert {
		t.Errorf("got %+v, %v", k, ok)
	}
	var no *factory.Refusal
	if _, err := c.Environment("elsewhere"); !errors.As(err, &no) || no.Code != "factory/environment" {
		t.Errorf("an unknown environment: %v", err)
	}
}

// Each row changes one thing in the accepted file.
func TestAFileThatIsNotExactlyUnderstoodIsRefused(t *testing.T) {
	t.Parallel()
	text := strings.Replace(accepted, "drift: off", `drift: "off"`, 1)
	rows := map[string]struct{ from, to, code string }{
		"another kind":                  {"FactoryConfig", "Factory", "factory/kind"},
		"another version":               {"v1alpha1", "v1", "factory/kind"},
		"an unknown field":              {"metadata:", "status: {}\nmetadata:", "factory/syntax"},
		"a comment that ends unseen":    {"metadata:", "# \u2028metadata:", "factory/syntax"},
		"a field given twice":           {"metadata:", "kind: FactoryConfig\nmetadata:", "factory/syntax"},
		"a second document":             {"metadata:", "metadata: {}\n---\nmetadata:", "factory/documents"},
		"a name that is no label":       {"name: tekton,", "name: Tekton,", "factory/name"},
		"a path that goes up":           {"path: tekton", "path: ../tekton", "factory/path"},
		"an absolute overlay":           {"overlay: overlays/local", "overlay: /overlays/local", "factory/path"},
		"a hidden path":                 {"path: tekton", "path: .tekton", "factory/path"},
		"a path that is not clean":      {"path: tekton", "path: a//b", "factory/path"},
		"the overlay itself as a path":  {"path: tekton", `path: "."`, "factory/path"},
		"a component listed twice":      {"name: tekton,", "name: namespaces,", "factory/twice"},
		"a path used twice":             {"path: tekton", "path: namespaces", "factory/twice"},
		"an overlay used twice":         {"overlays/production", "overlays/local", "factory/twice"},
		"H18 dependency on a later one": {"[namespaces]", "[admission]", "factory/depends-on"},
		"H18 dependency on itself":      {"[namespaces]", "[tekton]", "factory/depends-on"},
		"a dependency given twice":      {"[namespaces]", "[namespaces, namespaces]", "factory/twice"},
		"no drift mode":                 {", drift: alert", "", "factory/drift"},
		"an unknown drift mode":         {"drift: alert", "drift: ignore", "factory/drift"},
		"drift off as a YAML boolean":   {`drift: "off"`, "drift: off", ""},
		"health unknown, no reason":     {", reason: no kubelet", "", "factory/health"},
		"health observed, a reason":     {"{mode: Observe}", "{mode: Observe, reason: x}", "factory/health"},
		"a reason of two lines":         {"reason: no kubelet", `reason: "no\nkubelet"`, "factory/health"},
		"more bytes than the bound":     {"metadata:", strings.Repeat("# long\n", 40_000) + "metadata:", "factory/size"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := strings.Replace(text, row.from, row.to, 1)
			if changed == text {
				t.Fatalf("the row changes nothing")
			}
			_, err := factory.Decode([]byte(changed))
			var no *factory.Refusal
			if !errors.As(err, &no) {
				t.Fatalf("got %v, want a refusal", err)
			}
			if (row.code != "" && no.Code != row.code) || no.Reason != factory.Reason || no.Hint == "" {
				t.Errorf("got %+v, want code %s with a hint", no, row.code)
			}
		})
	}
}

func TestTheFactoryOfThisRepositoryDecodes(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(factory.Path)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := factory.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Environment("local")
	if err != nil || e.Health.Mode != factory.HealthObserve {
		t.Fatalf("got %+v, %v; want local with health", e, err)
	}
	for _, k := range e.Components(c) {
		if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(k.Path), "kustomization.yaml")); err != nil {
			t.Error(err)
		}
	}
}
