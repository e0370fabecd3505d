package render_test

import (
	"fmt"
	"strings"
	"testing"

	"millwright.dev/millwright/render"
)

// definitions is a file like the large ones of upstream: CRDs of about 260 KB.
func definitions(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: things%d.example.com\nspec:\n  schema:\n    properties:\n", i)
		for j := range 1000 {
			fmt.Fprintf(&b, "      field%d:\n        description: |-\n          What a field [of many] says about itself:\n          a line, *emphasis*, and {braces}.\n"+
				"        type: object\n        properties:\n          a:\n            type: string\n          b:\n            type: array\n", j)
		}
	}
	return b.String()
}

func BenchmarkRender(b *testing.B) {
	text := definitions(22)
	tree := files(with(kustomization("resources: [config.yaml]", "labels:", "- pairs: {a: b}"), dir+"config.yaml", text))
	components := []render.Component{{Name: "app"}}
	for _, mode := range []struct {
		name string
		with *render.Renderer
	}{{"cold", nil}, {"unchanged", new(render.Renderer)}} {
		b.Run(mode.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			if mode.with != nil {
				if _, err := mode.with.Render(tree, "overlays/local", components, render.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				r := mode.with
				if r == nil {
					r = new(render.Renderer)
				}
				if _, err := r.Render(tree, "overlays/local", components, render.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRefuseBomb(b *testing.B) {
	tree := files(object(bomb))
	for b.Loop() {
		if _, err := app(tree, render.Limits{}); err == nil {
			b.Fatal("accepted")
		}
	}
}

// A file of several megabytes is bearable and comes out whole.
func TestAFileOfSixMegabytesIsRendered(t *testing.T) {
	t.Parallel()
	text := definitions(22)
	m, err := app(files(map[string]string{dir + "config.yaml": text}), render.Limits{})
	if err != nil || len(m.Objects()) != 22 || len(text) < 5<<20 {
		t.Errorf("%d bytes gave %d objects, %v", len(text), len(m.Objects()), err)
	}
}
