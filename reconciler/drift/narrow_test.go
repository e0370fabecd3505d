package drift

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"millwright.dev/millwright/reconciler/kubetest"
)

// With the rights that package rights gives to the controller, and no others, a
// narrow watch sees what a wide one sees; a wide one sees nothing.
func TestANarrowWatchNeedsNoMoreThanItsNamespaceAndTheNamesOfSecrets(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Shared(t)
	s := newSite(t, cluster.Config(), "narrow")
	s.apply("ConfigMap", "narrow", "settings", `{"data":{"k":"v"}}`)
	s.apply("Secret", "narrow", "ours", `{"stringData":{"k":"v"}}`)
	s.apply("Secret", "narrow", "other", `{"stringData":{"k":"v"}}`)
	admin := kubernetes.NewForConfigOrDie(cluster.Config()).RbacV1()
	look := func(resource string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{"list", "watch"}, APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: names}
	}
	meta := metav1.ObjectMeta{Name: "narrow", Namespace: "narrow"}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "narrow"}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := admin.Roles("narrow").Create(t.Context(), &rbacv1.Role{
		ObjectMeta: meta, Rules: []rbacv1.PolicyRule{look("configmaps"), look("secrets", "ours")},
	}, metav1.CreateOptions{})
	must(err)
	_, err = admin.RoleBindings("narrow").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "narrow"},
	}, metav1.CreateOptions{})
	must(err)
	meta.Namespace = ""
	_, err = admin.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{look("namespaces")}}, metav1.CreateOptions{})
	must(err)
	_, err = admin.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "narrow"},
	}, metav1.CreateOptions{})
	must(err)
	access, err := cluster.ConfigFor("narrow")
	must(err)

	for id := range s.inv.Entries {
		if id.Name == "other" {
			delete(s.inv.Entries, id) // somebody else's
		}
	}
	s.start(access, Options{})
	s.watcher.Narrow(s.key, true)
	s.track()
	if n := s.watcher.Watches(); n != 3 {
		t.Errorf("there are %d watches, want one of namespaces, one of ConfigMaps and one of a Secret", n)
	}
	s.write("ConfigMap", "narrow", "settings", `{"data":{"k":"evil"}}`, "rogue")
	s.wakes("settings")
	s.write("Secret", "narrow", "ours", `{"stringData":{"k":"evil"}}`, "rogue")
	s.wakes("ours")

	s.watcher.Narrow(s.key, false)
	if s.watcher.Synced() {
		t.Error("a wide watch sees what it may not")
	}
}
