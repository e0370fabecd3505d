package apply

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestAThousandObjectsThatAreRewrittenAreDamped has a rival rewrite the spec of
// every custom resource as soon as it was put back: of a hundred, and with make
// soak of a thousand.
func TestAThousandObjectsThatAreRewrittenAreDamped(t *testing.T) { // row H20
	t.Parallel()
	contested := 100
	if os.Getenv("MILLWRIGHT_SOAK") != "" {
		contested = 1000
	}
	s, requests := countedSite(t, "thousand")
	s.namespace("thousand")
	docs := []string{definition}
	for i := range contested {
		docs = append(docs, fmt.Sprintf("apiVersion: NAME.example.org/v1\nkind: Mill\nmetadata: {name: m-%04d, namespace: NAME}\nspec: {stones: 2}", i))
	}
	k := &keeper{site: s, m: s.component(docs...), now: time.Unix(1_800_000_000, 0)}
	s.converge(k.m)
	kind := schema.GroupVersionResource{Group: "thousand.example.org", Version: "v1", Resource: "mills"}
	began, repairs, rewrites, idle, most := k.now, 0, 0, 0, 0
	for k.now.Sub(began) < time.Minute {
		rewrites += s.rewrite(kind)
		requests.take()
		_, corrected := k.pass(t.Context())
		made := requests.take()
		if len(corrected) == 0 {
			if idle++; made["PATCH"]+made["PATCH dry-run"]+made["GET"] > 20 {
				t.Fatalf("while all of them rest the pass made %v", made)
			}
		}
		repairs, most = repairs+len(corrected), max(most, len(corrected))
		k.now = k.now.Add(time.Second)
	}
	t.Logf("%d objects: in a minute %d rewrites and %d repairs; %d passes without a write", contested, rewrites, repairs, idle)
	if repairs < 5*contested || repairs > 8*contested || most > contested || idle < 30 || rewrites < 5*contested {
		t.Errorf("in a minute %d repairs after %d rewrites of %d objects, at most %d in one pass, and %d passes without a write", repairs, rewrites, contested, most, idle)
	}
	fights := k.history.Fights()
	if len(fights) != contested || fights[0].Differences[0].Manager != "rival" || !strings.HasPrefix(fights[0].Differences[0].Path, ".spec") {
		t.Fatalf("%d fights; first %+v", len(fights), fights[:min(len(fights), 1)])
	}
	// The rival stops, and all is as declared.
	for range 5 {
		k.now = k.now.Add(k.history.Wake(k.now).Sub(k.now) + time.Minute + time.Millisecond)
		k.pass(t.Context())
	}
	if left := k.history.Fights(); len(left) != 0 {
		t.Errorf("%d fights are not over: %+v", len(left), left[0])
	}
	p := s.plan(k.m)
	if !p.Empty() || len(p.Remarks()) != 0 {
		t.Errorf("not in sync:\n%s%+v", p.Text(), p.Remarks())
	}
}

// rewrite is the rival: it gives every object that is as declared another spec,
// and says how many those were.
func (s *site) rewrite(kind schema.GroupVersionResource) int {
	s.t.Helper()
	list, err := s.dynamic.Resource(kind).Namespace(s.name).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	names := make(chan string, len(list.Items))
	for _, o := range list.Items {
		if spec, _ := o.Object["spec"].(map[string]any); fmt.Sprint(spec["stones"]) == "2" {
			names <- o.GetName()
		}
	}
	close(names)
	n := len(names)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for name := range names {
				s.edit(kind, s.name, name, "rival", map[string]any{"spec": map[string]any{"stones": 3}})
			}
		})
	}
	all.Wait()
	return n
}
