package render

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// built remembers the objects of components and of pieces of them.
type built struct {
	mu      sync.Mutex
	objects map[builtKey]*list.Element
	// order has the memories, the one that was used last in front.
	order list.List
	bytes int
}

// builtKey is all that the objects of a component, or of a piece of one, depend on.
type builtKey struct {
	component Component
	files     [sha256.Size]byte
	limits    Limits
}

type memory struct {
	key     builtKey
	objects []Object
	bytes   int
}

// What is remembered at most. A component has the objects of its pieces, so they
// are counted twice and held once.
const (
	builtMost  = 16384
	builtBytes = 256 << 20
	// perObject is what an object takes beside its JSON.
	perObject = 512
)

func (b *built) recall(key builtKey) ([]Object, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, known := b.objects[key]
	if !known {
		return nil, false
	}
	b.order.MoveToFront(e)
	m, _ := e.Value.(*memory)
	return m.objects, true
}

func (b *built) remember(key builtKey, objects []Object) {
	m := &memory{key: key, objects: objects}
	for _, o := range objects {
		m.bytes += len(o.json) + perObject
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.objects[key]; known || m.bytes > builtBytes {
		return
	}
	if b.objects == nil {
		b.objects = map[builtKey]*list.Element{}
	}
	b.objects[key] = b.order.PushFront(m)
	b.bytes += m.bytes
	for b.order.Len() > builtMost || b.bytes > builtBytes {
		oldest := b.order.Back()
		m, _ := b.order.Remove(oldest).(*memory)
		delete(b.objects, m.key)
		b.bytes -= m.bytes
	}
}
