package overlays_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/rights"
	"millwright.dev/millwright/render"
)

// role is one Role or ClusterRole of the install, with its rules as they are
// made.
type role struct {
	account         rights.Account
	namespace, name string
	rules           []rbacv1.PolicyRule
}

func rolesOf(r rights.Rights) []role {
	var out []role
	for _, a := range append([]rights.Account{r.Controller}, r.Components...) {
		for _, o := range a.Objects() {
			switch o := o.(type) {
			case rbacv1.ClusterRole:
				out = append(out, role{a, "", o.Name, o.Rules})
			case rbacv1.Role:
				out = append(out, role{a, o.Namespace, o.Name, o.Rules})
			}
		}
	}
	return out
}

// set gives a role other rules.
func (p *plant) set(r role, rules []rbacv1.PolicyRule) {
	p.t.Helper()
	meta := metav1.ObjectMeta{Namespace: r.namespace, Name: r.name, Labels: map[string]string{rights.LabelRights: system}}
	var err error
	if r.namespace == "" {
		_, err = p.admin.RbacV1().ClusterRoles().Update(p.t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.UpdateOptions{})
	} else {
		_, err = p.admin.RbacV1().Roles(r.namespace).Update(p.t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.UpdateOptions{})
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// as is a client that acts as an account of the install.
func (p *plant) as(account string) dynamic.Interface {
	p.t.Helper()
	cfg := p.cluster.Config()
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + system + ":" + account}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	return client
}

func (p *plant) place(client dynamic.Interface, o render.Object) dynamic.ResourceInterface {
	p.t.Helper()
	r, err := p.engine.Resource(p.t.Context(), o.APIVersion(), o.ID().Kind)
	if err != nil {
		p.t.Fatal(err)
	}
	if r.Namespaced {
		return client.Resource(r.GroupVersionResource).Namespace(o.ID().Namespace)
	}
	return client.Resource(r.GroupVersionResource)
}

// write tries to apply an object, changed so that it is a change.
func (p *plant) write(ctx context.Context, client dynamic.Interface, o render.Object) error {
	u := o.Unstructured()
	notes := u.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	notes["trial"] = "yes"
	u.SetAnnotations(notes)
	body, err := u.MarshalJSON()
	if err != nil {
		return err
	}
	force := true
	_, err = p.place(client, o).Patch(ctx, o.ID().Name, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: "trial", Force: &force, DryRun: []string{metav1.DryRunAll}})
	return err
}

// life tries what the engine does to an object that is there, without doing it.
func (p *plant) life(ctx context.Context, client dynamic.Interface, o render.Object) error {
	at := p.place(client, o)
	_, err := at.Get(ctx, o.ID().Name, metav1.GetOptions{})
	return errors.Join(err, p.write(ctx, client, o),
		at.Delete(ctx, o.ID().Name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}))
}

// missing waits until trying fails for want of a right, and what it wants.
func (p *plant) missing(what string, try func(context.Context) error) {
	p.t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = try(p.t.Context()); err != nil {
			if text := strings.ToLower(err.Error()); !strings.Contains(text, "forbidden") && !strings.Contains(text, "not found") {
				p.t.Fatalf("%s: failed for another reason: %v", what, err)
			}
			return
		}
	}
	p.t.Errorf("%s: it is not needed", what)
}

// objectRule says whether a rule is about the account's own objects, by name.
func objectRule(r rbacv1.PolicyRule, verbs ...string) bool {
	return len(r.ResourceNames) > 0 && slices.Equal(r.Verbs, verbs)
}

// named are the objects that a rule names.
func (p *plant) named(objects []render.Object, namespace string, r rbacv1.PolicyRule) []render.Object {
	var out []render.Object
	for _, o := range objects {
		at := p.resource(o)
		if o.ID().Namespace == namespace && slices.Contains(r.APIGroups, at.Group) &&
			slices.Contains(r.Resources, at.GroupVersionResource.Resource) && slices.Contains(r.ResourceNames, o.ID().Name) {
			out = append(out, o)
		}
	}
	return out
}

// resource is where the API server serves a kind: one whose definition was established
// this moment may be missing in what it says of itself.
func (p *plant) resource(o render.Object) apply.Resource {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		at, err := p.engine.Resource(p.t.Context(), o.APIVersion(), o.ID().Kind)
		if err == nil {
			return at
		}
		if time.Now().After(deadline) {
			p.t.Fatal(err)
		}
	}
}

