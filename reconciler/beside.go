package reconciler

import "fmt"

// beside begins work that goes on while its caller does something else, and returns
// what waits for it. A panic of it is an inability to tell, as elsewhere in a pass.
func beside[T any](work func() (T, error)) (wait func() (T, error)) {
	var (
		out  T
		err  error
		done = make(chan struct{})
	)
	go func() {
		defer close(done)
		defer func() {
			if cause := recover(); cause != nil {
				err = fmt.Errorf("panic: %v", cause)
			}
		}()
		out, err = work()
	}()
	return func() (T, error) {
		<-done
		return out, err
	}
}
