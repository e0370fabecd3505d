// Package parallel spreads work that is all of one kind over the processors.
package parallel

import (
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Each does something for every index below n, on all processors, and returns when all
// is done. A panic becomes one of the caller, who may know what to do with it (row
// K22).
func Each(n int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	causes := make([]any, n)
	for i := range n {
		group.Go(func() error {
			defer func() { causes[i] = recover() }()
			do(i)
			return nil
		})
	}
	_ = group.Wait() // the functions only return nil
	for _, cause := range causes {
		if cause != nil {
			panic(cause)
		}
	}
}
