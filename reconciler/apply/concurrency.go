package apply

import (
	"sync"

	"k8s.io/client-go/dynamic"

	"millwright.dev/millwright/render"
)

// each calls fn for every item, at most n at a time, and waits for all.
func each[T any](n int, items []T, fn func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, n)
	for _, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			fn(item)
		})
	}
	wg.Wait()
}

func (e *Engine) objectOf(r Resource, id render.ID) dynamic.ResourceInterface {
	if r.Namespaced {
		return e.dynamic.Resource(r.GroupVersionResource).Namespace(id.Namespace)
	}
	return e.dynamic.Resource(r.GroupVersionResource)
}
