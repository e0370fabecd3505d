package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Times of the lease. Kubernetes has no precondition across objects, so nothing
// but time keeps two leaders apart: who could not renew for renewDeadline stops
// writing, and only leaseDuration after the last renewal may another begin. The
// difference is for the one request that was on its way.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leaseName is the name of the lease, one for each shard.
const leaseName = "millwright-controller"

// errNotLeading is a write that was not sent, since another process may be the
// leader by now.
var errNotLeading = errors.New("the lease of this process was not renewed in time: another one may be the leader")

// lease is the lock of an election that remembers until when it counts. The
// elector finds out by a timer that its time is up; a process that was stopped
// and goes on, or whose timers are late, would write until then. So each write
// asks the lease itself.
type lease struct {
	resourcelock.Interface
	// clock is monotonic: a step of the wall clock neither ends the lease nor
	// makes it longer (rows K18, G23).
	clock func() time.Time

	mu    sync.Mutex
	until time.Time
}

// newLease prepares the lease of a shard. Its own requests are not fenced.
func newLease(cfg *rest.Config, o options, clock func() time.Time) (*lease, error) {
	identity, err := identityOf()
	if err != nil {
		return nil, err
	}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, o.namespace, leaseOf(o.shard),
		resourcelock.ResourceLockConfig{Identity: identity}, cfg, renewDeadline)
	if err != nil {
		return nil, fmt.Errorf("preparing the lease: %w", err)
	}
	return &lease{Interface: lock, clock: clock}, nil
}

// identityOf names this process and no other, also after a restart.
func identityOf() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("asking for the name of this host: %w", err)
	}
	unique := make([]byte, 8)
	if _, err := rand.Read(unique); err != nil {
		return "", fmt.Errorf("naming this process: %w", err)
	}
	return host + "_" + hex.EncodeToString(unique), nil
}

// leaseOf is the name of a shard's lease: shards do not wait for one another.
func leaseOf(shard labels.Selector) string {
	if shard == nil || shard.Empty() {
		return leaseName
	}
	sum := sha256.Sum256([]byte(shard.String()))
	return leaseName + "-" + hex.EncodeToString(sum[:5])
}

// Create implements [resourcelock.Interface].
func (l *lease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.renew(record, func() error { return l.Interface.Create(ctx, record) })
}

// Update implements [resourcelock.Interface].
func (l *lease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.renew(record, func() error { return l.Interface.Update(ctx, record) })
}

// renew counts from before the request: the others count from when they see it.
// A lease that is given up is given up before anybody is told.
func (l *lease) renew(record resourcelock.LeaderElectionRecord, write func() error) error {
	asked := l.clock()
	ours := record.HolderIdentity == l.Identity()
	if !ours {
		l.set(time.Time{})
	}
	if err := write(); err != nil {
		return err
	}
	if ours {
		l.set(asked.Add(renewDeadline))
	}
	return nil
}

func (l *lease) set(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = until
}

// mayWrite says no as soon as somebody else may be the leader.
func (l *lease) mayWrite() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until.IsZero() || !l.clock().Before(l.until) {
		return errNotLeading
	}
	return nil
}

// fence asks before each request that changes something, at the last moment.
// It stands below every client, so that none can be forgotten.
type fence struct {
	next     http.RoundTripper
	mayWrite func() error
}

// WrappedRoundTripper lets the client library find its transport, whose idle
// connections it closes.
func (f fence) WrappedRoundTripper() http.RoundTripper { return f.next }

// RoundTrip implements [http.RoundTripper].
func (f fence) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return f.next.RoundTrip(r)
	}
	if err := f.mayWrite(); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // a round tripper closes it, also when it sends nothing
		}
		return nil, err
	}
	return f.next.RoundTrip(r)
}
