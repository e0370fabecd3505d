package reconciler_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// ledger is a transport that writes down every request but watches.
type ledger struct {
	next http.RoundTripper
	mu   sync.Mutex
	seen []string
}

func (l *ledger) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("watch") == "" {
		l.mu.Lock()
		l.seen = append(l.seen, r.Method+" "+r.URL.Path)
		l.mu.Unlock()
	}
	return l.next.RoundTrip(r)
}

func (l *ledger) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.seen
	l.seen = nil
	return out
}

// audited makes everything of the controller go through a ledger, with a cache
// and a running watcher as in the controller itself. End stops these.
func (p *plant) audited() (l *ledger, end func()) {
	p.t.Helper()
	l = &ledger{}
	var mu sync.Mutex
	cfg := rest.CopyConfig(p.cluster.Config())
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		mu.Lock()
		defer mu.Unlock()
		if l.next == nil {
			l.next = next
		}
		return l
	})
	k, err := client.New(cfg, client.Options{Scheme: p.client.Scheme()})
	p.must(err)
	followed, err := cache.New(cfg, cache.Options{Scheme: p.client.Scheme()})
	p.must(err)
	watcher, err := reconciler.NewWatcher(cfg, p.namespace, make(chan event.GenericEvent, 100))
	p.must(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = followed.Start(ctx) })
	running.Go(func() { _ = watcher.Start(ctx) })
	end = sync.OnceFunc(func() { cancel(); running.Wait() })
	p.t.Cleanup(end)
	p.setup.Client, p.setup.Reader, p.setup.Cache, p.setup.REST, p.setup.Watcher = k, k, followed, cfg, watcher
	p.loop, err = reconciler.New(p.setup)
	p.must(err)
	return l, end
}

// untilQuiet makes passes until one asks the API server nothing.
func (p *plant) untilQuiet(l *ledger) {
	p.t.Helper()
	var last []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		l.take()
		p.step()
		if last = l.take(); len(last) == 0 {
			return
		}
	}
	p.t.Fatalf("passes go on asking: %s", strings.Join(last, ", "))
}

// step is a pass whose result is not read from the cluster, which would count.
func (p *plant) step() {
	p.t.Helper()
	_, err := p.loop.Reconcile(p.t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Namespace: p.namespace, Name: "factory"}})
	p.must(err)
}

func TestAPassInWhichNothingHappenedAsksTheAPIServerNothing(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	l, end := p.audited()
	p.applied()
	p.untilQuiet(l)
	for range 5 {
		p.late += time.Minute
		p.step()
	}
	if asked := l.take(); len(asked) != 0 {
		t.Fatalf("five passes asked: %s", strings.Join(asked, ", "))
	}
	// What happens is seen all the same.
	p.edit("mallory-kubectl", "drifted")
	p.untilSettings("one")
	p.untilQuiet(l)
	// So is a change of the Factory by somebody else, and a new commit.
	f := p.pass()
	f.Spec.Prune.MaxObjects = 7
	p.must(p.client.Update(t.Context(), f))
	p.untilQuiet(l)
	if f = p.pass(); f.Status.ObservedGeneration != f.Generation {
		t.Errorf("generation %d of %d is observed", f.Status.ObservedGeneration, f.Generation)
	}
	p.setConfig("two")
	p.commit(alice, "next")
	p.untilSettings("two")
	p.untilQuiet(l)
	// A sweep is due: it looks at everything, whatever the watches say.
	p.late += 11 * time.Minute
	l.take()
	p.step()
	if asked := l.take(); !lists(asked, "configmaps") || !lists(asked, "appliedrevisions") {
		t.Errorf("the sweep asked only: %s", strings.Join(asked, ", "))
	}
	p.untilQuiet(l)
	// Without live watches nothing is taken for granted.
	end()
	l.take()
	p.step()
	if asked := l.take(); !lists(asked, "configmaps") {
		t.Errorf("with watches that ended the pass asked only: %s", strings.Join(asked, ", "))
	}
	if c := conditionOf(p.applied(), v1alpha1.ConditionReady); c.Status != metav1.ConditionTrue {
		t.Errorf("Ready: %+v", c)
	}
}

func lists(asked []string, resource string) bool {
	for _, a := range asked {
		if strings.HasPrefix(a, "GET ") && strings.HasSuffix(a, "/"+resource) {
			return true
		}
	}
	return false
}

// untilSettings makes passes until the cluster says something.
func (p *plant) untilSettings(value string) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		p.step()
		if now, _ := p.settings(); now == value {
			return
		}
	}
	p.t.Fatalf("the cluster never said %q", value)
}
