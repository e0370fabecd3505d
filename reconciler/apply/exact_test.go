package apply

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

var (
	clusterRoles       = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
	validatingPolicies = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"}
	validatingConfigs  = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"}
)

const clusterRole = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get]}`

const admissionPolicy = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [NAME.example.org], apiVersions: [v1], operations: [CREATE], resources: [things]}
  validations:
  - {expression: "false", message: never}`

// heeding makes one pass with rules.
func (s *site) heeding(m render.Manifests, heed Heed) (plan.Plan, ChangeSet) {
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
	set, err := s.Apply(s.t.Context(), p)
	if err != nil {
		s.t.Fatal(err)
	}
	return p, set
}

func TestWhatOthersAddToWhatGuardsTheClusterGoes(t *testing.T) { // row F05
	t.Parallel()
	s := newSite(t, "exact")
	s.namespace("exact")
	settings := strings.ReplaceAll(configMap("NAME", "chains-config", "x"), "key:", "artifacts.oci.signer:")
	m := s.component(clusterRole, admissionPolicy, settings)
	s.converge(m)
	s.edit(clusterRoles, "", "exact", "rogue", map[string]any{"aggregationRule": map[string]any{
		"clusterRoleSelectors": []any{map[string]any{"matchLabels": map[string]any{"evil": "yes"}}},
	}})
	s.edit(validatingPolicies, "", "exact", "rogue", map[string]any{"spec": map[string]any{
		"matchConditions": []any{map[string]any{"name": "never", "expression": "false"}},
	}})
	s.edit(configMaps, "exact", "chains-config", "rogue", map[string]any{"data": map[string]any{"artifacts.taskrun.signer": "none"}})
	if o := s.get(validatingPolicies, "", "exact"); !strings.Contains(string(encoded(o.Object)), `"never"`) {
		t.Fatal("nothing was added to the policy")
	}
	p, set := s.pass(m)
	got := map[string]string{}
	for _, c := range p.Changes() {
		for _, d := range c.Differences {
			got[c.ID.Kind+d.Path] = d.Manager + " " + d.Operation
		}
		if !c.Drift || c.Op != plan.Correct {
			t.Errorf("%s %s is no correction of drift", c.Op, plan.Name(c.ID))
		}
	}
	for _, want := range []string{
		"ClusterRole.aggregationRule", "ValidatingAdmissionPolicy.spec.matchConditions", `ConfigMap.data["artifacts.taskrun.signer"]`,
	} {
		if got[want] != "rogue Update" {
			t.Errorf("%s by %q; all: %v", want, got[want], got)
		}
	}
	if len(set.Corrected()) != 3 || !set.Complete() {
		t.Error(describe(set))
	}
	for _, o := range []*unstructured.Unstructured{
		s.get(clusterRoles, "", "exact"), s.get(validatingPolicies, "", "exact"), s.get(configMaps, "exact", "chains-config"),
	} {
		text := string(encoded(o.Object))
		for _, gone := range []string{"aggregationRule", "matchConditions", "artifacts.taskrun.signer"} {
			if strings.Contains(text, gone) {
				t.Errorf("%s %s still has %s", o.GetKind(), o.GetName(), gone)
			}
		}
	}
	s.inSync(m)
	s.restart()
	s.inSync(m)
}

