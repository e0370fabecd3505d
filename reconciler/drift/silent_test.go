package drift

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// muffler lets watches begin and then says nothing on them, as a connection
// does that a firewall dropped.
type muffler struct {
	next     http.RoundTripper
	on       atomic.Bool
	muffled  atomic.Int64
	listed   atomic.Int64
	watching atomic.Int64
}

func (m *muffler) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := m.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if r.URL.Query().Get("watch") == "" {
		m.listed.Add(1)
		return res, nil
	}
	m.watching.Add(1)
	if m.on.Load() {
		m.muffled.Add(1)
		res.Body = &silentBody{ReadCloser: res.Body, closed: make(chan struct{})}
	}
	return res, nil
}

type silentBody struct {
	io.ReadCloser
	once   sync.Once
	closed chan struct{}
}

func (b *silentBody) Read([]byte) (int, error) {
	<-b.closed
	return 0, io.EOF
}

func (b *silentBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.ReadCloser.Close()
}

func TestAWatchThatFallsSilentBeginsAgainWithAList(t *testing.T) { // row G13
	t.Parallel()
	m := &muffler{}
	m.on.Store(true)
	cfg := kubetest.Shared(t).Config()
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { m.next = next; return m })
	plain := newSite(t, kubetest.Shared(t).Config(), "silent")
	plain.apply("ConfigMap", "silent", "edited", `{"data":{"k":"v"}}`)
	delete(plain.inv.Entries, render.ID{Kind: "Namespace", Name: "silent"})
	woken, restarted := make(chan string, 100), make(chan string, 100)
	w, err := New(cfg, Options{
		Resolve: resolve, Retry: 20 * time.Millisecond, Silence: 2 * time.Second,
		Wake:      func(_ types.NamespacedName, id render.ID) { woken <- id.Name },
		Restarted: func(_ schema.GroupKind, why string) { restarted <- why },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Start(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	w.Track(plain.key, plan.Inventory{Entries: plain.inv.Entries})
	wait(t, "the watch is open", func() bool { return m.muffled.Load() > 0 })
	plain.write("ConfigMap", "silent", "edited", `{"data":{"k":"evil"}}`, "rogue")
	select {
	case name := <-woken:
		t.Logf("%s woke after: %s", name, <-restarted)
	case <-time.After(60 * time.Second):
		t.Fatalf("the edit was never seen; %d lists, %d watches", m.listed.Load(), m.watching.Load())
	}
	if m.listed.Load() < 2 {
		t.Errorf("found after %d lists: the watch was not silent", m.listed.Load())
	}
}

// wait waits for something to become true.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func TestCurrentMeansThatNothingMoved(t *testing.T) {
	t.Parallel()
	s := newSite(t, kubetest.Shared(t).Config(), "current")
	s.apply("ConfigMap", "current", "a", `{"data":{"k":"v"}}`)
	s.apply("Deployment", "current", "web", deployment)
	if s.watcher.Current(s.key) {
		t.Error("current before anything was tracked")
	}
	s.track()
	wait(t, "all is seen", func() bool { return s.watcher.Current(s.key) })
	s.watcher.Rest(s.key, map[render.ID]bool{{Kind: "ConfigMap", Namespace: "current", Name: "a"}: true})
	if s.watcher.Current(s.key) {
		t.Error("current although an object rests, of which nothing is news")
	}
	s.watcher.Rest(s.key, nil)
	// A status is no drift, but health may depend on it.
	_, err := s.client.Resource(kinds["Deployment"]).Namespace("current").Patch(t.Context(), "web", types.MergePatchType,
		[]byte(`{"status":{"replicas":1}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the status is seen", func() bool { return !s.watcher.Current(s.key) })
	// Who was told of it and found nothing to do has taken note of it, although no
	// record of the object is another.
	s.watcher.Track(s.key, s.inv)
	if !s.watcher.Current(s.key) {
		t.Error("a status that was looked at keeps everything from being current")
	}
	s.apply("Deployment", "current", "web", deployment) // takes note of the newest version
	s.track()
	wait(t, "it is noted", func() bool { return s.watcher.Current(s.key) })
	s.watcher.Hold(s.key, s.inv)
	if s.watcher.Current(s.key) {
		t.Error("current while we write")
	}
}

func TestUntouchedMeansThatAWatchSawNothingButStatus(t *testing.T) {
	t.Parallel()
	s := newSite(t, kubetest.Shared(t).Config(), "untouched")
	s.apply("ConfigMap", "untouched", "a", `{"data":{"k":"v"}}`)
	s.apply("Deployment", "untouched", "web", deployment)
	settings := render.ID{Kind: "ConfigMap", Namespace: "untouched", Name: "a"}
	web := render.ID{Group: "apps", Kind: "Deployment", Namespace: "untouched", Name: "web"}
	says := func(id render.ID) bool { return s.watcher.Untouched(s.key)(id, s.inv.Entries[id]) }
	if says(settings) {
		t.Error("untouched before anything was tracked")
	}
	s.track()
	wait(t, "all is seen", func() bool { return says(settings) && says(web) })
	other := s.inv.Entries[settings]
	other.ResourceVersion = "1"
	if s.watcher.Untouched(s.key)(settings, other) {
		t.Error("untouched since something that was never recorded")
	}
	_, err := s.client.Resource(kinds["Deployment"]).Namespace("untouched").Patch(t.Context(), "web", types.MergePatchType,
		[]byte(`{"status":{"replicas":1}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the status is seen", func() bool { return !s.watcher.Current(s.key) })
	if !says(web) {
		t.Error("a status counts")
	}
	s.write("ConfigMap", "untouched", "a", `{"data":{"k":"evil"}}`, "rogue")
	wait(t, "the edit is seen", func() bool { return !says(settings) })
	if !says(web) {
		t.Error("an edit of one counts for another")
	}
	s.watcher.Hold(s.key, s.inv)
	if says(web) {
		t.Error("untouched while we write")
	}
}
