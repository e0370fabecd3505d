package apply

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/reconciler/plan"
)

// admission is a webhook that is really called. answer gives a denial or "".
type admission struct {
	*httptest.Server
	calls atomic.Int64
}

// asked is as much of an admission request as the answers here depend on.
type asked struct {
	Request struct {
		UID       string `json:"uid"`
		Operation string `json:"operation"`
		Name      string `json:"name"`
		DryRun    bool   `json:"dryRun"`
	} `json:"request"`
}

func newAdmission(t *testing.T, answer func(asked) string) *admission {
	t.Helper()
	a := &admission{}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		a.calls.Add(1)
		var in asked
		if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		denial := answer(in)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
			"response": map[string]any{"uid": in.Request.UID, "allowed": denial == "", "status": map[string]any{"message": denial}},
		})
	}))
	t.Cleanup(a.Close)
	return a
}

// configuration registers the webhook for ConfigMaps of a namespace.
func (a *admission) configuration(name, operations, rest string) string {
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}))
	return fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
- name: hook.%[1]s.example.org
  admissionReviewVersions: [v1]
  failurePolicy: Fail
  clientConfig: {url: %[2]q, caBundle: %[3]s}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [%[4]s], resources: [configmaps]}]
  %[5]s`, name, a.URL, ca, operations, rest)
}

// hooked is a site where a webhook of another factory is in force already.
func hooked(t *testing.T, name, configuration string, a *admission) *site {
	t.Helper()
	s := newSite(t, name)
	s.namespace(name)
	other := newSite(t, name+"hook")
	other.converge(other.component(strings.ReplaceAll(configuration, "NAME", name)))
	s.eventually("the webhook is called", func() bool {
		_, _ = s.dynamic.Resource(configMaps).Namespace(name).Patch(t.Context(), "probe", "application/apply-patch+yaml",
			[]byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"probe"}}`), probing())
		return a == nil || a.calls.Load() > 0
	})
	return s
}

func TestAWebhookThatDeniesOneObjectFailsThatOneAndTheRestConverges(t *testing.T) { // row H07
	t.Parallel()
	a := newAdmission(t, func(r asked) string {
		if r.Request.Name == "bad" {
			return "bad is not wanted here"
		}
		return ""
	})
	s := hooked(t, "denies", a.configuration("denies", "CREATE", "sideEffects: None"), a)
	before := a.calls.Load()
	_, set := s.pass(s.component(configMap("NAME", "bad", "x"), configMap("NAME", "good", "x")))
	if f := set.Failed(); len(f) != 1 || f[0].Reason != ReasonAdmissionDenied || !strings.Contains(f[0].Message, "bad is not wanted here") {
		t.Error(describe(set))
	}
	if s.get(configMaps, "denies", "good") == nil || set.Complete() || a.calls.Load() == before {
		t.Error("the rest was not applied, the set claims to be complete, or nobody was asked")
	}
}

