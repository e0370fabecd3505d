package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// paper is a lock that is only written down.
type paper struct{ fail error }

func (paper) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return &resourcelock.LeaderElectionRecord{}, nil, nil
}
func (p paper) Create(context.Context, resourcelock.LeaderElectionRecord) error { return p.fail }
func (p paper) Update(context.Context, resourcelock.LeaderElectionRecord) error { return p.fail }
func (paper) RecordEvent(string)                                                {}
func (paper) Identity() string                                                  { return "us" }
func (paper) Describe() string                                                  { return "a lease" }

func TestALeaseCountsUntilItsDeadlineAndNotAMomentLonger(t *testing.T) { // rows L01, K18, K20, G23
	t.Parallel()
	now := time.Now()
	l := &lease{Interface: paper{}, clock: func() time.Time { return now }}
	ours, theirs := resourcelock.LeaderElectionRecord{HolderIdentity: "us"}, resourcelock.LeaderElectionRecord{}
	if err := l.mayWrite(); !errors.Is(err, errNotLeading) {
		t.Errorf("before any election: %v", err)
	}
	if err := l.Create(t.Context(), ours); err != nil || l.mayWrite() != nil {
		t.Fatalf("elected: %v, %v", err, l.mayWrite())
	}
	now = now.Add(renewDeadline - time.Millisecond)
	if err := l.mayWrite(); err != nil {
		t.Errorf("just before the deadline: %v", err)
	}
	now = now.Add(time.Millisecond)
	if err := l.mayWrite(); !errors.Is(err, errNotLeading) {
		t.Errorf("at the deadline: %v", err)
	}
	l.Interface = paper{errors.New("away")}
	if err := l.Update(t.Context(), ours); err == nil || l.mayWrite() == nil {
		t.Error("a renewal that failed counts")
	}
	l.Interface = paper{}
	if err := l.Update(t.Context(), ours); err != nil || l.mayWrite() != nil {
		t.Errorf("renewed: %v", l.mayWrite())
	}
	l.Interface = paper{errors.New("the answer got lost")}
	if err := l.Update(t.Context(), theirs); err == nil || l.mayWrite() == nil {
		t.Error("a lease that may have been given up counts")
	}
}

// TestARenewalCountsFromWhenItWasAsked is why two leaders cannot overlap: a slow
// answer must not make the lease longer than the others believe it is.
func TestARenewalCountsFromWhenItWasAsked(t *testing.T) { // row L01
	t.Parallel()
	now := time.Now()
	l := &lease{Interface: slow{paper{}, func() { now = now.Add(renewDeadline) }}, clock: func() time.Time { return now }}
	if err := l.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "us"}); err != nil {
		t.Fatal(err)
	}
	if l.mayWrite() == nil {
		t.Error("an answer that took as long as the lease made it longer")
	}
}

type slow struct {
	paper
	wait func()
}

func (s slow) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	s.wait()
	return s.paper.Update(ctx, r)
}

func TestOthersWaitLongerThanTheLeaderWrites(t *testing.T) {
	t.Parallel()
	if renewDeadline+3*retryPeriod > leaseDuration+retryPeriod || retryPeriod*3 > renewDeadline {
		t.Error("there is no room between the end of one leader and the beginning of the next")
	}
}

func TestAFenceStopsEveryWriteAndNoRead(t *testing.T) { // row K20
	t.Parallel()
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked[r.Method]++ }))
	defer server.Close()
	stop := error(nil)
	cfg := &rest.Config{Host: server.URL}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return fence{next, func() error { return stop }} })
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	send := func(method string) error {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(req)
		if err == nil {
			answer.Body.Close()
		}
		return err
	}
	for _, stop = range []error{nil, errNotLeading} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			err := send(method)
			if want := stop != nil && method != "GET"; errors.Is(err, errNotLeading) != want {
				t.Errorf("%s with the fence at %v: %v", method, stop, err)
			}
		}
	}
	if asked["GET"] != 2 || asked["POST"] != 1 || asked["PUT"] != 1 || asked["PATCH"] != 1 || asked["DELETE"] != 1 {
		t.Errorf("what arrived: %v", asked)
	}
}

func TestEachShardHasALeaseOfItsOwn(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	for _, text := range []string{"", "shard=a", "shard=b", "shard in (a,b)", "!shard"} {
		selector, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		name := leaseOf(selector)
		if other, double := names[name]; double || len(name) > 63 {
			t.Errorf("%q and %q have the lease %s", text, other, name)
		}
		names[name] = text
	}
	if leaseOf(nil) != leaseName || leaseOf(labels.Everything()) != leaseName {
		t.Error("without shards the lease has another name than before")
	}
	one, _ := labels.Parse("b=2,a=1")
	two, _ := labels.Parse("a=1,b=2")
	if leaseOf(one) != leaseOf(two) {
		t.Error("the same shard, written in another order, has another lease")
	}
}
