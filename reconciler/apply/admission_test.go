package apply

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

var mutatingConfigs = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"}

// hook is a mutating admission webhook on loopback that changes ConfigMaps and
// Deployments of the site's namespace.
type hook struct {
	calls atomic.Int64
	// patch is a JSON patch, %d in it the number of the call.
	patch string
}

type review struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Request    *struct {
		UID string `json:"uid"`
	} `json:"request,omitempty"`
	Response map[string]any `json:"response,omitempty"`
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in review
	data, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if json.Unmarshal(data, &in) != nil || in.Request == nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	patch := h.patch
	if n := h.calls.Add(1); strings.Contains(patch, "%d") {
		patch = fmt.Sprintf(patch, n)
	}
	response := map[string]any{"uid": in.Request.UID, "allowed": true}
	if patch != "" {
		response["patchType"], response["patch"] = "JSONPatch", base64.StdEncoding.EncodeToString([]byte(patch))
	}
	_ = json.NewEncoder(w).Encode(review{APIVersion: in.APIVersion, Kind: in.Kind, Response: response})
}

// mutating registers a webhook for the namespace of the site and waits until
// the API server calls it.
func (s *site) mutating(patch string) *hook {
	s.t.Helper()
	h := &hook{}
	server := httptest.NewTLSServer(h)
	s.t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	config := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
		"metadata": map[string]any{"name": "hook-of-" + s.name},
		"webhooks": []any{map[string]any{
			"name": "hook.example.org", "admissionReviewVersions": []any{"v1"}, "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": int64(30),
			"clientConfig":      map[string]any{"url": server.URL, "caBundle": base64.StdEncoding.EncodeToString(ca)},
			"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": s.name}},
			"rules": []any{map[string]any{
				"apiGroups": []any{"", "apps"}, "apiVersions": []any{"v1"}, "operations": []any{"CREATE", "UPDATE"}, "resources": []any{"configmaps", "deployments"},
			}},
		}},
	}}
	if _, err := s.dynamic.Resource(mutatingConfigs).Create(s.t.Context(), config, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	probe := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "probe"}}}
	for deadline := time.Now().Add(30 * time.Second); h.calls.Load() == 0; time.Sleep(50 * time.Millisecond) {
		_, err := s.dynamic.Resource(configMaps).Namespace(s.name).Create(s.t.Context(), probe, metav1.CreateOptions{DryRun: []string{"All"}})
		if time.Now().After(deadline) {
			s.t.Fatal("the API server never called the webhook: ", err)
		}
	}
	h.calls.Store(0)
	h.patch = patch
	return h
}