func TestAnObjectWhoseDeletionIsDeniedStaysInTheInventory(t *testing.T) { // row H08
	t.Parallel()
	a := newAdmission(t, func(r asked) string {
		if r.Request.Operation == "DELETE" && r.Request.Name == "old" {
			return "old stays"
		}
		return ""
	})
	s := hooked(t, "undeleted", a.configuration("undeleted", "CREATE, DELETE", "sideEffects: None"), a)
	s.converge(s.component(quarter(), configMap("NAME", "old", "x"), configMap("NAME", "gone", "x")))
	p, err := s.tryPlan(t.Context(), s.component(quarter()), plan.Limits{MaxPrune: 25, MaxPrunePercent: 50})
	if err != nil {
		t.Fatal(err)
	}
	set, err := s.Apply(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	got := reasons(set)
	if got["ConfigMap old"] != "failed "+ReasonAdmissionDenied || got["ConfigMap gone"] != "pruned" {
		t.Error(describe(set))
	}
	if set.Complete() || s.get(configMaps, "undeleted", "old") == nil || len(set.Inventory.Of("undeleted")) != 4 {
		t.Errorf("inventory %v\n%s", set.Inventory.IDs(), describe(set))
	}
	s.restart()
	if inv, err := s.LoadInventory(t.Context(), s.component(quarter())); err != nil || len(inv.Of("undeleted")) != 4 {
		t.Error("the survivor is not in the stored inventory", err)
	}
}

func TestAWebhookThatTimesOutHoldsUpNobodyElse(t *testing.T) { // row H06
	t.Parallel()
	over := make(chan struct{})
	a := newAdmission(t, func(r asked) string {
		if r.Request.Name == "slow" {
			<-over
		}
		return ""
	})
	t.Cleanup(func() { close(over) })
	s := hooked(t, "slowhook", a.configuration("slowhook", "CREATE", "sideEffects: None\n  timeoutSeconds: 1"), a)
	if s.opts.RequestTimeout <= 30*time.Second {
		t.Error("a request may end before the API server's cap on all webhooks together")
	}
	_, set := s.pass(s.component(configMap("NAME", "slow", "x"), configMap("NAME", "quick", "x")))
	if got := reasons(set); got["ConfigMap slow"] != "failed "+ReasonWebhookUnavailable || got["ConfigMap quick"] != "created" {
		t.Error(describe(set))
	}
	if f := set.Failed(); len(f) == 1 && !strings.Contains(f[0].Message, "ValidatingWebhookConfiguration.admissionregistration.k8s.io slowhook") {
		t.Errorf("the configuration is not named: %s", f[0].Message)
	}
}

func TestAWebhookWithSideEffectsKeepsNoObjectFromBeingUpdated(t *testing.T) { // row H11
	t.Parallel()
	// The API server lets nobody configure such a webhook any more; one that is
	// stored since an older version still refuses every dry-run, in these words.
	const refusal = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"BadRequest","code":400,` +
		`"message":"admission webhook \"hook.effects.example.org\" does not support dry run"}`
	f := &faulty{}
	s := faultySite(t, "effects", f)
	s.converge(s.component(configMap("NAME", "a", "x")))
	f.before = func(_ int64, req *http.Request) *http.Response {
		if req.URL.Query().Get("dryRun") == "All" {
			return answer(http.StatusBadRequest, "", refusal)
		}
		return nil
	}
	p, set := s.pass(s.component(configMap("NAME", "a", "y")))
	if !set.Complete() || set.Count()[Updated] != 1 || f.faults.Load() == 0 {
		t.Fatalf("%s%s", p.Text(), describe(set))
	}
	if !strings.Contains(p.Text(), "hook.effects.example.org") {
		t.Errorf("the webhook is not named:\n%s", p.Text())
	}
	s.inSync(s.component(configMap("NAME", "a", "y")))
}

// deadlocked is a component whose fail-closed webhook refuses the Deployment
// that would answer it.
const deadlocked = `apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: NAME}
spec: {selector: {app: web}, ports: [{port: 443}]}`

func TestAFailClosedWebhookThatRefusesWhatWouldAnswerItIsADeadlockWithAWayOut(t *testing.T) { // row H05
	t.Parallel()
	s := newSite(t, "deadlock")
	s.namespace("deadlock")
	// First order avoids it: the webhook comes last of all.
	m := s.component(webhook, deployment, deadlocked)
	s.converge(m)
	// Then somebody deletes the Deployment, and the webhook refuses it.
	s.remove(deployments, "deadlock", "web")
	_, set := s.pass(m)
	f := set.Failed()
	if len(f) != 1 || f[0].Reason != ReasonWebhookDeadlock || !f[0].Retry {
		t.Fatal(describe(set))
	}
	for _, word := range []string{"nobody.deadlock.example.org", "ValidatingWebhookConfiguration.admissionregistration.k8s.io deadlock", "Service deadlock/nobody", "failurePolicy", "Ignore"} {
		if !strings.Contains(f[0].Message, word) {
			t.Errorf("%q is not in %q", word, f[0].Message)
		}
	}
	// The way out is a revision that has the webhook fail open: it is applied
	// after everything else of the same pass, whatever failed before.
	open := s.component(strings.ReplaceAll(webhook, "failurePolicy: Fail", "failurePolicy: Ignore"), deployment, deadlocked)
	s.eventually("it converges", func() bool { _, set = s.pass(open); return set.Complete() })
	if s.get(deployments, "deadlock", "web") == nil {
		t.Error("the Deployment did not come back")
	}
	s.converge(m) // and back to fail-closed
}

func TestTheWayOutOfADeadlockWaitsForNoGate(t *testing.T) { // row H05
	t.Parallel()
	s := newSite(t, "deadgate")
	s.opts.GateSlice = time.Millisecond
	s.namespace("deadgate")
	docs := func(hook string) map[string]string {
		return map[string]string{"deadgate-base": deployment + "\n---\n" + deadlocked, "deadgate-hook": hook}
	}
	order := []string{"deadgate-base", "deadgate-hook"}
	s.converge(s.components(docs(webhook), order...))
	s.remove(deployments, "deadgate", "web")
	open := s.components(docs(strings.ReplaceAll(webhook, "failurePolicy: Fail", "failurePolicy: Ignore")), order...)
	// The webhook is of a component that waits for the one that it keeps down.
	rules := plan.Rules{
		Gates: map[string]plan.Gated{"deadgate-base": {Within: time.Minute, Unobserved: "no kubelet"}},
		After: map[string][]string{"deadgate-hook": {"deadgate-base"}},
	}
	s.eventually("it converges", func() bool { _, set := s.passWith(open, rules); return set.Complete() })
}

func TestAWebhookWithoutAServerIsNoDeadlockWhereItIsNotOursOrRuns(t *testing.T) { // row H05
	t.Parallel()
	s := newSite(t, "undead")
	s.namespace("undead")
	s.converge(s.component(deadlocked, strings.ReplaceAll(webhook, "operations: [CREATE]", "operations: [CREATE, UPDATE]")))
	// An endpoint that is ready: the Service is ours, but it runs.
	slice := `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","metadata":{"name":"x","namespace":"undead",` +
		`"labels":{"kubernetes.io/service-name":"nobody"}},"endpoints":[{"addresses":["192.0.2.1"],"conditions":{"ready":READY}}]}`
	slices := schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	for ready, want := range map[string]string{"true": ReasonWebhookUnavailable, "false": ReasonWebhookDeadlock} {
		if _, err := s.dynamic.Resource(slices).Namespace("undead").Patch(t.Context(), "x", "application/apply-patch+yaml",
			[]byte(strings.ReplaceAll(slice, "READY", ready)), writing()); err != nil {
			t.Fatal(err)
		}
		s.opts.RequestTimeout = time.Minute
		w, found := s.findWebhook(t.Context(), "nobody.undead.example.org")
		if !found || w.service != "nobody" || w.namespace != "undead" {
			t.Fatalf("found %+v %v", w, found)
		}
		if got := s.hasEndpoints(t.Context(), w); got != (want == ReasonWebhookUnavailable) {
			t.Errorf("ready %s: endpoints %v", ready, got)
		}
	}
	// A workload of ours behind a Service that is not.
	open := s.component(deployment, strings.ReplaceAll(webhook, "failurePolicy: Fail", "failurePolicy: Ignore"), deadlocked)
	s.eventually("it converges", func() bool { _, set := s.pass(open); return set.Complete() })
	r := run{engine: s.Engine, inv: s.plan(open).Inventory()}
	for id := range r.inv.Entries {
		if id.Kind == "Service" {
			delete(r.inv.Entries, id)
		}
	}
	if !r.serves(t.Context(), callee{namespace: "undead", service: "nobody"}) {
		t.Error("a Service that selects a workload of ours is not taken for ours")
	}
	r.inv.Entries = nil
	if r.serves(t.Context(), callee{namespace: "undead", service: "nobody"}) {
		t.Error("a Service of somebody else is taken for ours")
	}
}

