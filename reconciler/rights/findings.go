package rights

import (
	"cmp"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"millwright.dev/millwright/render"
)

// The kinds of findings.
const (
	// FindingWildcard: a rule of the factory has a wildcard, which the account
	// then holds.
	FindingWildcard = "wildcard"
	// FindingBind: a role from elsewhere is bound.
	FindingBind = "bind"
	// FindingAggregated: a role cannot be applied with less than every right.
	FindingAggregated = "aggregated"
	// FindingEscalate: a role grants escalate and cannot be applied.
	FindingEscalate = "escalate"
	// FindingPower: a role grants impersonate or bind.
	FindingPower = "power"
	// FindingReach: what an account has to hold because it grants it lets it write
	// objects of another component.
	FindingReach = "reach"
	// FindingSelf: an object changes what the factory's own accounts may do, or
	// lives beside them.
	FindingSelf = "self"
)

// Finding is one thing that a reviewer should look at.
type Finding struct {
	Kind string `json:"kind"`
	// Object is what declares it, or a component that can be reached.
	Object string `json:"object"`
	Detail string `json:"detail"`
}

// String is the finding on one line.
func (f Finding) String() string { return f.Kind + ": " + f.Object + ": " + f.Detail }

func compareFindings(a, b Finding) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Object, b.Object), strings.Compare(a.Detail, b.Detail))
}

func (h *holding) find(kind string, o render.Object, detail string) {
	h.findings[Finding{kind, o.ID().String(), detail}] = true
}

// look notices what touches the factory's own accounts: with rights of a
// component alone nobody gets more than the component has, but one component's
// rights could be given to another.
func (w *work) look(h *holding, o render.Object) {
	id := o.ID()
	if id.Namespace == w.accounts.Namespace {
		h.find(FindingSelf, o, "it lives in the namespace of the controller and its accounts")
	}
	if id.Group != groupRBAC || id.Kind != "RoleBinding" && id.Kind != "ClusterRoleBinding" {
		return
	}
	var b rbacv1.ClusterRoleBinding
	if !decode(o, &b) {
		return
	}
	for _, s := range b.Subjects {
		if w.own(s) {
			h.find(FindingSelf, o, "it gives rights to "+s.Kind+" "+s.Name)
		}
	}
}

// reach notices where one component's account may write another's objects.
func (w *work) reach(objects []render.Object) {
	for component, h := range w.of {
		count, first := map[string]int{}, map[string]string{}
		for _, o := range objects {
			if o.Component() == component || !h.writes(o.ID(), w.kinds) {
				continue
			}
			if count[o.Component()]++; count[o.Component()] == 1 {
				first[o.Component()] = o.ID().String()
			}
		}
		for other, n := range count {
			h.findings[Finding{
				FindingReach, "component " + other,
				fmt.Sprintf("the rights that %s grants let its account write %d objects of it, first %s", component, n, first[other]),
			}] = true
		}
	}
}

// writes says whether what is held lets an object be changed or deleted.
func (h *holding) writes(id render.ID, known kinds) bool {
	r, err := known.find(id)
	if err != nil {
		return false
	}
	for _, ns := range []string{"", id.Namespace} {
		for p := range h.in[ns] {
			for _, verb := range []string{"patch", "update", "delete"} {
				if p.covers(permission{verb: verb, group: id.Group, resource: r.plural, name: id.Name}) {
					return true
				}
			}
		}
	}
	return false
}

// own says whether a subject is, or contains, one of the factory's accounts.
func (w *work) own(s rbacv1.Subject) bool {
	const user = "system:serviceaccount:"
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		return s.Namespace == w.accounts.Namespace
	case rbacv1.UserKind:
		return strings.HasPrefix(s.Name, user+w.accounts.Namespace+":")
	case rbacv1.GroupKind:
		return s.Name == "system:serviceaccounts" || s.Name == "system:serviceaccounts:"+w.accounts.Namespace
	}
	return false
}
