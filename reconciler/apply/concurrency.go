package apply

import "sync"

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
