package tufroot_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/gitverify/tufroot/tuftest"
)

// world is a repository with a client that follows it.
type world struct {
	*testing.T
	repo    *tuftest.Repository
	client  *tufroot.Client
	options tufroot.Options
	clock   *atomic.Pointer[time.Time]
	// roots are two trusted roots; the first is published.
	roots [2][]byte
	saved map[string][]byte
}

func newWorld(t *testing.T) *world {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	w := &world{T: t, clock: &atomic.Pointer[time.Time]{}}
	w.clock.Store(&now)
	virtual, err := sigstoretest.NewVirtual(now)
	w.must(err)
	w.roots[0], err = virtual.TrustedRootJSON()
	w.must(err)
	w.roots[1], err = virtual.ForeignTrustedRootJSON()
	w.must(err)
	w.repo, err = tuftest.Start(now, w.roots[0])
	w.must(err)
	t.Cleanup(w.repo.Stop)
	w.options = tufroot.Options{
		URL: w.repo.URL(), Root: w.repo.InitialRoot(), Dir: filepath.Join(t.TempDir(), "trust"),
		Timeout: 10 * time.Second, Clock: func() time.Time { return *w.clock.Load() },
	}
	w.restart()
	return w
}

// restart makes a new client of the same folder.
func (w *world) restart() {
	w.Helper()
	client, err := tufroot.New(w.options)
	w.must(err)
	w.client = client
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) publish(c tuftest.Change) {
	w.Helper()
	w.must(w.repo.Publish(c))
}

func (w *world) refresh() {
	w.Helper()
	w.must(w.client.Refresh(w.Context()))
}

// pass lets time go by for clients and operator.
func (w *world) pass(d time.Duration) {
	now := w.clock.Load().Add(d)
	w.clock.Store(&now)
	w.repo.Now = now
}

// current is what a client says, the living one and one after a restart alike.
func (w *world) current() []byte {
	w.Helper()
	data, status, err := w.client.Current()
	w.must(err)
	fresh, err := tufroot.New(w.options)
	w.must(err)
	again, same, err := fresh.Current()
	w.must(err)
	if !bytes.Equal(data, again) || status != same {
		w.Errorf("after a restart the trusted root is another: %+v, before %+v", same, status)
	}
	return data
}

// believes fails unless one of the two trusted roots is the current one.
func (w *world) believes(i int) {
	w.Helper()
	if !bytes.Equal(w.current(), w.roots[i]) {
		w.Errorf("the current trusted root is not number %d", i)
	}
}

func (w *world) cache() []byte {
	w.Helper()
	raw, err := os.ReadFile(filepath.Join(w.options.Dir, "tuf.json"))
	w.must(err)
	return raw
}

// refused fails unless an error has the code, and a hint.
func refused(t *testing.T, err error, code string) {
	t.Helper()
	var known *tufroot.Error
	if !errors.As(err, &known) {
		t.Fatalf("the answer is %v, want %s", err, code)
	}
	if known.Code != code || known.Hint == "" || known.Role == "" {
		t.Errorf("the answer is %v with hint %q, want %s", err, known.Hint, code)
	}
}
