package rights

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"millwright.dev/millwright/render"
)

// anyName is the name that the API server asks about when it wants to know
// whether somebody may read objects of a kind whatever they are called. A rule
// for this very name answers it, and lets nobody read anything: no object can
// have it.
const anyName = "*"

// parameters adds what the API server asks of somebody who applies an admission
// policy that has parameters: to be able to read them.
func (w *work) parameters(h *holding, o render.Object) {
	id := o.ID()
	if id.Group != groupAdmission {
		return
	}
	u := o.Unstructured()
	switch {
	case strings.HasSuffix(id.Kind, "AdmissionPolicy"):
		if p, ok := w.parameterOf(u); ok {
			p.name = anyName
			h.add("", p)
		}
	case strings.HasSuffix(id.Kind, "AdmissionPolicyBinding"):
		ref, found, _ := unstructured.NestedMap(u.Object, "spec", "paramRef")
		p, ok := w.parameterOf(w.policies[policyKey{strings.TrimSuffix(id.Kind, "Binding"), nested(u, "spec", "policyName")}])
		if !found || !ok {
			return
		}
		p.name, _ = ref["name"].(string)
		namespace, _ := ref["namespace"].(string)
		if p.name == "" {
			p.name = anyName
		}
		h.add(namespace, p)
	}
}

// webhooks lets the controller see whether anything answers for a webhook that
// is declared: one that nobody answers for shuts its own cure out (H05).
func (w *work) webhooks(o render.Object) {
	if id := o.ID(); id.Group != groupAdmission || !strings.HasSuffix(id.Kind, "WebhookConfiguration") {
		return
	}
	hooks, _, _ := unstructured.NestedSlice(o.Unstructured().Object, "webhooks")
	for _, h := range hooks {
		hook, _ := h.(map[string]any)
		if namespace, _, _ := unstructured.NestedString(hook, "clientConfig", "service", "namespace"); namespace != "" {
			w.controller.add(namespace, permission{verb: verbList, group: "discovery.k8s.io", resource: "endpointslices"})
		}
	}
}

// policyKey names an admission policy.
type policyKey struct{ kind, name string }

func policiesOf(objects []render.Object) map[policyKey]*unstructured.Unstructured {
	out := map[policyKey]*unstructured.Unstructured{}
	for _, o := range objects {
		if id := o.ID(); id.Group == groupAdmission && strings.HasSuffix(id.Kind, "AdmissionPolicy") {
			out[policyKey{id.Kind, id.Name}] = o.Unstructured()
		}
	}
	return out
}

// parameterOf is the right to read the kind of a policy's parameters.
func (w *work) parameterOf(policy *unstructured.Unstructured) (permission, bool) {
	if policy == nil {
		return permission{}, false
	}
	group, kind := nested(policy, "spec", "paramKind", "apiVersion"), nested(policy, "spec", "paramKind", "kind")
	if kind == "" {
		return permission{}, false
	}
	at := groupKind{kind: kind}
	if g, _, found := strings.Cut(group, "/"); found {
		at.group = g
	}
	p := permission{verb: verbGet, group: at.group, resource: "*"}
	if r, known := w.kinds[at]; known {
		p.resource = r.plural
	}
	return p, true
}

func nested(u *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, path...)
	return s
}
