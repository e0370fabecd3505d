package apply

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// BenchmarkColdApply applies sixteen small components of one stage, each with
// every rank, to a cluster that has nothing of them.
func BenchmarkColdApply(b *testing.B) {
	cfg := kubetest.Shared(b).Config()
	for i := range b.N {
		b.StopTimer()
		name := fmt.Sprintf("bench%d-%d", b.N, i)
		e, err := New(cfg, Options{Factory: name, Namespace: "default"})
		if err != nil {
			b.Fatal(err)
		}
		tree := fstest.MapFS{}
		var list []render.Component
		for c := range 16 {
			path := fmt.Sprintf("o/c%02d", c)
			docs := []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + fmt.Sprintf("-%02d}", c)}
			for n := range 5 {
				at := fmt.Sprintf("metadata: {name: n%d, namespace: %s-%02d}", n, name, c)
				docs = append(docs, "apiVersion: v1\nkind: ServiceAccount\n"+at,
					"apiVersion: v1\nkind: ConfigMap\n"+at+"\ndata: {key: value}",
					"apiVersion: v1\nkind: Service\n"+at+"\nspec: {clusterIP: None, ports: [{port: 80}]}")
			}
			tree[path+"/kustomization.yaml"] = &fstest.MapFile{Data: []byte("resources: [objects.yaml]\n")}
			tree[path+"/objects.yaml"] = &fstest.MapFile{Data: []byte(strings.Join(docs, "\n---\n"))}
			list = append(list, render.Component{Name: fmt.Sprintf("c%02d", c), Path: path})
		}
		m, err := render.Render(tree, "o", list, render.DefaultLimits())
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		coldApply(b, e, m)
	}
}

func coldApply(b *testing.B, e *Engine, m render.Manifests) {
	b.Helper()
	inv, err := e.LoadInventory(b.Context(), m)
	if err != nil {
		b.Fatal(err)
	}
	obs, err := e.Observe(b.Context(), m, inv)
	if err != nil {
		b.Fatal(err)
	}
	p, err := plan.Compute(m, obs, plan.DefaultLimits())
	if err != nil {
		b.Fatal(err)
	}
	set, err := e.Apply(b.Context(), p)
	if err != nil || !set.Complete() {
		b.Fatal(err, describe(set))
	}
	b.StopTimer()
	ctx := context.WithoutCancel(b.Context())
	for _, o := range m.Objects() {
		if plan.IsNamespace(o.ID()) {
			_ = e.dynamic.Resource(namespaces).Delete(ctx, o.ID().Name, metav1.DeleteOptions{})
		}
	}
	b.StartTimer()
}
