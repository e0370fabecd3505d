package kubetest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// shared is the one cluster of a test process. It is the only state here that is
// not in a value: a test binary has nowhere else to keep it.
var shared struct {
	once    sync.Once
	cluster *Cluster
	dir     string
	err     error
}

// Main runs the tests of a package that uses [Shared], and ends the cluster
// after them:
//
// It takes anything that runs tests, so that it nests with others of its kind.
//
//	func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }
func Main(m interface{ Run() int }) int {
	defer func() {
		if shared.cluster != nil {
			shared.cluster.Stop()
		}
		if shared.dir != "" {
			_ = os.RemoveAll(shared.dir)
		}
	}()
	return m.Run()
}

// Shared is the cluster of this test process, started at the first call. A test
// fails when it cannot be started; it is never skipped.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
		defer cancel()
		if shared.dir, shared.err = os.MkdirTemp("", "kubetest-"); shared.err != nil {
			return
		}
		shared.cluster, shared.err = Start(ctx, shared.dir, Options{Progress: os.Stderr})
	})
	if shared.err != nil {
		t.Fatal(fmt.Errorf("no cluster to test with: %w", shared.err))
	}
	return shared.cluster
}
