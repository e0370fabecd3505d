package apply

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/health"
)

// passWith is one pass under rules.
func (s *site) passWith(m render.Manifests, rules plan.Rules) (plan.Plan, ChangeSet) {
	s.t.Helper()
	limits := plan.Limits{MaxPrune: 25, MaxPrunePercent: 50, Rules: rules}
	p, err := s.tryPlan(s.t.Context(), m, limits)
	if err != nil {
		s.t.Fatal(err)
	}
	set, err := s.Apply(s.t.Context(), p)
	if err != nil {
		s.t.Fatal(err)
	}
	return p, set
}

// setStatus is what a controller would report.
func (s *site) setStatus(gvr schema.GroupVersionResource, namespace, name, status string) {
	s.t.Helper()
	_, err := s.dynamic.Resource(gvr).Namespace(namespace).Patch(s.t.Context(), name, types.MergePatchType,
		[]byte(`{"status":`+status+`}`), metav1.PatchOptions{FieldManager: "kubelet"}, "status")
	if err != nil {
		s.t.Error(err)
	}
}

// available is the status of a Deployment of one replica that runs.
const available = `{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1,` +
	`"conditions":[{"type":"Available","status":"True"},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}`

// reasons are the results by the name of their object.
func reasons(set ChangeSet) map[string]string {
	out := map[string]string{}
	for _, r := range set.Results {
		out[r.ID.Kind+" "+r.ID.Name] = strings.TrimSpace(string(r.Action) + " " + r.Reason)
	}
	return out
}

// gated are three components: the second depends on the first, the third comes
// after both and depends on nothing.
func (s *site) gated(extra ...string) (render.Manifests, plan.Rules) {
	base, after, beside := s.name+"-base", s.name+"-after", s.name+"-beside"
	s.namespace(s.name)
	m := s.components(map[string]string{
		base:   deployment,
		after:  configMap("NAME", "after", "x"),
		beside: strings.Join(append(extra, configMap("NAME", "beside", "x")), "\n---\n"),
	}, base, after, beside)
	return m, plan.Rules{
		Gates: map[string]plan.Gated{base: {Within: time.Minute}},
		After: map[string][]string{after: {base}},
	}
}

func TestWhatDependsOnAComponentIsNotAppliedBeforeThatIsHealthy(t *testing.T) { // row H19
	t.Parallel()
	s := newSite(t, "gate")
	s.opts.GateSlice = time.Millisecond
	m, rules := s.gated()
	_, set := s.passWith(m, rules)
	got := reasons(set)
	if got["ConfigMap after"] != "waiting "+ReasonGateClosed || got["ConfigMap beside"] != "created" || set.Complete() {
		t.Fatal(describe(set))
	}
	if s.get(configMaps, "gate", "after") != nil {
		t.Error("it was applied before its gate was open")
	}
	if g := set.Gates; len(g) != 1 || g[0].State != GateClosed || !strings.Contains(g[0].Message, "Deployment") || g[0].Component != "gate-base" {
		t.Errorf("gates %+v", g)
	}
	s.setStatus(deployments, "gate", "web", available)
	if _, set = s.passWith(m, rules); !set.Complete() || s.get(configMaps, "gate", "after") == nil {
		t.Error(describe(set))
	}
	// Gates cost nothing where nothing is behind them, and drift waits for none.
	s.setStatus(deployments, "gate", "web", `{"readyReplicas":0,"availableReplicas":0,"conditions":[{"type":"Available","status":"False"}]}`)
	if p, _ := s.passWith(m, rules); !p.Empty() || len(p.HealthGates()) != 0 {
		t.Error(p.Text())
	}
	s.edit(configMaps, "gate", "after", "hand", map[string]any{"data": map[string]any{"key": "other"}})
	if _, set := s.passWith(m, rules); len(set.Corrected()) != 1 {
		t.Error(describe(set))
	}
}

