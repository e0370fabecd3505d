package render_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"

	"millwright.dev/millwright/render"
)

// busy is a component that uses what of kustomize looks into its schema: merging
// patches, namespaces, name references and replacements. Each has values of its own.
func busy(n int) fstest.MapFS {
	own := fmt.Sprintf("own-%d", n)
	return files(map[string]string{
		dir + "kustomization.yaml": fmt.Sprintf(`namespace: %[1]s
namePrefix: %[1]s-
resources: [app.yaml]
components: [part]
labels: [{pairs: {of: %[1]s}, includeSelectors: true}]
images: [{name: app, newTag: v%[2]d}]
configMapGenerator: [{name: settings, literals: [who=%[1]s]}]
patches:
- patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: app}
    spec: {template: {spec: {containers: [{name: app, env: [{name: WHO, value: %[1]s}]}]}}}
- target: {kind: Service}
  patch: '[{"op": "replace", "path": "/spec/ports/0/port", "value": %[3]d}]'
replacements:
- source: {kind: Deployment, name: app, fieldPath: spec.replicas}
  targets: [{select: {kind: Service}, fieldPaths: [metadata.annotations.replicas], options: {create: true}}]
`, own, n, 1000+n),
		dir + "part/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [kind.yaml]\n",
		dir + "part/kind.yaml":          "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: thing}\nspec: {of: " + own + "}\n",
		dir + "app.yaml": fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: %d
  template:
    spec:
      containers:
      - {name: side, image: side}
      - {name: app, image: app, envFrom: [{configMapRef: {name: settings}}]}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{port: 80}]}
`, n),
	})
}

// kustomize is let in by many at a time ([render.Prepare] says why it may be). Whether
// they write to the same memory is for the race detector: make test-race.
func TestBuildsAtTheSameTimeSayWhatTheySayAlone(t *testing.T) {
	t.Parallel()
	const components, times = 24, 4
	together, errs := make([]string, components*times), make([]error, components*times)
	var wait sync.WaitGroup
	for i := range together { // first, so that the schema is not there yet when this test runs alone
		wait.Go(func() {
			m, err := app(busy(i%components), render.Limits{})
			together[i], errs[i] = m.Digest(), err
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for n := range components {
		m, err := app(busy(n), render.Limits{})
		if err != nil || len(m.Objects()) != 4 {
			t.Fatalf("%d objects, %v", len(m.Objects()), err)
		}
		for i := n; i < len(together); i += components {
			if together[i] != m.Digest() {
				t.Errorf("component %d came out otherwise beside others", n)
			}
		}
	}
}
