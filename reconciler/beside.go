package reconciler

import (
	"context"
	"fmt"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
)

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

// certify asks for the certificate that is needed if a verified commit turns out to
// be a revision that may be begun, while that is found out. Who signs waits for it,
// and asks again where it did not come.
func (p *pass) certify(ctx context.Context, v gitverify.Verification) {
	if p.progress == nil || p.settle != nil || p.head.commit == string(v.Commit()) {
		return // a preview signs nothing, a revision that is on record has all that it needs
	}
	signer, err := p.plant.signer(p.factory)
	keyless, ok := signer.(attest.Keyless)
	if err != nil || !ok {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	wait := beside(func() (struct{}, error) { return struct{}{}, keyless.Certify(ctx) })
	p.settle = func() {
		cancel()
		_, _ = wait()
	}
}