func TestAGateThatOpensWhileItIsWaitedForIsSeenByWatch(t *testing.T) {
	t.Parallel()
	s := newSite(t, "opens")
	s.opts.GateSlice = time.Minute
	m, rules := s.gated()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s.get(deployments, "opens", "web") == nil || s.get(configMaps, "opens", "beside") == nil {
			time.Sleep(20 * time.Millisecond)
		}
		s.setStatus(deployments, "opens", "web", available)
	}()
	_, set := s.passWith(m, rules)
	<-done
	if !set.Complete() || set.Gates[0].State != GateOpen {
		t.Error(describe(set), set.Gates)
	}
}

func TestWhatIsNotHealthyInTimeStopsWhatDependsOnItAndNobodyElse(t *testing.T) { // row H19
	t.Parallel()
	for name, status := range map[string]struct{ status, says string }{
		"too late": {`{"observedGeneration":1,"replicas":1}`, "not healthy after 1ms: Deployment"},
		"failed": {
			`{"observedGeneration":1,"replicas":1,"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded","message":"image cannot be pulled"}]}`,
			"Deployment.apps NAME/web: ",
		},
	} {
		t.Run("H19 "+name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "late"+fmt.Sprint(len(name)))
			s.opts.GateSlice = 2 * time.Second
			m, rules := s.gated(webhook)
			within := time.Minute
			if name == "too late" {
				within = time.Millisecond
			}
			rules.Gates[s.name+"-base"] = plan.Gated{Within: within}
			s.converge(s.components(map[string]string{s.name + "-base": deployment}, s.name+"-base"))
			s.setStatus(deployments, s.name, "web", status.status)
			_, set := s.passWith(m, rules)
			if within < time.Second { // the time begins when it is first waited for
				time.Sleep(5 * time.Millisecond)
				_, set = s.passWith(m, rules)
			}
			got := reasons(set)
			if got["ConfigMap after"] != "failed "+ReasonGateFailed || s.get(configMaps, s.name, "beside") == nil {
				t.Fatal(describe(set))
			}
			says := strings.ReplaceAll(status.says, "NAME", s.name)
			if f := set.Failed(); len(f) != 1 || !strings.Contains(f[0].Message, says) || !f[0].Retry {
				t.Errorf("got %q, want %q in it", describe(set), says)
			}
			// The next commit is not held up: it has its own time.
			next := s.components(map[string]string{
				s.name + "-base": deployment, s.name + "-after": configMap("NAME", "after", "y"), s.name + "-beside": configMap("NAME", "beside", "y"),
			}, s.name+"-base", s.name+"-after", s.name+"-beside")
			s.setStatus(deployments, s.name, "web", available)
			rules.Gates[s.name+"-base"] = plan.Gated{Within: time.Minute}
			limits := rules
			if _, set := s.passWith(next, limits); got["ConfigMap after"] == "" || s.get(configMaps, s.name, "after") == nil {
				t.Error(describe(set))
			}
		})
	}
}

func TestWebhooksWaitForWhatIsBehindAGate(t *testing.T) {
	t.Parallel()
	s := newSite(t, "lastofall")
	s.opts.GateSlice = time.Millisecond
	m, rules := s.gated(webhook)
	_, set := s.passWith(m, rules)
	if got := reasons(set)["ValidatingWebhookConfiguration lastofall"]; got != "waiting "+ReasonGateClosed {
		t.Fatal(describe(set))
	}
	s.setStatus(deployments, s.name, "web", available)
	_, set = s.passWith(m, rules)
	if last := set.Results[len(set.Results)-1]; !set.Complete() || last.ID.Kind != "ValidatingWebhookConfiguration" {
		t.Error(describe(set))
	}
}

