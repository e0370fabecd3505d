package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"millwright.dev/millwright/internal/parallel"
)

// Render renders components of a tree. The paths of components are relative to
// the tree and lie in the overlay; a component without one is at
// overlay/<name>. The error is a *[Refusal] if the tree has to change.
func Render(tree fs.FS, overlay string, components []Component, limits Limits) (Manifests, error) {
	return new(Renderer).Render(tree, overlay, components, limits)
}

// Renderer renders like [Render] and remembers the objects of components, so
// that one whose files are the same is not built again. The zero value is ready;
// it may be used by many goroutines.
type Renderer struct {
	built built
	known known
}

// Render renders components of a tree, as the function of that name does.
func (r *Renderer) Render(tree fs.FS, overlay string, components []Component, limits Limits) (Manifests, error) {
	limits = limits.withDefaults()
	placed, err := place(overlay, components)
	if err != nil {
		return Manifests{}, err
	}
	m := Manifests{components: placed}
	owner := map[ID]string{}
	built, errs := make([][]Object, len(placed)), make([]error, len(placed))
	parallel.Each(len(placed), func(i int) { built[i], errs[i] = r.component(tree, placed[i], limits) })
	for i, c := range placed {
		objects, err := built[i], errs[i]
		if err != nil {
			return Manifests{}, err
		}
		for _, o := range objects {
			if other, taken := owner[o.id]; taken {
				return Manifests{}, refuse(codeConflict, c.Path, "%s is declared by the components %s and %s", o.id, other, c.Name)
			}
			owner[o.id] = c.Name
		}
		if m.objects = append(m.objects, objects...); len(m.objects) > limits.Objects {
			return Manifests{}, refuse(codeObjectCount, c.Path, "more than %d objects", limits.Objects)
		}
	}
	m.digest = m.sum()
	return m, nil
}

// place puts components into stage order and gives each its path.
func place(overlay string, components []Component) ([]Component, error) {
	root, err := resolve("", ".", overlay)
	if err != nil {
		return nil, err
	}
	placed := slices.Clone(components)
	for i, c := range placed {
		if c.Path == "" {
			c.Path = root + "/" + c.Name
		}
		name, err := resolve("", ".", c.Path)
		if err != nil {
			return nil, err
		}
		if !within(root, name) {
			return nil, refuse(codeOutsideRoot, c.Path, "the component %s is not below the overlay %s", c.Name, root)
		}
		placed[i].Path = name
	}
	slices.SortStableFunc(placed, func(a, b Component) int { return a.Stage - b.Stage })
	return placed, nil
}

func (r *Renderer) component(tree fs.FS, c Component, limits Limits) ([]Object, error) {
	files, err := r.reach(tree, c.Path, limits)
	if err != nil {
		return nil, err
	}
	key := builtKey{component: c, files: files.digest(), limits: limits}
	if objects, known := r.built.recall(key); known {
		return objects, nil
	}
	objects, assembled, err := r.assemble(c, files, limits)
	if err != nil {
		return nil, err
	}
	if !assembled {
		return r.whole(c, files, limits)
	}
	r.built.remember(key, objects)
	return objects, nil
}

// whole has kustomize build a closure, unless it did so before.
func (r *Renderer) whole(c Component, files closure, limits Limits) ([]Object, error) {
	key := builtKey{component: c, files: files.digest(), limits: limits}
	if objects, known := r.built.recall(key); known {
		return objects, nil
	}
	objects, ok, err := r.light(c, files, limits)
	if !ok && err == nil {
		objects, err = complete(c, files, limits)
	}
	if err != nil {
		return nil, err
	}
	r.built.remember(key, objects)
	return objects, nil
}

// complete gives kustomize everything.
func complete(c Component, files closure, limits Limits) ([]Object, error) {
	built, err := build(c, files, nil)
	if err != nil {
		return nil, err
	}
	return collect(c, built, nil, 0, limits)
}

// light gives kustomize everything but schemas. It is not ok where there are none,
// where something might miss them, and where anything is wrong.
func (r *Renderer) light(c Component, files closure, limits Limits) ([]Object, bool, error) {
	untouched, reread := files.untouched()
	if !untouched {
		return nil, false, nil
	}
	instead, schemas, places := map[string][]byte{}, map[string]json.RawMessage{}, 0
	for name := range files.resources {
		if !files.files[name].defines || files.asides[name] {
			continue
		}
		text, err := files.content(name)
		if err != nil {
			return nil, false, err
		}
		lighter, taken := r.known.withoutSchemas(name, text, reread, limits, schemas)
		instead[name], places = lighter, places+taken
	}
	if places == 0 {
		return nil, false, nil
	}
	var no *Refusal
	built, err := build(c, files, instead)
	if err == nil {
		var objects []Object
		if objects, err = collect(c, built, schemas, places, limits); err == nil {
			return objects, true, nil
		}
	}
	if errors.As(err, &no) || errors.Is(err, errSchemaLost) {
		return nil, false, nil
	}
	return nil, false, err
}

// sum is the digest of the manifests: each object with its component and stage.
func (m Manifests) sum() string {
	stages := make(map[string]int, len(m.components))
	for _, c := range m.components {
		stages[c.Name] = c.Stage
	}
	text := []byte("millwright manifests v1\n")
	for _, o := range m.objects {
		text = fmt.Appendf(text, "%q %d %s\n", o.component, stages[o.component], o.digest)
	}
	return digest(text)
}
