package render

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"slices"
	"sync"
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
	mu    sync.Mutex
	built map[cacheKey][]Object
	// order has the keys of built, the least recently used one first.
	order []cacheKey
}

// remembered is how many components a Renderer keeps: a few revisions of a
// factory.
const remembered = 64

// cacheKey is all that the objects of a component depend on.
type cacheKey struct {
	component Component
	files     [sha256.Size]byte
	limits    Limits
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
	for _, c := range placed {
		objects, err := r.component(tree, c, limits)
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
	files, err := reach(tree, c.Path, limits)
	if err != nil {
		return nil, err
	}
	key := cacheKey{component: c, files: files.digest(), limits: limits}
	if objects, known := r.recall(key); known {
		return objects, nil
	}
	built, err := build(c, files)
	if err != nil {
		return nil, err
	}
	objects, err := collect(c, built, limits)
	if err != nil {
		return nil, err
	}
	r.remember(key, objects)
	return objects, nil
}

func (r *Renderer) recall(key cacheKey) ([]Object, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	objects, known := r.built[key]
	if known {
		i := slices.Index(r.order, key)
		r.order = append(slices.Delete(r.order, i, i+1), key)
	}
	return objects, known
}

func (r *Renderer) remember(key cacheKey, objects []Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.built[key]; known {
		return
	}
	if r.built == nil {
		r.built = map[cacheKey][]Object{}
	}
	if len(r.order) == remembered {
		delete(r.built, r.order[0])
		r.order = r.order[1:]
	}
	r.built[key] = objects
	r.order = append(r.order, key)
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
