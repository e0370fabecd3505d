package apply

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"millwright.dev/millwright/reconciler/kubetest"
)

// between does something when one of both requests about an object was answered and
// the other one was not sent yet, once.
type between struct {
	next          http.RoundTripper
	meddle        atomic.Pointer[func()]
	last          string // the request that has to wait: read or try
	answered      chan struct{}
	once          *sync.Once
	reads, trials atomic.Int32
}

func (b *between) RoundTrip(r *http.Request) (*http.Response, error) {
	which := "read"
	switch {
	case !strings.HasSuffix(r.URL.Path, "/configmaps/settings"):
		return b.next.RoundTrip(r)
	case r.Method == http.MethodGet:
		b.reads.Add(1)
	case r.URL.Query().Get("dryRun") != "":
		b.trials.Add(1)
		which = "try"
	default:
		return b.next.RoundTrip(r)
	}
	if which == b.last {
		if meddle := b.meddle.Swap(nil); meddle != nil {
			<-b.answered
			(*meddle)()
		}
		return b.next.RoundTrip(r)
	}
	answer, err := b.next.RoundTrip(r)
	b.once.Do(func() { close(b.answered) })
	return answer, err
}

// An object and what applying would make of it are asked for at once. That is enough
// where both answers are about one version; an edit that comes between them is seen all
// the same, and told as what it is.
func TestWhatIsAskedForAtOnceIsAboutOneVersion(t *testing.T) {
	t.Parallel()
	cfg := rest.CopyConfig(kubetest.Shared(t).Config())
	b := &between{answered: make(chan struct{}), once: &sync.Once{}}
	cfg.Wrap(transport.WrapperFunc(func(next http.RoundTripper) http.RoundTripper { b.next = next; return b }))
	s := siteAt(t, cfg, "atonce")
	s.namespace("atonce")
	m := s.component(configMap("NAME", "settings", "one"))
	s.converge(m)
	meddler := newSite(t, "meddler")
	for _, row := range []struct {
		name, last, blamed string
		reads, trials      int32
	}{
		{"nobody comes between", "", "early", 1, 1},
		{"after it was read", "try", "late", 2, 1},
		{"after applying was tried", "read", "late", 2, 2},
	} {
		meddler.edit(configMaps, "atonce", "settings", "early", map[string]any{"data": map[string]any{"key": "two"}})
		b.last, b.answered, b.once = row.last, make(chan struct{}), &sync.Once{}
		b.reads.Store(0)
		b.trials.Store(0)
		if row.last != "" {
			late := func() {
				meddler.edit(configMaps, "atonce", "settings", "late", map[string]any{"data": map[string]any{"key": "three"}})
			}
			b.meddle.Store(&late)
		}
		p := s.plan(m)
		if got, want := [2]int32{b.reads.Load(), b.trials.Load()}, [2]int32{row.reads, row.trials}; got != want {
			t.Errorf("%s: the object was read and tried %v times, want %v", row.name, got, want)
		}
		set, err := s.Apply(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		changes := p.Changes()
		if len(changes) != 1 || len(changes[0].Differences) != 1 || changes[0].Differences[0].Manager != row.blamed || !set.Complete() {
			t.Errorf("%s: want a difference by %s:\n%s%s", row.name, row.blamed, p.Text(), describe(set))
		}
		if b.meddle.Load() != nil {
			t.Errorf("%s: nobody came", row.name)
		}
		s.inSync(m)
	}
}
