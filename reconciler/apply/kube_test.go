package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

// site is a factory of its own in the shared cluster.
type site struct {
	*Engine
	t   *testing.T
	cfg *rest.Config
	// name is unique in the cluster; component and namespaces begin with it.
	name string
}

func newSite(t *testing.T, name string) *site {
	t.Helper()
	return siteAt(t, kubetest.Shared(t).Config(), name)
}

func siteAt(t *testing.T, cfg *rest.Config, name string) *site {
	t.Helper()
	s := &site{t: t, cfg: cfg, name: name, Engine: engineAt(t, cfg, name)}
	s.namespace(name + "-system")
	return s
}

func engineAt(t *testing.T, cfg *rest.Config, name string) *Engine {
	t.Helper()
	e, err := New(cfg, Options{Factory: name, Namespace: name + "-system"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (s *site) namespace(name string) {
	s.t.Helper()
	ns := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}
	_, err := s.dynamic.Resource(namespaces).Create(s.t.Context(), ns, metav1.CreateOptions{FieldManager: "test"})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		s.t.Fatal(err)
	}
}

// restart forgets everything that is only in memory, as a new process would.
func (s *site) restart() { s.Engine = engineAt(s.t, s.cfg, s.name) }

// component renders documents as one component; NAME stands for the site's name.
func (s *site) component(docs ...string) render.Manifests {
	s.t.Helper()
	return s.components(map[string]string{s.name: strings.Join(docs, "\n---\n")}, s.name)
}

func (s *site) components(docs map[string]string, order ...string) render.Manifests {
	s.t.Helper()
	tree := fstest.MapFS{}
	var list []render.Component
	for i, name := range order {
		path := "overlays/test/" + name
		text := strings.ReplaceAll(docs[name], "NAME", s.name)
		resources := "resources: [objects.yaml]\n"
		if strings.TrimSpace(text) == "" {
			resources = "resources: []\n"
		}
		tree[path+"/kustomization.yaml"] = &fstest.MapFile{
			Data: []byte("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" + resources),
		}
		tree[path+"/objects.yaml"] = &fstest.MapFile{Data: []byte(text)}
		list = append(list, render.Component{Name: name, Path: path, Stage: i})
	}
	m, err := render.Render(tree, "overlays/test", list, render.DefaultLimits())
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// plan is one pass up to the decision.
func (s *site) plan(m render.Manifests) plan.Plan {
	s.t.Helper()
	p, err := s.tryPlan(s.t.Context(), m, plan.DefaultLimits())
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *site) tryPlan(ctx context.Context, m render.Manifests, limits plan.Limits) (plan.Plan, error) {
	inv, err := s.LoadInventory(ctx, m)
	if err != nil {
		return plan.Plan{}, err
	}
	obs, err := s.Observe(ctx, m, inv)
	if err != nil {
		return plan.Plan{}, err
	}
	return plan.Compute(m, obs, limits)
}

// pass is one whole pass.
func (s *site) pass(m render.Manifests) (plan.Plan, ChangeSet) {
	s.t.Helper()
	p := s.plan(m)
	set, err := s.Apply(s.t.Context(), p)
	if err != nil {
		s.t.Fatal(err)
	}
	return p, set
}

// converge is a pass that has to succeed and to leave nothing to do.
func (s *site) converge(m render.Manifests) ChangeSet {
	s.t.Helper()
	p, set := s.pass(m)
	if !set.Complete() {
		s.t.Fatalf("not complete: %s\nplan:\n%s", describe(set), p.Text())
	}
	s.inSync(m)
	return set
}

func (s *site) inSync(m render.Manifests) {
	s.t.Helper()
	if p := s.plan(m); !p.Empty() {
		s.t.Fatalf("the plan after applying is not empty:\n%s", p.Text())
	}
}

func describe(set ChangeSet) string {
	var b strings.Builder
	for _, r := range set.Results {
		fmt.Fprintf(&b, "%s %s %s %s\n", r.Action, plan.Name(r.ID), r.Reason, r.Message)
	}
	return b.String()
}

func (s *site) get(gvr schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	s.t.Helper()
	o, err := s.dynamic.Resource(gvr).Namespace(namespace).Get(s.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// edit is a hand edit by another manager.
func (s *site) edit(gvr schema.GroupVersionResource, namespace, name, manager string, patch map[string]any) {
	s.t.Helper()
	body, err := json.Marshal(patch)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.dynamic.Resource(gvr).Namespace(namespace).Patch(s.t.Context(), name, types.MergePatchType, body,
		metav1.PatchOptions{FieldManager: manager})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) remove(gvr schema.GroupVersionResource, namespace, name string) {
	s.t.Helper()
	if err := s.dynamic.Resource(gvr).Namespace(namespace).Delete(s.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// versions reads the resource versions of everything in the inventory.
func (s *site) versions(inv plan.Inventory) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for id, e := range inv.Entries {
		r, err := s.Resource(s.t.Context(), e.APIVersion, id.Kind)
		if err != nil {
			s.t.Fatal(err)
		}
		client, err := s.metadataOf(e.Component, r, id)
		if err != nil {
			s.t.Fatal(err)
		}
		o, err := client.Get(s.t.Context(), id.Name, metav1.GetOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		out[plan.Name(id)] = o.ResourceVersion
	}
	return out
}

func configMap(namespace, name, value string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: %s, namespace: %s, labels: {part: one}}
data: {key: %q}`, name, namespace, value)
}

func namespaceDoc(name string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}"
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAME, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "example.org/web:1", args: [serve]}`

const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: mills.NAME.example.org}
spec:
  group: NAME.example.org
  scope: Namespaced
  names: {kind: Mill, plural: mills, singular: mill, listKind: MillList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {stones: {type: integer, maximum: 9}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}`

const custom = `apiVersion: NAME.example.org/v1
kind: Mill
metadata: {name: mill, namespace: NAME}
spec: {stones: 2}`

const webhook = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NAME}
webhooks:
- name: nobody.NAME.example.org
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  clientConfig: {service: {name: nobody, namespace: NAME}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
  rules:
  - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}`

// probing are the options of a request that only asks, writing of one by another.
func probing() metav1.PatchOptions {
	force := true
	return metav1.PatchOptions{FieldManager: "probe", DryRun: []string{metav1.DryRunAll}, Force: &force}
}

func writing() metav1.PatchOptions {
	force := true
	return metav1.PatchOptions{FieldManager: "other", Force: &force}
}