// try is what fails when the account lacks a rule: for a rule about objects all
// that is done with them, for a right that is granted the objects that grant it,
// for the controller its look at them.
func (p *plant) try(r role, rule rbacv1.PolicyRule, objects []render.Object) func(context.Context) error {
	client := p.as(r.account.Name)
	if r.account.Component == "" {
		return func(ctx context.Context) error { return p.look(ctx, r, rule) }
	}
	of := p.named(objects, r.namespace, rule)
	if len(of) == 0 {
		for _, o := range objects {
			if o.ID().Group == rbacv1.GroupName {
				of = append(of, o)
			}
		}
	}
	return func(ctx context.Context) error {
		for _, o := range of {
			if err := p.life(ctx, client, o); err != nil {
				return err
			}
		}
		return nil
	}
}

// look does as the controller what a rule of its own is for.
func (p *plant) look(ctx context.Context, r role, rule rbacv1.PolicyRule) error {
	switch {
	case slices.Contains(rule.Verbs, "impersonate"), slices.Contains(rule.Verbs, "update"), slices.Contains(rule.Resources, "endpointslices"):
		// Used only when something happens: whether it may is asked instead.
		for _, name := range append(slices.Clone(rule.ResourceNames), "") {
			if (name == "") != (len(rule.ResourceNames) == 0) {
				continue
			}
			for _, verb := range rule.Verbs {
				allowed, err := p.allowed(r.account.Name, verb, rule.APIGroups[0], rule.Resources[0], r.namespace, name)
				if err != nil {
					return err
				}
				if !allowed {
					return fmt.Errorf("forbidden: %s %s", verb, name)
				}
			}
		}
		return nil
	}
	// With what the engine does itself.
	m := mustRender(p.t)
	inv, err := p.engine.LoadInventory(ctx, m)
	if err != nil {
		return err
	}
	obs, err := p.engine.Observe(ctx, m, inv)
	if err != nil {
		return err
	}
	for _, live := range obs.Live {
		if live.State == plan.Unknown {
			return errors.New(live.Detail)
		}
	}
	return nil
}

func (p *plant) objectsOf(m render.Manifests, component string) []render.Object {
	return slices.DeleteFunc(m.Objects(), func(o render.Object) bool { return o.Component() != component })
}

// Every rule, and of the rules about objects every verb, is taken away once; each
// time something that the engine does for the real factory has to fail. Creation
// is tried before anything is there, the rest afterwards.
func TestNoneOfTheGeneratedRightsCanBeLeftOut(t *testing.T) {
	p, m := newPlant(t), mustRender(t)
	r := mustComputeFor(t, m)
	// What others need before they can be made: kinds, and roles that are bound.
	foundations := func(o render.Object) bool {
		return plan.IsDefinition(o.ID()) || o.ID().Group == rbacv1.GroupName && !strings.HasSuffix(o.ID().Kind, "Binding")
	}
	created := p.creating(r, m, foundations)
	for _, o := range m.Objects() { // as the administrator, so that objects of the kinds can be tried
		if foundations(o) {
			p.made(o)
		}
	}
	p.engine = p.newEngine() // which learns of the kinds
	created += p.creating(r, m, func(o render.Object) bool { return !foundations(o) && !plan.IsNamespace(o.ID()) })
	p.converge(m)

	verbs, rules := 0, 0
	for _, role := range rolesOf(r) {
		objects := p.objectsOf(m, role.account.Component)
		for i, rule := range role.rules {
			if readsParameters(rule) || readsPods(rule) {
				continue
			}
			try := p.try(role, rule, objects)
			p.set(role, slices.Delete(slices.Clone(role.rules), i, i+1))
			p.missing(fmt.Sprintf("%s in %q: rule %d %v", role.name, role.namespace, i, rule), try)
			rules++
			if !objectRule(rule, "create", "delete", "get", "patch") || role.account.Component == "" {
				continue
			}
			for _, verb := range []string{"get", "patch", "delete"} {
				p.set(role, withoutVerb(role.rules, i, verb))
				p.missing(fmt.Sprintf("%s in %q: %s of rule %d %v", role.name, role.namespace, verb, i, rule), try)
				verbs++
			}
		}
		p.set(role, role.rules)
	}
	p.eventually("all rights are back", func() error {
		for _, o := range p.objectsOf(m, "tekton-chains") {
			if err := p.life(t.Context(), p.as(prefix+"tekton-chains"), o); err != nil {
				return err
			}
		}
		return nil
	})
	t.Logf("%d rules, and of those about objects %d verbs and creation %d times, were taken away", rules, verbs, created)
}

