package rights

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"millwright.dev/millwright/render"
)

// role is a Role or ClusterRole as it is declared.
type role struct {
	rules      []rbacv1.PolicyRule
	aggregated bool
}

// roleKey names a role; the namespace is empty for cluster roles.
type roleKey struct{ namespace, name string }

// grants are the roles that the manifests declare.
type grants map[roleKey]role

func grantsOf(objects []render.Object) grants {
	out := grants{}
	for _, o := range objects {
		id := o.ID()
		if id.Group != groupRBAC || id.Kind != "Role" && id.Kind != "ClusterRole" {
			continue
		}
		var r rbacv1.ClusterRole // a Role is one without an aggregation rule
		if decode(o, &r) {
			out[roleKey{id.Namespace, id.Name}] = role{r.Rules, r.AggregationRule != nil}
		}
	}
	return out
}

// decode reads an object into its type; one that does not fit it is refused by
// the API server too, and nobody is given rights for it.
func decode(o render.Object, into any) bool {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(o.Unstructured().Object, into) == nil
}

// grant adds what the API server asks of somebody who applies an RBAC object:
// to hold what it gives, where it gives it.
func (w *work) grant(h *holding, o render.Object) {
	id := o.ID()
	switch id.Kind {
	case "Role", "ClusterRole":
		r := w.grants[roleKey{id.Namespace, id.Name}]
		if r.aggregated {
			h.find(FindingAggregated, o, "whoever applies a role that others may add rules to has to hold every right there is; write its rules out (replacements can copy them)")
		}
		w.hold(h, o, id.Namespace, r.rules)
	case "RoleBinding", "ClusterRoleBinding":
		var b rbacv1.ClusterRoleBinding // a RoleBinding has the same fields
		if decode(o, &b) {
			w.bind(h, o, b.RoleRef)
		}
	}
}

// bind adds what it takes to bind a role: its rules, where they are known.
func (w *work) bind(h *holding, o render.Object, ref rbacv1.RoleRef) {
	namespace := o.ID().Namespace
	key, resource := roleKey{namespace, ref.Name}, "roles"
	if ref.Kind == "ClusterRole" {
		key.namespace, resource = "", "clusterroles"
	}
	if r, declared := w.grants[key]; declared && !r.aggregated {
		w.hold(h, o, namespace, r.rules)
		return
	}
	h.add(namespace, permission{verb: "bind", group: groupRBAC, resource: resource, name: ref.Name})
	h.find(FindingBind, o, "it binds "+ref.Kind+" "+ref.Name+", whose rules are not among the manifests: bind is given for it by name")
}

// hold adds rules, but not what would let the account give itself more.
func (w *work) hold(h *holding, o render.Object, namespace string, given []rbacv1.PolicyRule) {
	for _, r := range given {
		for _, list := range [][]string{r.Verbs, r.APIGroups, r.Resources, r.NonResourceURLs} {
			if slices.Contains(list, "*") {
				h.find(FindingWildcard, o, text(r))
				break
			}
		}
	}
	for _, p := range permissions(given) {
		switch p.verb {
		case "escalate":
			h.find(FindingEscalate, o, "it grants escalate, which is given to nobody: it cannot be applied")
			continue
		case "impersonate", "bind":
			h.find(FindingPower, o, "it grants "+p.verb+" on "+p.resource)
		}
		h.add(namespace, p)
	}
}
