package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// knock is how often an API server that takes no connections is tried.
const knock = 500 * time.Millisecond

// bePatient has the clients of cfg wait where the API server takes no connection,
// until it does or the request's own deadline is over. Otherwise each of them
// sleeps by itself, for up to half a minute after a long outage, and the cluster
// is looked at long after it came back (rows G01, L05).
func bePatient(cfg *rest.Config) {
	outage := &outage{}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return patience{next, outage} })
}

// patience waits with requests that only read: a write has to be asked for at the
// moment when it is sent (row L01).
type patience struct {
	next   http.RoundTripper
	outage *outage
}

// WrappedRoundTripper lets the client library find its transport, whose idle
// connections it closes.
func (p patience) WrappedRoundTripper() http.RoundTripper { return p.next }

// RoundTrip implements [http.RoundTripper].
func (p patience) RoundTrip(r *http.Request) (*http.Response, error) {
	knocks := false
	for {
		resp, err := p.next.RoundTrip(r)
		if r.Method != http.MethodGet || !notConnected(err) {
			p.outage.over()
			return resp, err
		}
		if knocks = p.outage.wait(r.Context(), knocks); r.Context().Err() != nil {
			if knocks {
				p.outage.over() // somebody else has to
			}
			return nil, err
		}
	}
}

// notConnected says that a request was not sent, since nobody took the connection.
func notConnected(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// outage is a time in which the API server takes no connections. One request
// knocks, all others wait until it is let in.
type outage struct {
	mu    sync.Mutex
	ended chan struct{}
}

// wait returns when there is a reason to try again, and who is to knock does.
func (o *outage) wait(ctx context.Context, knocks bool) bool {
	o.mu.Lock()
	if o.ended == nil {
		o.ended, knocks = make(chan struct{}), true
	}
	ended := o.ended
	o.mu.Unlock()
	if knocks {
		timer := time.NewTimer(knock)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return true
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return false
}

// over lets everybody try again.
func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended != nil {
		close(o.ended)
		o.ended = nil
	}
}
