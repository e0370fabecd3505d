package factory

import (
	"fmt"
	"io/fs"
	"slices"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/trustpolicy"
	"millwright.dev/millwright/render"
)

// Side is one of two trees that are compared, with what it renders to.
type Side struct {
	Tree      fs.FS
	Rendering Rendering
}

// Impact works out what a revision changes beyond the files that it touches
// (rule T12): which paths the overlays are made of that the policy names, and
// which objects differ from those at since. The caller sets Incomparable where
// the tree before does not render.
func Impact(renderer *render.Renderer, since gitverify.ID, overlays []string, before, now Side) (gitverify.Impact, error) {
	impact := gitverify.Impact{Since: since, Closures: map[string][]string{}, Objects: differing(before.Rendering.Manifests, now.Rendering.Manifests)}
	var err error
	for _, overlay := range overlays {
		if impact.Closures[overlay], err = closure(renderer, overlay, before.Tree, now.Tree); err != nil {
			return gitverify.Impact{}, err
		}
	}
	for _, overlay := range slices.Compact([]string{before.Rendering.Environment.Overlay, now.Rendering.Environment.Overlay}) {
		if overlay == "" {
			continue
		}
		read, err := closure(renderer, overlay, before.Tree, now.Tree)
		if err != nil {
			return gitverify.Impact{}, err
		}
		impact.Rendered = append(impact.Rendered, read...)
	}
	return impact, nil
}

// closure lists what an overlay is made of in either tree. The factory's own
// configuration is part of every one: it says what is rendered and how.
func closure(renderer *render.Renderer, overlay string, trees ...fs.FS) ([]string, error) {
	paths := []string{Path}
	for _, tree := range trees {
		read, err := renderer.Closure(tree, overlay, render.DefaultLimits())
		if err != nil {
			return nil, fmt.Errorf("working out what %s is made of: %w", overlay, err)
		}
		paths = append(paths, read...)
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// differing names the objects that are not alike in two renderings.
func differing(before, after render.Manifests) []trustpolicy.Object {
	digests := map[render.ID]string{}
	for _, o := range before.Objects() {
		digests[o.ID()] = o.Digest()
	}
	var out []trustpolicy.Object
	add := func(id render.ID) {
		out = append(out, trustpolicy.Object{Group: id.Group, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name})
	}
	for _, o := range after.Objects() {
		if digests[o.ID()] != o.Digest() {
			add(o.ID())
		}
		delete(digests, o.ID())
	}
	for id := range digests {
		add(id)
	}
	return out
}
