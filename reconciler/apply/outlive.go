package apply

import (
	"context"
	"time"
)

// lastWrite is what is left to a write that was begun, and then to the record of
// it, when the process is asked to end: both together stay below five seconds
// (row K19).
const lastWrite = 1500 * time.Millisecond

// outlive returns a context that ends a moment after ctx does. A request that
// was sent is not torn off its answer: then nobody would know what became of it.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		pause(longer, lastWrite)
		cancel()
	})
	return longer, func() {
		stop()
		cancel()
	}
}
