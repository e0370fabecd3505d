package apply

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// questions counts requests by what they ask.
type questions struct {
	mu   sync.Mutex
	next http.RoundTripper
	seen []string
}

func (c *questions) RoundTrip(r *http.Request) (*http.Response, error) {
	what := r.Method + " " + r.URL.Path
	if r.URL.Query().Get("dryRun") != "" {
		what = "DRY-RUN " + r.URL.Path
	}
	c.mu.Lock()
	c.seen = append(c.seen, what)
	c.mu.Unlock()
	return c.next.RoundTrip(r)
}

// take returns what was asked since the last time.
func (c *questions) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.seen
	c.seen = nil
	slices.Sort(out)
	return out
}

func askedSite(t *testing.T, name string) (*site, *questions) {
	t.Helper()
	c := &questions{}
	cfg := kubetest.Shared(t).Config()
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { c.next = next; return c })
	return siteAt(t, cfg, name), c
}

// watched is what a watch says of objects that nobody touches.
func watched(render.ID, plan.Entry) bool { return true }

func (s *site) planWith(m render.Manifests, heed Heed) plan.Plan {
	s.t.Helper()
	inv, err := s.LoadInventory(s.t.Context(), m)
	if err != nil {
		s.t.Fatal(err)
	}
	obs, err := s.ObserveWith(s.t.Context(), m, inv, heed)
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := plan.Compute(m, obs, plan.DefaultLimits())
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func TestOfWhatWasWatchedNothingIsAskedAndOneRequestAppliesAChange(t *testing.T) {
	t.Parallel()
	s, asked := askedSite(t, "unasked")
	// Of a kind that the webhooks of no other test are about: what may be changed on
	// admission is read again.
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NAME}\nspec: {ports: [{port: 80}]}"
	before := s.component(namespaceDoc("NAME"), service, configMap("NAME", "same", "x"), clusterRole)
	s.converge(before)
	asked.take()
	if p := s.planWith(before, Heed{Untouched: watched}); !p.Empty() {
		t.Errorf("the plan is not empty:\n%s", p.Text())
	}
	// The versions of the records, and nothing of any object.
	if got := asked.take(); len(got) != 1 || !strings.HasSuffix(got[0], "/configmaps") {
		t.Errorf("asked were %v", got)
	}

	after := s.component(namespaceDoc("NAME"), strings.ReplaceAll(service, "80", "81"), configMap("NAME", "same", "x"), clusterRole)
	p := s.planWith(after, Heed{Untouched: watched})
	if changes := p.Changes(); len(changes) != 1 || changes[0].Op != plan.Update || !changes[0].Unseen || changes[0].Drift {
		t.Fatalf("the plan is\n%s", p.Text())
	}
	asked.take()
	set, err := s.Apply(t.Context(), p)
	if err != nil || !set.Complete() {
		t.Fatalf("%v\n%s", err, describe(set))
	}
	writes := slices.DeleteFunc(asked.take(), func(what string) bool {
		return strings.HasPrefix(what, "GET ") && strings.Contains(what, "admissionregistration")
	})
	want := []string{"PATCH /api/v1/namespaces/unasked/services/web", "PUT /api/v1/namespaces/unasked-system/configmaps/" + s.recordName("unasked")}
	if !slices.Equal(writes, want) {
		t.Errorf("applying sent %v, want %v", writes, want)
	}
	s.inSync(after)
}

