package render

import (
	"crypto/sha256"
	"slices"
	"sync"
)

// built remembers the objects of components.
type built struct {
	mu      sync.Mutex
	objects map[builtKey][]Object
	// order has the keys, the least recently used one first.
	order []builtKey
}

// builtKey is all that the objects of a component depend on.
type builtKey struct {
	component Component
	files     [sha256.Size]byte
	limits    Limits
}

// builtMost is how many components are remembered: a few revisions of a factory.
const builtMost = 32

func (b *built) recall(key builtKey) ([]Object, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	objects, known := b.objects[key]
	if known {
		i := slices.Index(b.order, key)
		b.order = append(slices.Delete(b.order, i, i+1), key)
	}
	return objects, known
}

func (b *built) remember(key builtKey, objects []Object) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.objects[key]; known {
		return
	}
	if b.objects == nil {
		b.objects = map[builtKey][]Object{}
	}
	if len(b.order) == builtMost {
		delete(b.objects, b.order[0])
		b.order = slices.Delete(b.order, 0, 1)
	}
	b.objects[key] = objects
	b.order = append(b.order, key)
}

// cleared remembers which YAML was found to be bearable, by its digest.
type cleared struct {
	mu   sync.Mutex
	seen map[clearedKey]struct{}
}

type clearedKey struct {
	file   [sha256.Size]byte
	limits Limits
}

// clearedMost bounds the memory; when it is reached, everything is forgotten.
const clearedMost = 4096

// check is checkYAML for a file that may have been checked before.
func (c *cleared) check(at string, text []byte, limits Limits) error {
	key := clearedKey{sha256.Sum256(text), limits}
	c.mu.Lock()
	_, known := c.seen[key]
	c.mu.Unlock()
	if known {
		return nil
	}
	if err := checkYAML(at, text, limits); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= clearedMost {
		c.seen = map[clearedKey]struct{}{}
	}
	c.seen[key] = struct{}{}
	return nil
}
