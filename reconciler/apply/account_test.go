package apply

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/rights"
	"millwright.dev/millwright/render"
)

// TestAnAccountWithItsGeneratedRightsMakesAnObjectAnew has an engine that is
// nothing but the controller and the accounts of its components delete and make an
// object of which a field cannot be changed.
func TestAnAccountWithItsGeneratedRightsMakesAnObjectAnew(t *testing.T) { // row H14
	t.Parallel()
	admin := newSite(t, "anew")
	admin.namespace("anew")
	settings := func(value string) render.Manifests {
		return admin.component("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NAME}\nimmutable: true\ndata: {key: "+value+"}", quarter())
	}
	one, two := settings("one"), settings("two")
	id := render.ID{Kind: "ConfigMap", Namespace: "anew", Name: "c"}
	recreates := func(_ string, o render.ID) bool { return o == id }
	r, err := rights.Compute(one, rights.Accounts{Factory: "anew", Namespace: "anew-system", Prefix: "as-", Controller: "controller"}, nil, recreates)
	if err != nil {
		t.Fatal(err)
	}
	admin.grant(r)
	s := admin.asController()
	deadline := time.Now().Add(30 * time.Second) // rights are in force a moment later
	for {
		p, err := s.tryPlan(t.Context(), one, plan.DefaultLimits())
		if err == nil {
			var set ChangeSet
			if set, err = s.Apply(t.Context(), p); err == nil && set.Complete() {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is not applied: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	before := admin.get(configMaps, "anew", "c").GetUID()
	_, set := s.passWith(two, plan.Rules{Recreate: recreates})
	if got := reasons(set)["ConfigMap c"]; got != "recreated" || !set.Complete() {
		t.Fatal(describe(set))
	}
	if o := admin.get(configMaps, "anew", "c"); o.GetUID() == before || !strings.Contains(string(encoded(o.Object)), `"two"`) {
		t.Errorf("it was not made anew: %v", o.Object)
	}
	s.inSync(two)
}

// asController is the same site for the controller's account, which impersonates
// those of the components.
func (s *site) asController() *site {
	s.t.Helper()
	cfg := rest.CopyConfig(s.cfg)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + s.name + "-system:controller"}
	e, err := New(cfg, Options{Factory: s.name, Namespace: s.name + "-system", AccountPrefix: "as-"})
	if err != nil {
		s.t.Fatal(err)
	}
	return &site{t: s.t, cfg: cfg, name: s.name, Engine: e}
}

// grant makes the accounts with their rights, and what the controller of an
// install always may, as an administrator.
func (s *site) grant(r rights.Rights) {
	s.t.Helper()
	k, err := client.New(s.cfg, client.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	objects := r.Controller.Objects()
	for _, c := range r.Components {
		objects = append(objects, c.Objects()...)
	}
	always := `[{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"NAME-always"},"rules":[
		{"apiGroups":[""],"resources":["configmaps"],"verbs":["create","list","get","update"]},
		{"apiGroups":["admissionregistration.k8s.io"],"resources":["*"],"verbs":["list"]}]},
		{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"NAME-always"},
		"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"NAME-always"},
		"subjects":[{"kind":"ServiceAccount","namespace":"NAME-system","name":"controller"}]}]`
	var more []any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(always, "NAME", s.name)), &more); err != nil {
		s.t.Fatal(err)
	}
	for _, o := range append(objects, more...) {
		data, err := json.Marshal(o)
		if err != nil {
			s.t.Fatal(err)
		}
		var u unstructured.Unstructured
		if err := json.Unmarshal(data, &u.Object); err != nil {
			s.t.Fatal(err)
		}
		if err := k.Create(s.t.Context(), &u); err != nil {
			s.t.Fatal(err)
		}
	}
}
