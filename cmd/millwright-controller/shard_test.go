package main

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/faultproxy"
	"millwright.dev/millwright/tools/process"
)

func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// TestShardsShareTheFactoriesAndNothingElse has three Factories and two
// controllers, each the leader of its own shard.
func TestShardsShareTheFactoriesAndNothingElse(t *testing.T) {
	t.Parallel()
	worlds := []*world{newWorld(t, "shard-a", nil), newWorld(t, "shard-b", nil), newWorld(t, "shard-c", nil)}
	a, b, c := worlds[0], worlds[1], worlds[2]
	var commits []string
	for _, w := range worlds {
		commits = append(commits, w.revise("one", small))
	}
	for _, w := range []*world{b, c} { // one factory floor, one key
		key, err := os.ReadFile(a.path("key.pem"))
		w.must(err)
		w.must(os.WriteFile(w.path("key.pem"), key, 0o600))
		w.key = a.key
	}
	// The first Factory hangs, and the second of the same process goes on.
	release := make(chan struct{})
	held := a.proxy.Inject(faultproxy.Rule{Verbs: []string{"apply"}, Namespace: a.namespace + "-work", Times: 1, Fault: faultproxy.Hold(release)})
	a.start(nil, "--leader-elect", "--shard-selector", "shard in ("+a.namespace+","+b.namespace+")")
	c.start(nil, "--leader-elect", "--namespace", a.namespace)
	b.applied(commits[1])
	c.applied(commits[2])
	if held.Hits() != 1 || a.factory().Status.Applied != nil {
		t.Errorf("the first Factory was held %d times", held.Hits())
	}
	close(release)
	a.applied(commits[0])
	for _, side := range []struct {
		proxy  *faultproxy.Proxy
		others []string
	}{{a.proxy, []string{c.namespace}}, {c.proxy, []string{a.namespace, b.namespace}}} {
		for _, s := range changed(side.proxy) {
			if slices.ContainsFunc(side.others, func(n string) bool { return strings.HasPrefix(s.Namespace, n) }) {
				t.Errorf("a controller wrote to another shard: %s %s", s.Verb, s.Object())
			}
		}
	}
	for _, w := range worlds {
		w.promises("one", small, 1)
	}
	// A Factory that is given to another shard is worked on there and here no more.
	a.local("reset", "-q", "--hard", "HEAD~1")
	f := a.factory()
	f.Labels["shard"] = c.namespace
	a.must(a.client.Update(t.Context(), f))
	two := a.revise("two", small)
	a.applied(two)
	a.audit(2)
	here, there := 0, 0
	for side, count := range map[*faultproxy.Proxy]*int{a.proxy: &here, c.proxy: &there} {
		for _, s := range side.Writes() {
			if s.Verb == "create" && s.Resource == "appliedrevisions" && s.Namespace == a.namespace {
				*count++
			}
		}
	}
	// A verdict and a record each, and the first a refusal: an unsigned commit was tried.
	if here != 3 || there != 2 {
		t.Errorf("the first shard made %d records of it, want 3, the second %d, want 2", here, there)
	}
}

// TestAFactoryIsNeverInTwoWorkers storms a controller with pokes.
func TestAFactoryIsNeverInTwoWorkers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "storm", nil)
	var now, most, fetches atomic.Int64
	at := func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		fetches.Add(1)
		time.Sleep(20 * time.Millisecond) // so that two would meet
		next.ServeHTTP(rw, r)
		now.Add(-1)
	}
	ports, err := process.Ports(1)
	w.must(err)
	commit := w.revise("one", small)
	w.start(nil, "--workers", "8", "--poke-addr", process.Addr(ports[0]))
	w.applied(commit)
	w.atGit.Store(&at)
	var pokes atomic.Int64
	var storm sync.WaitGroup
	for range 4 {
		storm.Go(func() {
			for range 50 {
				time.Sleep(10 * time.Millisecond)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+process.Addr(ports[0])+"/poke/"+w.namespace+"/factory", nil)
				if err != nil {
					return
				}
				if answer, err := http.DefaultClient.Do(req); err == nil {
					answer.Body.Close()
					if answer.StatusCode == http.StatusAccepted {
						pokes.Add(1)
					}
				}
			}
		})
	}
	storm.Wait()
	w.atGit.Store(nil)
	t.Logf("%d pokes were taken, %d requests went to the forge, at most %d at once", pokes.Load(), fetches.Load(), most.Load())
	if most.Load() != 1 || pokes.Load() < 4 || fetches.Load() < 4 {
		t.Errorf("%d fetches at once; %d pokes", most.Load(), pokes.Load())
	}
	w.promises("one", small, 1)
}