func TestWhatIsNotOnRecordIsLookedAt(t *testing.T) {
	t.Parallel()
	s, asked := askedSite(t, "lookedat")
	s.namespace("lookedat")
	m := s.component(deployment, configMap("NAME", "a", "x"), configMap("NAME", "b", "x"), clusterRole)
	s.converge(m)
	touched := func(name string) func(render.ID, plan.Entry) bool {
		return func(id render.ID, _ plan.Entry) bool { return id.Name != name }
	}
	for name, c := range map[string]struct {
		m    render.Manifests
		heed Heed
		list string
	}{
		"nobody watched":             {m, Heed{}, "/configmaps"},
		"one was touched":            {m, Heed{Untouched: touched("b")}, "/configmaps"},
		"a sweep":                    {m, Heed{Untouched: watched, Sweep: true}, "/configmaps"},
		"one is new":                 {s.component(deployment, configMap("NAME", "a", "x"), configMap("NAME", "b", "x"), clusterRole, configMap("NAME", "c", "x")), Heed{Untouched: watched}, "/configmaps"},
		"one is gone":                {s.component(deployment, configMap("NAME", "a", "x"), clusterRole), Heed{Untouched: watched}, "/configmaps"},
		"another rule of ignoring":   {m, Heed{Untouched: watched, Ignore: func(string, render.ID) []string { return []string{".data"} }}, "/configmaps"},
		"what guards is declared so": {s.component(deployment, configMap("NAME", "a", "x"), configMap("NAME", "b", "x"), strings.ReplaceAll(clusterRole, "pods", "nodes")), Heed{Untouched: watched}, "/clusterroles"},
	} {
		asked.take()
		s.planWith(c.m, c.heed)
		lists := slices.DeleteFunc(asked.take(), func(what string) bool {
			return !strings.HasPrefix(what, "GET ") || !strings.Contains(what, c.list) || strings.Contains(what, s.name+"-system")
		})
		if len(lists) == 0 {
			t.Errorf("%s: nothing was asked", name)
		}
	}
}

// What a dry-run would have foretold is found all the same: by looking after it
// could not be written.
func TestAChangeThatCannotBeMadeUnseenFailsAndIsLookedAt(t *testing.T) {
	t.Parallel()
	s := newSite(t, "unseenfails")
	s.namespace("unseenfails")
	s.converge(s.component(deployment, configMap("NAME", "a", "x")))
	m := s.component(strings.ReplaceAll(deployment, "app: web", "app: other"), configMap("NAME", "a", "y"))
	p := s.planWith(m, Heed{Untouched: watched})
	set, err := s.Apply(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	failed := set.Failed()
	if len(failed) != 1 || !failed[0].Unseen || failed[0].Reason != plan.ReasonImmutableField {
		t.Fatal(describe(set))
	}
	inv, err := s.LoadInventory(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	// The entry still says what is there, so that looking finds it.
	if p = s.planWith(m, Heed{}); len(p.Blocked()) != 1 || p.Blocked()[0].Reason != plan.ReasonImmutableField || len(inv.Entries) != 2 {
		t.Errorf("looked at, the plan is\n%s", p.Text())
	}
}

// A record that somebody else wrote is read, and what it says of how objects look
// is not believed (row F08).
func TestTheInventoryFromMemoryIsThatOfTheRecords(t *testing.T) { // row F08
	t.Parallel()
	s := newSite(t, "held")
	s.namespace("held")
	m := s.component(configMap("NAME", "a", "x"), configMap("NAME", "b", "x"))
	s.converge(m)
	held, err := s.LoadInventory(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	records := s.records()
	edited, err := records.Patch(t.Context(), s.recordName("held"), types.MergePatchType, []byte(`{"metadata":{"labels":{"touched":"yes"}}}`), metav1.PatchOptions{FieldManager: "rogue"})
	if err != nil {
		t.Fatal(err)
	}
	inv, err := s.LoadInventory(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if inv.Records["held"] != edited.GetResourceVersion() || !slices.Equal(slices.Sorted(maps.Keys(inv.Records)), []string{"held"}) {
		t.Errorf("the records are %v", inv.Records)
	}
	for id, entry := range inv.Entries {
		if entry.ResourceVersion != "" {
			t.Errorf("%s is believed to be as the record says", plan.Name(id))
		}
		if held.Entries[id].ResourceVersion == "" {
			t.Errorf("%s was not on record before", plan.Name(id))
		}
	}
	// Nor is it taken for watched.
	obs, err := s.ObserveWith(t.Context(), m, plan.Inventory{Entries: inv.Entries, Records: inv.Records}, Heed{Untouched: watched})
	if err != nil {
		t.Fatal(err)
	}
	for id, live := range obs.Live {
		if live.Meta.ResourceVersion == "" {
			t.Errorf("%s was not looked at", plan.Name(id))
		}
	}
	s.remove(configMaps, "held-system", s.recordName("held"))
	inv, err = s.LoadInventory(t.Context(), m)
	if err != nil || !slices.Equal(inv.Rebuilt, []string{"held"}) {
		t.Errorf("a record that is gone: %v, %v", inv.Rebuilt, err)
	}
}