func TestWhatWasAddedBeforeWeLookedExactlyGoesToo(t *testing.T) { // row F05
	t.Parallel()
	s, requests := countedSite(t, "longago")
	s.namespace("longago")
	m := s.component(deployment, configMap("NAME", "a", "x"))
	s.converge(m)
	// A sidecar, and an environment variable in our own container.
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"LD_PRELOAD","value":"/evil.so"}]},{"name":"evil","image":"example.org/evil"}]}}}}`
	_, err := s.dynamic.Resource(deployments).Namespace("longago").Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "rogue"})
	if err != nil {
		t.Fatal(err)
	}
	p := s.plan(m)
	if !p.Empty() || len(p.Remarks()) != 1 || p.Remarks()[0].Reason != plan.ReasonExtraFields || len(p.Remarks()[0].Differences) != 2 {
		t.Fatalf("without a rule: %s%+v", p.Text(), p.Remarks())
	}
	exact := Heed{Exact: func(string, render.ID) bool { return true }}
	p, set := s.heeding(m, exact)
	if len(p.Changes()) != 1 || len(set.Corrected()) != 1 {
		t.Fatalf("with the rule: %s%s", p.Text(), describe(set))
	}
	containers, _, _ := unstructured.NestedSlice(s.get(deployments, "longago", "web").Object, "spec", "template", "spec", "containers")
	if len(containers) != 1 || strings.Contains(string(encoded(map[string]any{"c": containers})), "LD_PRELOAD") {
		t.Errorf("containers: %v", containers)
	}
	s.heeding(m, exact)
	requests.take()
	for range 3 {
		if p, _ = s.heeding(m, exact); !p.Empty() {
			t.Fatalf("not in sync:\n%s", p.Text())
		}
	}
	if made := requests.take(); made["PATCH"]+made["PATCH dry-run"] != 0 {
		t.Errorf("matching exactly costs requests when nothing changed: %v", made)
	}
}

func TestDefaultsOfTheAPIServerAreNoExtras(t *testing.T) {
	t.Parallel()
	s := newSite(t, "defaults")
	s.namespace("defaults")
	// Somebody made it with kubectl create: every default is theirs by the record.
	o := &unstructured.Unstructured{Object: s.component(deployment).Objects()[0].Unstructured().Object}
	if _, err := s.dynamic.Resource(deployments).Namespace("defaults").Create(t.Context(), o, metav1.CreateOptions{FieldManager: "kubectl-create"}); err != nil {
		t.Fatal(err)
	}
	m := s.component(deployment)
	exact := Heed{Exact: func(string, render.ID) bool { return true }}
	for range 3 {
		s.heeding(m, exact)
	}
	p, _ := s.heeding(m, exact)
	if !p.Empty() {
		t.Errorf("defaults are fought over:\n%s", p.Text())
	}
	if s.get(deployments, "defaults", "web").GetGeneration() != 1 {
		t.Error("the object was changed")
	}
}

func TestACertificateThatAnInjectorKeepsIsNotOurs(t *testing.T) { // row H17
	t.Parallel()
	s := newSite(t, "injected")
	s.namespace("injected")
	m := s.component(webhook)
	s.converge(m)
	for _, bundle := range []string{"first", "rotated"} {
		before := s.get(validatingConfigs, "", "injected").GetGeneration()
		patch := `[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"` + base64.StdEncoding.EncodeToString(newCertificate(t)) + `"}]`
		_, err := s.dynamic.Resource(validatingConfigs).Patch(t.Context(), "injected", types.JSONPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "cainjector"})
		if err != nil {
			t.Fatal(err)
		}
		if s.get(validatingConfigs, "", "injected").GetGeneration() == before {
			t.Fatal("nothing was injected")
		}
		if p := s.plan(m); !p.Empty() {
			t.Errorf("a %s certificate is drift:\n%s", bundle, p.Text())
		}
	}
	// Anything else that is added to the same webhook is.
	s.edit(validatingConfigs, "", "injected", "rogue", map[string]any{"webhooks": nil})
	p, set := s.pass(m)
	if len(p.Changes()) != 1 || !set.Complete() {
		t.Errorf("%s%s", p.Text(), describe(set))
	}
}

func TestAnIgnoredFieldIsWrittenOnceAndThenLeft(t *testing.T) {
	t.Parallel()
	s := newSite(t, "ignoring")
	s.namespace("ignoring")
	m := s.component(deployment)
	heed := Heed{Ignore: func(_ string, id render.ID) []string {
		if id.Kind == "Deployment" {
			return []string{".spec.replicas", ".spec.template.spec.containers[name=web].args"}
		}
		return nil
	}}
	replicas := func() int64 {
		n, _, _ := unstructured.NestedInt64(s.get(deployments, "ignoring", "web").Object, "spec", "replicas")
		return n
	}
	s.heeding(m, heed)
	if replicas() != 1 {
		t.Fatalf("made with %d replicas", replicas())
	}
	scale := `{"spec":{"replicas":5}}`
	_, err := s.dynamic.Resource(deployments).Namespace("ignoring").Patch(t.Context(), "web", types.MergePatchType, []byte(scale), metav1.PatchOptions{FieldManager: "autoscaler"}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := s.heeding(m, heed); !p.Empty() || replicas() != 5 {
		t.Fatalf("%d replicas: %s", replicas(), p.Text())
	}
	// Drift beside it is put back, and a new revision applied, without touching it.
	s.edit(deployments, "ignoring", "web", "rogue", map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "evil"}}})
	if p, set := s.heeding(m, heed); len(set.Corrected()) != 1 || replicas() != 5 {
		t.Fatalf("%d replicas: %s", replicas(), p.Text())
	}
	next := s.component(strings.ReplaceAll(deployment, "web:1", "web:2"))
	_, set := s.heeding(next, heed)
	o := s.get(deployments, "ignoring", "web")
	text := string(encoded(o.Object))
	if set.Count()[Updated] != 1 || replicas() != 5 || !strings.Contains(text, "web:2") || !strings.Contains(text, `"serve"`) {
		t.Fatalf("%d replicas after a new revision: %s", replicas(), describe(set))
	}
	if p, _ := s.heeding(next, heed); !p.Empty() {
		t.Errorf("not in sync:\n%s", p.Text())
	}
	// Not ignored any more: it is ours again, and nothing keeps it any more.
	_, set = s.heeding(next, Heed{})
	if set.Count()[Corrected] != 1 || replicas() != 1 {
		t.Errorf("%d replicas when nothing is ignored any more: %s", replicas(), describe(set))
	}
	if plan.Keeps(s.get(deployments, "ignoring", "web"), s.manager("ignoring")) {
		t.Error("the keeper still owns fields")
	}
}

func newCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestLabelsAndFinalizersThatOthersAddToWhatGuardsTheClusterGo is about metadata:
// a label selects an object, an annotation switches it off, a finalizer keeps it
// from being deleted, an owner takes it along.
func TestLabelsAndFinalizersThatOthersAddToWhatGuardsTheClusterGo(t *testing.T) { // row F05
	t.Parallel()
	s := newSite(t, "metadata")
	s.namespace("metadata")
	m := s.component(clusterRole, admissionPolicy, configMap("NAME", "plain", "x"))
	s.converge(m)
	extra := map[string]any{"metadata": map[string]any{
		"labels": map[string]any{"evil": "yes"}, "annotations": map[string]any{"evil/off": "yes"}, "finalizers": []any{"evil.example.org/stays"},
		"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "Namespace", "name": "metadata", "uid": string(s.get(namespaces, "", "metadata").GetUID())}},
	}}
	s.edit(clusterRoles, "", "metadata", "rogue", extra)
	s.edit(validatingPolicies, "", "metadata", "rogue", extra)
	s.edit(configMaps, "metadata", "plain", "rogue", map[string]any{"metadata": map[string]any{"labels": map[string]any{"mine": "yes"}}})
	if o := s.get(validatingPolicies, "", "metadata"); len(o.GetFinalizers()) != 1 || len(o.GetOwnerReferences()) != 1 {
		t.Fatal("nothing was added to the policy")
	}
	p, set := s.pass(m)
	if len(p.Changes()) != 2 || len(set.Corrected()) != 2 || !set.Complete() {
		t.Fatalf("%s%s", p.Text(), describe(set))
	}
	for _, c := range p.Changes() {
		var paths []string
		for _, d := range c.Differences {
			if paths = append(paths, d.Path); d.Manager != "rogue" {
				t.Errorf("%s at %s is by %q", plan.Name(c.ID), d.Path, d.Manager)
			}
		}
		for _, want := range []string{".metadata.labels", ".metadata.annotations", ".metadata.finalizers", ".metadata.ownerReferences"} {
			if !slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p, want) }) {
				t.Errorf("%s: %s is not among %v", plan.Name(c.ID), want, paths)
			}
		}
	}
	for _, o := range []*unstructured.Unstructured{s.get(clusterRoles, "", "metadata"), s.get(validatingPolicies, "", "metadata")} {
		if len(o.GetFinalizers())+len(o.GetOwnerReferences()) > 0 || o.GetLabels()["evil"] != "" || o.GetAnnotations()["evil/off"] != "" {
			t.Errorf("%s %s still has what was added: %v", o.GetKind(), o.GetName(), o.Object["metadata"])
		}
	}
	if s.get(configMaps, "metadata", "plain").GetLabels()["mine"] != "yes" {
		t.Error("the label of an ordinary object was taken away")
	}
	s.inSync(m)
	s.restart()
	s.inSync(m)
}
