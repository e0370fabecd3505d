package rights

import (
	"cmp"
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
	// FindingSelf: an object changes what the factory's own accounts may do, or
	// lives beside them.
	FindingSelf = "self"
)

// Finding is one thing that a reviewer should look at.
type Finding struct {
	Kind string `json:"kind"`
	// Object is what declares it.
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