func TestWhereNothingReportsHealthAGateAsksOnlyWhetherAllIsApplied(t *testing.T) {
	t.Parallel()
	s := newSite(t, "waived")
	m, rules := s.gated()
	rules.Gates["waived-base"] = plan.Gated{Within: time.Minute, Unobserved: "no kubelet here"}
	_, set := s.passWith(m, rules)
	if !set.Complete() || len(set.Gates) != 1 || set.Gates[0].State != GateOpen || set.Gates[0].Waived != 1 {
		t.Error(describe(set), set.Gates)
	}
	// What was not applied keeps the gate shut all the same.
	b := newSite(t, "unwaived")
	_, rules = b.gated()
	rules.Gates["unwaived-base"] = plan.Gated{Within: time.Minute, Unobserved: "no kubelet here"}
	broken := b.components(map[string]string{
		"unwaived-base": strings.ReplaceAll(deployment, "replicas: 1", "replicas: -1"), "unwaived-after": configMap("NAME", "after", "x"),
	}, "unwaived-base", "unwaived-after")
	_, set = b.passWith(broken, rules)
	if got := reasons(set); got["Deployment web"] != "failed "+plan.ReasonInvalid || got["ConfigMap after"] != "failed "+ReasonGateFailed {
		t.Error(describe(set))
	}
}

func TestACustomKindIsJudgedByItsExpressions(t *testing.T) {
	t.Parallel()
	s := newSite(t, "cel")
	s.opts.GateSlice = time.Millisecond
	s.namespace("cel")
	check, err := health.Compile("cel.example.org/v1", "Mill", `object.status.turning == true`, `object.status.broken == true`)
	if err != nil {
		t.Fatal(err)
	}
	m := s.components(map[string]string{"cel-base": definition + "\n---\n" + custom, "cel-after": configMap("NAME", "after", "x")}, "cel-base", "cel-after")
	rules := plan.Rules{
		Gates: map[string]plan.Gated{"cel-base": {Within: time.Minute, Checks: []health.Check{check}}},
		After: map[string][]string{"cel-after": {"cel-base"}},
	}
	mills := schema.GroupVersionResource{Group: "cel.example.org", Version: "v1", Resource: "mills"}
	for _, step := range []struct{ status, want string }{
		{"", "waiting " + ReasonGateClosed},
		{`{"broken":true}`, "failed " + ReasonGateFailed},
		{`{"broken":false,"turning":true}`, "created"},
	} {
		if step.status != "" {
			s.setStatus(mills, "cel", "mill", step.status)
		}
		if _, set := s.passWith(m, rules); reasons(set)["ConfigMap after"] != step.want {
			t.Errorf("with status %s: want %s\n%s", step.status, step.want, describe(set))
		}
	}
	h, err := s.HealthWith(t.Context(), m, Judging{Mode: HealthObserve, Checks: map[string][]health.Check{"cel-base": {check}}})
	if err != nil || h.Verdict != Ready {
		t.Errorf("%+v, %v", h, err)
	}
}

// paths is a transport that writes down what is read but not watched.
type paths struct {
	next http.RoundTripper
	mu   sync.Mutex
	seen []string
}

func (p *paths) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet && r.URL.Query().Get("watch") == "" {
		p.mu.Lock()
		p.seen = append(p.seen, r.URL.Path)
		p.mu.Unlock()
	}
	return p.next.RoundTrip(r)
}

// TestAGateReadsNoDefinitionsThatWereJustSeenEstablished is about cost: a list of
// all definitions is megabytes.
func TestAGateReadsNoDefinitionsThatWereJustSeenEstablished(t *testing.T) {
	t.Parallel()
	p := &paths{}
	cfg := kubetest.Shared(t).Config()
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { p.next = next; return p })
	s := siteAt(t, cfg, "cheapgate")
	s.namespace("cheapgate")
	m := s.components(map[string]string{"cheapgate-base": definition, "cheapgate-after": configMap("NAME", "after", "x")}, "cheapgate-base", "cheapgate-after")
	rules := plan.Rules{
		Gates: map[string]plan.Gated{"cheapgate-base": {Within: time.Minute}},
		After: map[string][]string{"cheapgate-after": {"cheapgate-base"}},
	}
	todo, err := s.tryPlan(t.Context(), m, plan.Limits{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	p.seen = nil
	set, err := s.Apply(t.Context(), todo)
	if err != nil || !set.Complete() || len(set.Gates) != 1 || set.Gates[0].State != GateOpen {
		t.Fatalf("%v %+v\n%s", err, set.Gates, describe(set))
	}
	for _, path := range p.seen {
		if strings.HasSuffix(path, "/customresourcedefinitions") {
			t.Errorf("the gate asked for %s", path)
		}
	}
}
