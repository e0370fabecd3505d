package rights

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LabelRights is on everything that this package makes; its value is the
// namespace of the accounts.
const LabelRights = "millwright.dev/rights-of"

// NamespaceObjects are the namespaces that rights are given in, without
// anything of their own: the factory declares the rest.
func (r Rights) NamespaceObjects() []any {
	out := make([]any, 0, len(r.Namespaces))
	for _, name := range r.Namespaces {
		out = append(out, map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}})
	}
	return out
}

// Objects are the service account of a component, and the roles and bindings
// that give the rules to it.
func (a Account) Objects() []any {
	var out []any
	if a.Component != "" {
		// Its token is never mounted: the controller impersonates it.
		no := false
		out = append(out, corev1.ServiceAccount{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
			ObjectMeta: a.meta(a.Namespace, a.Name), AutomountServiceAccountToken: &no,
		})
	}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: a.Namespace, Name: a.Name}}
	if len(a.Cluster) > 0 {
		out = append(out, rbacv1.ClusterRole{
			TypeMeta: typeMeta("ClusterRole"), ObjectMeta: a.meta("", a.roles), Rules: a.Cluster,
		}, rbacv1.ClusterRoleBinding{
			TypeMeta: typeMeta("ClusterRoleBinding"), ObjectMeta: a.meta("", a.roles), Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: a.roles},
		})
	}
	for _, ns := range slices.Sorted(maps.Keys(a.In)) {
		out = append(out, rbacv1.Role{
			TypeMeta: typeMeta("Role"), ObjectMeta: a.meta(ns, a.roles), Rules: a.In[ns],
		}, rbacv1.RoleBinding{
			TypeMeta: typeMeta("RoleBinding"), ObjectMeta: a.meta(ns, a.roles), Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: a.roles},
		})
	}
	return out
}

func (a Account) meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{LabelRights: a.Namespace}}
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}
