package reconciler_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/faultproxy"
)

// grantAllBut gives a user every right of the groups in use but one.
func (f *faulty) grantAllBut(user, group string) {
	groups := []string{"", "apiextensions.k8s.io", "events.k8s.io", "millwright.dev", "policies.kyverno.io"}
	groups = slices.DeleteFunc(groups, func(g string) bool { return g == group })
	f.must(f.client.Create(f.t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: groups, Resources: []string{"*"}, Verbs: []string{"*"}},
			{NonResourceURLs: []string{"*"}, Verbs: []string{"get"}},
		},
	}))
	f.must(f.client.Create(f.t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}))
}

// TestATokenThatIsNoLongerTakenIsReadAgainFromItsFile has the API server refuse
// a token while its successor lies in the file already.
func TestATokenThatIsNoLongerTakenIsReadAgainFromItsFile(t *testing.T) { // row G11
	t.Parallel()
	f := newFaulty(t)
	first, second := f.token(), f.token()
	path := filepath.Join(t.TempDir(), "token")
	f.must(os.WriteFile(path, []byte(first), 0o600))
	proxy, err := faultproxy.StartForTokens(f.cluster.Config())
	f.must(err)
	t.Cleanup(proxy.Stop)
	f.proxy, f.access = proxy, proxy.Config()
	f.access.BearerTokenFile = path
	f.restart()
	f.setMany("one")
	f.settle(f.commit(alice, "one"))
	expired := proxy.Inject(faultproxy.Rule{
		Where: func(r faultproxy.Request) bool { return r.Token == faultproxy.TokenName(first) },
		Fault: faultproxy.Answer(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized", 0),
	})
	f.setMany("two")
	commit := f.commit(alice, "two")
	if _, err := f.attempt(); err == nil || expired.Hits() == 0 {
		t.Errorf("an expired token: %v, refused %d times", err, expired.Hits())
	}
	f.must(os.WriteFile(path, []byte(second), 0o600))
	f.settle(commit)
	last := proxy.Log()[len(proxy.Log())-1]
	if last.Token != faultproxy.TokenName(second) {
		t.Error("it converged with another token than the one in the file")
	}
	f.promises("two", 2, many+1) // once for each of two revisions
}

// token is one of a service account that may do everything.
func (f *faulty) token() string {
	f.t.Helper()
	kube := kubernetes.NewForConfigOrDie(f.cluster.Config())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "controller"}}
	f.must(client.IgnoreAlreadyExists(f.client.Create(f.t.Context(), account)))
	f.must(client.IgnoreAlreadyExists(f.client.Create(f.t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: f.namespace + "-controller"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: f.namespace, Name: "controller"}},
	})))
	token, err := kube.CoreV1().ServiceAccounts(f.namespace).CreateToken(f.t.Context(), "controller", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	f.must(err)
	return token.Status.Token
}

// TestAnAggregatedAPIThatIsDownStopsNothingElse has a real aggregated API
// without a server behind it.
func TestAnAggregatedAPIThatIsDownStopsNothingElse(t *testing.T) { // row G21
	t.Parallel()
	f := newFaulty(t)
	group := strings.ReplaceAll(f.namespace, "-", "") + ".example.org"
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": "v1." + group},
		"spec": map[string]any{
			"group": group, "version": "v1", "groupPriorityMinimum": int64(100), "versionPriority": int64(100),
			"insecureSkipTLSVerify": true, "service": map[string]any{"name": "nobody", "namespace": f.namespace},
		},
	}}
	f.must(f.client.Create(t.Context(), service))
	t.Cleanup(func() { _ = f.client.Delete(t.Context(), service) })
	kube := kubernetes.NewForConfigOrDie(f.cluster.Config())
	var code int
	for range 100 {
		kube.RESTClient().Get().AbsPath("/apis/" + group + "/v1").Do(t.Context()).StatusCode(&code)
		if code == http.StatusServiceUnavailable {
			break
		}
	}
	if code != http.StatusServiceUnavailable {
		t.Fatalf("the aggregated API answers %d", code)
	}
	f.setMany("two")
	f.settle(f.commit(alice, "two"))
	f.auditIsClean(1)
	f.setMany("three")
	f.write("overlays/local/base/objects.yaml", strings.ReplaceAll(baseObjects, "NAMESPACE", f.namespace+"-work")+
		"---\napiVersion: "+group+"/v1\nkind: Thing\nmetadata: {name: thing}\n")
	f.commit(alice, "an object of the API that is down")
	now, err := f.attempt()
	c := conditionOf(now, v1alpha1.ConditionApplied)
	if err != nil || c.Status == metav1.ConditionTrue || !strings.Contains(c.Message, "Thing") {
		t.Errorf("%v; Applied: %+v", err, c)
	}
	if f.values()["three"] != many+1 || len(f.records()) != 1 {
		t.Errorf("the rest did not converge, or the whole was attested: %v, %d records", f.values(), len(f.records()))
	}
	f.write("overlays/local/base/objects.yaml", strings.ReplaceAll(baseObjects, "NAMESPACE", f.namespace+"-work"))
	f.settle(f.commit(alice, "without it"))
	f.promises("three", 2, many+1)
}