func (s *site) unregister() {
	s.t.Helper()
	if err := s.dynamic.Resource(mutatingConfigs).Delete(s.t.Context(), "hook-of-"+s.name, metav1.DeleteOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func TestAWebhookThatRewritesADeclaredFieldIsNamedAndNotFought(t *testing.T) { // rows F07, H09
	t.Parallel()
	s := newSite(t, "rewritten")
	s.namespace("rewritten")
	h := s.mutating(`[{"op":"replace","path":"/data/key","value":"theirs"}]`)
	m := s.component(configMap("NAME", "a", "ours"))
	_, set := s.pass(m)
	if data, _ := s.get(configMaps, "rewritten", "a").Object["data"].(map[string]any); data["key"] != "theirs" || h.calls.Load() == 0 {
		t.Fatalf("the webhook rewrote nothing: %v after %d calls", data, h.calls.Load())
	}
	check := func(r Result) {
		t.Helper()
		if r.Reason != plan.ReasonMutated || r.Action != Waiting || len(r.Differences) != 1 || r.Differences[0].Path != ".data.key" || !strings.Contains(r.Message, "hook-of-rewritten") {
			t.Errorf("got %+v", r)
		}
	}
	check(set.Results[0])
	if set.Complete() {
		t.Error("a set with an object that is not as declared claims to be complete")
	}
	version := s.get(configMaps, "rewritten", "a").GetResourceVersion()
	for _, step := range []string{"again", "after a restart", "touched by another"} {
		switch step {
		case "after a restart":
			s.restart()
		case "touched by another":
			s.edit(configMaps, "rewritten", "a", "rogue", map[string]any{"metadata": map[string]any{"annotations": map[string]any{"x": "y"}}})
			version = s.get(configMaps, "rewritten", "a").GetResourceVersion()
		}
		p, set := s.pass(m)
		if len(p.Changes()) != 0 || len(set.Results) != 1 {
			t.Fatalf("%s: %s", step, p.Text())
		}
		check(set.Results[0])
	}
	if now := s.get(configMaps, "rewritten", "a").GetResourceVersion(); now != version {
		t.Error("the object was written again")
	}
	// The webhook goes. A sweep looks again, and the object is put right.
	s.unregister()
	s.swept(m)
	if data, _ := s.get(configMaps, "rewritten", "a").Object["data"].(map[string]any); data["key"] != "ours" {
		t.Errorf("after the webhook is gone the object has %v", data)
	}
	s.restart()
	s.inSync(m)
}

// swept makes passes with a sweep until one has nothing to do.
func (s *site) swept(m render.Manifests) {
	s.t.Helper()
	var last plan.Plan
	for range 100 {
		inv, err := s.LoadInventory(s.t.Context(), m)
		if err != nil {
			s.t.Fatal(err)
		}
		obs, err := s.ObserveWith(s.t.Context(), m, inv, Heed{Sweep: true})
		if err != nil {
			s.t.Fatal(err)
		}
		if last, err = plan.Compute(m, obs, plan.DefaultLimits()); err != nil {
			s.t.Fatal(err)
		}
		if last.Empty() {
			return
		}
		if _, err := s.Apply(s.t.Context(), last); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // a webhook that is gone may be called for a moment
	}
	s.t.Fatalf("sweeps do not come to an end:\n%s", last.Text())
}

func TestAWebhookThatAddsWhatNobodyDeclaresIsNoDrift(t *testing.T) { // row H09
	t.Parallel()
	s := newSite(t, "sidecar")
	s.namespace("sidecar")
	h := s.mutating(`[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"sidecar","image":"example.org/sidecar"}}]`)
	m := s.component(deployment)
	s.converge(m)
	containers, _, _ := unstructured.NestedSlice(s.get(deployments, "sidecar", "web").Object, "spec", "template", "spec", "containers")
	if len(containers) != 2 || h.calls.Load() == 0 {
		t.Fatalf("the webhook injected nothing: %d containers", len(containers))
	}
	s.restart()
	s.inSync(m)
}

func TestAWebhookThatAnswersOtherwiseEachTimeIsToldAndNotLoopedOver(t *testing.T) { // row H10
	t.Parallel()
	s := newSite(t, "random")
	s.namespace("random")
	h := s.mutating(`[{"op":"add","path":"/metadata/annotations","value":{"nonce":"%d"}}]`)
	m := s.component(configMap("NAME", "a", "ours"))
	s.converge(m)
	first := s.get(configMaps, "random", "a").GetAnnotations()["nonce"]
	// Somebody touches it, so that it has to be compared: what the dry-run gives
	// has yet another nonce.
	s.edit(configMaps, "random", "a", "rogue", map[string]any{"data": map[string]any{"other": "x"}})
	before, calls := s.get(configMaps, "random", "a"), h.calls.Load()
	if before.GetAnnotations()["nonce"] == first {
		t.Fatal("the webhook answers the same each time")
	}
	p := s.plan(m)
	if !p.Empty() {
		t.Fatalf("not in sync:\n%s", p.Text())
	}
	reasons := map[string]string{}
	for _, r := range p.Remarks() {
		reasons[r.Reason] = r.Differences[0].Path
	}
	if reasons[plan.ReasonUnstableAdmission] != ".metadata.annotations.nonce" || reasons[plan.ReasonExtraFields] != ".data.other" || h.calls.Load() == calls {
		t.Errorf("remarks %v after %d calls", reasons, h.calls.Load()-calls)
	}
	calls = h.calls.Load()
	for range 3 {
		s.inSync(m)
	}
	if h.calls.Load() != calls || s.get(configMaps, "random", "a").GetResourceVersion() != before.GetResourceVersion() {
		t.Error("it is compared or written again and again")
	}
}