// readsPods says whether a rule is only there to say why a workload is not ready:
// without it nothing fails, and the message says so, which a test of the engine tries.
func readsPods(r rbacv1.PolicyRule) bool {
	return slices.Equal(r.Resources, []string{"events", "pods"}) && slices.Equal(r.Verbs, []string{"list"})
}

// readsParameters says whether a rule is what the API server wants of somebody who
// makes an admission policy with parameters, which is asked for then, and only then:
// see creating.
func readsParameters(r rbacv1.PolicyRule) bool { return slices.Equal(r.ResourceNames, []string{"*"}) }

// creating takes create out of the rules about objects, and rules about parameters
// away, one after the other, while the objects are not there.
func (p *plant) creating(r rights.Rights, m render.Manifests, about func(render.Object) bool) int {
	p.t.Helper()
	n := 0
	for _, role := range rolesOf(r) {
		objects := slices.DeleteFunc(p.objectsOf(m, role.account.Component), func(o render.Object) bool { return !about(o) })
		client := p.as(role.account.Name)
		for i, rule := range role.rules {
			of, without := p.named(objects, role.namespace, rule), withoutVerb(role.rules, i, "create")
			if readsParameters(rule) {
				of = slices.DeleteFunc(slices.Clone(objects), func(o render.Object) bool { return !strings.Contains(string(o.JSON()), `"paramKind":`) })
				without = slices.Delete(slices.Clone(role.rules), i, i+1)
			}
			if len(of) == 0 || !readsParameters(rule) && !slices.Contains(rule.Verbs, "create") {
				continue
			}
			try := func(ctx context.Context) error { return p.write(ctx, client, of[0]) }
			p.eventually("it can be made", func() error { return try(p.t.Context()) })
			p.set(role, without)
			p.missing(fmt.Sprintf("%s in %q: create of rule %d %v", role.name, role.namespace, i, rule), try)
			p.set(role, role.rules)
			n++
		}
	}
	return n
}

func withoutVerb(in []rbacv1.PolicyRule, i int, verb string) []rbacv1.PolicyRule {
	out := slices.Clone(in)
	out[i].Verbs = slices.DeleteFunc(slices.Clone(out[i].Verbs), func(v string) bool { return v == verb })
	return out
}

// made makes an object as its component would have, with every right.
func (p *plant) made(o render.Object) {
	p.t.Helper()
	client, err := dynamic.NewForConfig(p.cluster.Config())
	if err != nil {
		p.t.Fatal(err)
	}
	force := true
	_, err = p.place(client, o).Patch(p.t.Context(), o.ID().Name, types.ApplyPatchType, o.JSON(),
		metav1.PatchOptions{FieldManager: plan.FieldManager(system+"/factory", o.Component()), Force: &force})
	if err != nil {
		p.t.Fatal(err)
	}
	if !plan.IsDefinition(o.ID()) {
		return
	}
	p.eventually(o.ID().Name+" is served", func() error {
		u, err := p.place(client, o).Get(p.t.Context(), o.ID().Name, metav1.GetOptions{})
		if err == nil && !strings.Contains(fmt.Sprint(u.Object["status"]), "Established") {
			err = errors.New("not yet")
		}
		return err
	})
}