func TestPoliciesAndQuotasThatSayNoAreToldInTheirWords(t *testing.T) { // row H16
	t.Parallel()
	s := newSite(t, "quota")
	s.namespace("quota")
	quotas := schema.GroupVersionResource{Version: "v1", Resource: "resourcequotas"}
	other := newSite(t, "quotaother")
	other.converge(other.component(`apiVersion: v1
kind: ResourceQuota
metadata: {name: few, namespace: quota}
spec: {hard: {count/secrets: "0"}}`))
	s.setStatus(quotas, "quota", "few", `{"hard":{"count/secrets":"0"},"used":{"count/secrets":"0"}}`)
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NAME}\ntype: Opaque"
	var set ChangeSet
	s.eventually("the quota is in force", func() bool {
		_, set = s.pass(s.component(secret, configMap("NAME", "a", "x")))
		if len(set.Failed()) == 0 {
			s.pass(s.component(configMap("NAME", "a", "x")))
		}
		return len(set.Failed()) == 1
	})
	if f := set.Failed()[0]; f.ID.Kind != "Secret" || f.Reason != ReasonForbidden || s.get(configMaps, "quota", "a") == nil {
		t.Error(describe(set))
	}
}

func TestAConversionWebhookThatIsDownFailsItsObjectsAndNobodyElse(t *testing.T) { // row H04
	t.Parallel()
	s := newSite(t, "convert")
	s.namespace("convert")
	two := strings.Replace(definition, "  versions:\n", `  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {service: {name: nobody, namespace: NAME, path: /convert}}
  versions:
  - name: v2
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, 1)
	two = strings.Replace(two, "storage: true\n    subresources", "storage: false\n    subresources", 1)
	_, set := s.pass(s.component(two, custom, configMap("NAME", "free", "x")))
	f := set.Failed()
	if len(f) != 1 || f[0].ID.Kind != "Mill" || f[0].Reason != ReasonWebhookUnavailable || !strings.Contains(f[0].Message, "conversion webhook") || !f[0].Retry {
		t.Error(describe(set))
	}
	if s.get(configMaps, "convert", "free") == nil {
		t.Error("the rest was not applied")
	}
}
