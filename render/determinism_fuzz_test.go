package render_test

import (
	"errors"
	"testing"

	"millwright.dev/millwright/render"
)

// Whatever a component says, it renders to the same twice or is refused for the
// same twice, and never crashes.
func FuzzRenderDeterminism(f *testing.F) {
	f.Add("resources: [config.yaml]\n", configMap)
	f.Add("resources: [config.yaml]\nnamePrefix: a\ncommonLabels: {a: b}\n", deployment)
	f.Add("resources: [config.yaml]\npatches:\n- patch: |\n    - {op: remove, path: /data}\n  target: {kind: ConfigMap}\n", configMap)
	f.Add("configMapGenerator:\n- name: x\n  files: [config.yaml]\n", bomb)
	f.Add("resources: [config.yaml]\nreplacements:\n- source: {kind: ConfigMap}\n  targets:\n  - select: {kind: ConfigMap}\n    fieldPaths: [data.a]\n", configMap)
	f.Add("resources: [config.yaml]\nconfigMapGenerator:\n- {name: app, behavior: merge, namespace: factory, literals: [c=d]}\n", configMap)
	f.Add("resources: [config.yaml]\n", "kind: List\napiVersion: v1\nitems: [{kind: A, apiVersion: b/v1, metadata: {name: c}}]\n")
	f.Fuzz(func(t *testing.T, kustomization, resource string) {
		changes := map[string]string{dir + "kustomization.yaml": kustomization, dir + "config.yaml": resource}
		first, err := app(files(changes), render.Limits{})
		second, again := app(files(changes), render.Limits{})
		var a, b *render.Refusal
		switch errors.As(err, &a); {
		case err == nil && again == nil:
			if first.Digest() != second.Digest() {
				t.Fatalf("%s and %s", first.Digest(), second.Digest())
			}
		case a == nil || !errors.As(again, &b) || a.Code != b.Code:
			t.Fatalf("%v and %v", err, again)
		}
	})
}