// Rows F14 and G10: rights that are taken away fail what needs them, by name,
// and nothing else; when they are back, so is the rest.
func TestARightThatIsTakenAwayFailsItsObjectsAndNoOthers(t *testing.T) { // rows F14, G10
	p, m := newPlant(t), mustRender(t)
	r := mustComputeFor(t, m)
	take := func(name, namespace string, drop func(rbacv1.PolicyRule) bool) (giveBack func()) {
		t.Helper()
		for _, role := range rolesOf(r) {
			if role.name != name || role.namespace != namespace {
				continue
			}
			left := slices.DeleteFunc(slices.Clone(role.rules), drop)
			if len(left) == len(role.rules) {
				t.Fatal("nothing was taken away")
			}
			p.set(role, left)
			return func() { p.set(role, role.rules) }
		}
		t.Fatalf("there is no role %s", name)
		return nil
	}
	configMaps := func(r rbacv1.PolicyRule) bool {
		return slices.Contains(r.Resources, "configmaps") && len(r.ResourceNames) > 0
	}
	t.Run("F14 objects of one kind may not be written", func(t *testing.T) {
		p := &plant{t, p.cluster, p.admin, p.engine}
		giveBack := take(system+":"+prefix+"tekton-chains", "tekton-chains", configMaps)
		p.eventually("the right is gone", func() error {
			allowed, err := p.allowed(prefix+"tekton-chains", "patch", "", "configmaps", "tekton-chains", "chains-config")
			if err == nil && allowed {
				err = errors.New("it may")
			}
			return err
		})
		_, set := p.pass(m, plan.DefaultLimits())
		failed, done := 0, 0
		for _, res := range set.Results {
			ours := res.Component == "tekton-chains" && res.ID.Kind == "ConfigMap"
			switch {
			case ours && res.Action == apply.Failed:
				failed++
				if res.Reason != apply.ReasonForbidden || !res.Retry || !strings.Contains(res.Message, res.ID.Name) || !strings.Contains(res.Message, "cannot patch") ||
					!strings.Contains(res.Message, "system:serviceaccount:millwright-system:millwright-tekton-chains") {
					t.Errorf("%s: %s: %s", plan.Name(res.ID), res.Reason, res.Message)
				}
			case !ours && res.Action != apply.Failed:
				done++
			default:
				t.Errorf("%s is %s: %s %s", plan.Name(res.ID), res.Action, res.Reason, res.Message)
			}
		}
		if failed != 5 || done != len(m.Objects())-5 {
			t.Errorf("%d failed, %d are done", failed, done)
		}
		giveBack()
		p.heals(m)
	})
	t.Run("G10 a kind may not be looked at", func(t *testing.T) {
		p := &plant{t, p.cluster, p.admin, p.engine}
		giveBack := take(system+":millwright:observe", "kyverno", func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "deployments") })
		p.past("delete", "configmap", "kyverno", "-n", "kyverno")
		p.past("delete", "deployment", "kyverno-admission-controller", "-n", "kyverno")
		p.eventually("the right is gone", func() error {
			_, set := p.pass(m, plan.DefaultLimits())
			left := open(set)
			for _, l := range left {
				if !strings.Contains(l, "Deployment kyverno/") && !strings.Contains(l, "Deployment.apps kyverno/") || !strings.Contains(l, "forbidden") {
					t.Errorf("it fails what it should not, or does not say why: %s", l)
				}
			}
			if len(left) != 4 {
				return fmt.Errorf("%d objects are open: %s", len(left), strings.Join(left, "\n"))
			}
			return nil
		})
		if out := p.kubectl("get", "configmap", "kyverno", "-n", "kyverno", "-o", "name"); !strings.Contains(out, "configmap/kyverno") {
			t.Errorf("the rest did not converge: %s", out)
		}
		giveBack()
		p.heals(m)
	})
	t.Run("F14 the account may not be used", func(t *testing.T) {
		p := &plant{t, p.cluster, p.admin, p.engine}
		giveBack := take(system+":millwright:observe", system, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Verbs, "impersonate") })
		p.eventually("the right is gone", func() error {
			allowed, err := p.allowed(controller, "impersonate", "", "serviceaccounts", system, prefix+"kyverno")
			if err == nil && allowed {
				err = errors.New("it may")
			}
			return err
		})
		p.past("patch", "configmap", "feature-flags", "-n", "tekton-pipelines", "--type=merge", "--field-manager=mallory", "-p", `{"data":{"coschedule":"disabled"}}`)
		_, set := p.pass(m, plan.DefaultLimits())
		left := open(set)
		if len(left) != 1 || !strings.Contains(left[0], "feature-flags") || !strings.Contains(left[0], "cannot impersonate") {
			t.Errorf("open are: %s", strings.Join(left, "\n"))
		}
		giveBack()
		p.heals(m)
	})
}

// heals waits until a pass leaves nothing open.
func (p *plant) heals(m render.Manifests) {
	p.t.Helper()
	p.eventually("all is as declared again", func() error {
		_, set := p.pass(m, plan.DefaultLimits())
		if left := open(set); len(left) > 0 {
			return fmt.Errorf("%d objects are open, first %s", len(left), left[0])
		}
		return nil
	})
	p.converge(m)
}
