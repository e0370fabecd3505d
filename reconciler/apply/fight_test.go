package apply

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// counting is a transport that counts requests by method and whether they are
// dry-runs.
type counting struct {
	next http.RoundTripper
	mu   sync.Mutex
	seen map[string]int
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	key := r.Method
	if strings.Contains(r.URL.RawQuery, "dryRun=") {
		key += " dry-run"
	}
	c.mu.Lock()
	c.seen[key]++
	c.mu.Unlock()
	return c.next.RoundTrip(r)
}

func (c *counting) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.seen
	c.seen = map[string]int{}
	return out
}

// countedSite is a site whose engine's requests are counted.
func countedSite(t *testing.T, name string) (*site, *counting) {
	t.Helper()
	c := &counting{seen: map[string]int{}}
	cfg := kubetest.Shared(t).Config()
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { c.next = next; return c })
	return siteAt(t, cfg, name), c
}

// keeper is a loop over one site with a clock of its own.
type keeper struct {
	*site
	m       render.Manifests
	now     time.Time
	history plan.History
}

// pass is one pass with damping; it returns what was put back and the plan.
func (k *keeper) pass(ctx context.Context) (plan.Plan, []Result) {
	k.t.Helper()
	inv, err := k.LoadInventory(ctx, k.m)
	if err != nil {
		k.t.Fatal(err)
	}
	obs, err := k.ObserveWith(ctx, k.m, inv, Heed{Resting: func(id render.ID, digest string) bool {
		return k.history.Resting(id, digest, k.now)
	}})
	if err != nil {
		k.t.Fatal(err)
	}
	p, err := plan.Compute(k.m, obs, plan.DefaultLimits())
	if err != nil {
		k.t.Fatal(err)
	}
	p, k.history = k.history.Damp(p, k.now)
	set, err := k.Apply(ctx, p)
	if err != nil {
		k.t.Fatal(err)
	}
	var ids []render.ID
	for _, r := range set.Corrected() {
		ids = append(ids, r.ID)
	}
	k.history = k.history.Repaired(ids, k.now)
	return p, set.Corrected()
}

func TestAWarWithAnotherControllerIsDampedAndTold(t *testing.T) { // rows F06, H20
	t.Parallel()
	s, requests := countedSite(t, "war")
	s.namespace("war")
	const contested = 20
	var docs []string
	for i := range contested {
		docs = append(docs, configMap("NAME", "fought-"+string(rune('a'+i)), "ours"))
	}
	k := &keeper{site: s, m: s.component(append(docs, configMap("NAME", "peaceful", "ours"))...), now: time.Unix(1_800_000_000, 0)}
	s.converge(k.m)
	began, repairs, rewrites, idle := k.now, 0, 0, 0
	for k.now.Sub(began) < time.Minute {
		// The rival rewrites at once whatever was put back.
		for i := range contested {
			name := "fought-" + string(rune('a'+i))
			if data, _ := s.get(configMaps, "war", name).Object["data"].(map[string]any); data["key"] == "ours" {
				s.edit(configMaps, "war", name, "rival", map[string]any{"data": map[string]any{"key": "theirs"}})
				rewrites++
			}
		}
		requests.take()
		_, corrected := k.pass(t.Context())
		made := requests.take()
		if len(corrected) == 0 {
			if idle++; made["PATCH"]+made["PATCH dry-run"] > 0 {
				t.Fatalf("while all of them rest the pass made %v", made)
			}
		}
		repairs += len(corrected)
		k.now = k.now.Add(500 * time.Millisecond)
	}
	if rewrites < 5*contested || repairs < 5*contested || repairs > 8*contested || idle < 60 {
		t.Errorf("in a minute %d repairs after %d rewrites of %d objects, and %d passes without a write", repairs, rewrites, contested, idle)
	}
	fights := k.history.Fights()
	if len(fights) != contested || fights[0].Differences[0].Manager != "rival" || fights[0].Differences[0].Path != ".data.key" {
		t.Fatalf("fights: %+v", fights)
	}
	// The rival stops: one more repair each, and all is as declared and forgotten.
	for range 5 {
		k.now = k.now.Add(k.history.Wake(k.now).Sub(k.now) + time.Minute + time.Millisecond)
		k.pass(t.Context())
	}
	if len(k.history.Fights()) != 0 {
		t.Errorf("the fight is not over: %+v", k.history.Fights()[0])
	}
	s.inSync(k.m)
}
