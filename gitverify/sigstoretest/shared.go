package sigstoretest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// shared is the one Sigstore of a test process. It is the only state here that
// is not in a value: a test binary has nowhere else to keep it.
var shared struct {
	once     sync.Once
	sigstore *Sigstore
	dir      string
	err      error

	tiles  sync.Once
	failed error
}

// Main runs the tests of a package that uses [Shared], and ends the Sigstore
// after them:
//
// It takes anything that runs tests, so that it nests with others of its kind.
//
//	func TestMain(m *testing.M) { os.Exit(sigstoretest.Main(m)) }
func Main(m interface{ Run() int }) int {
	defer func() {
		if shared.sigstore != nil {
			shared.sigstore.Stop()
		}
		if shared.dir != "" {
			_ = os.RemoveAll(shared.dir)
		}
	}()
	return m.Run()
}

// Shared is the Sigstore of this test process, started at the first call. A
// test fails when it cannot be started; it is never skipped.
func Shared(t testing.TB) *Sigstore {
	t.Helper()
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		defer cancel()
		if shared.dir, shared.err = os.MkdirTemp("", "sigstoretest-"); shared.err != nil {
			return
		}
		shared.sigstore, shared.err = Start(ctx, shared.dir, Options{Progress: os.Stderr})
	})
	if shared.err != nil {
		t.Fatal(fmt.Errorf("no sigstore to test with: %w", shared.err))
	}
	return shared.sigstore
}

// SharedTiles is the URL of the shared Sigstore's log of Rekor's version 2, started
// at the first call.
func SharedTiles(t testing.TB) string {
	t.Helper()
	s := Shared(t)
	shared.tiles.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		defer cancel()
		shared.failed = s.StartTiles(ctx)
	})
	if shared.failed != nil {
		t.Fatal(shared.failed)
	}
	return s.TilesURL
}
