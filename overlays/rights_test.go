package overlays_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/rights"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/upstream"
)

const (
	system     = "millwright-system"
	controller = "millwright-controller"
	prefix     = "millwright-"
)

// manifests is the environment local as the controller renders it.
var manifests = sync.OnceValues(func() (render.Manifests, error) {
	root, err := os.MkdirTemp("", "overlays-")
	if err != nil {
		return render.Manifests{}, err
	}
	defer os.RemoveAll(root)
	for _, dir := range []string{"bases", "overlays", "factory-config"} {
		if err := copyYAML(filepath.Join(root, dir), filepath.Join("..", dir)); err != nil {
			return render.Manifests{}, err
		}
	}
	if _, err := upstream.Materialise(context.Background(), root, nil, upstream.Go("go")); err != nil {
		return render.Manifests{}, err
	}
	rendered, err := reconciler.Render(&render.Renderer{}, os.DirFS(root), "local")
	return rendered.Manifests(), err
})

func mustRender(t *testing.T) render.Manifests {
	t.Helper()
	m, err := manifests()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// plant is a cluster of its own with the install of overlays/local/millwright:
// what an administrator does before the factory is there.
type plant struct {
	t       *testing.T
	cluster *kubetest.Cluster
	admin   *kubernetes.Clientset
	engine  *apply.Engine
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	cluster, err := kubetest.Start(t.Context(), t.TempDir(), kubetest.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	p := &plant{t: t, cluster: cluster, admin: kubernetes.NewForConfigOrDie(cluster.Config())}
	p.aggregate("view")
	p.install("millwright")
	p.eventually("the rights are in force", func() error {
		return p.may(prefix+"namespaces", rbacv1.PolicyRule{Verbs: []string{"patch"}, APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{"kyverno"}}, "")
	})
	p.engine = p.newEngine()
	return p
}

// aggregate fills a role of Kubernetes as the controller does that does not run
// here: without rules, anybody might bind it.
func (p *plant) aggregate(name string) {
	p.t.Helper()
	roles := p.admin.RbacV1().ClusterRoles()
	var from, to *rbacv1.ClusterRole
	p.eventually("the roles of Kubernetes are there", func() (err error) {
		if from, err = roles.Get(p.t.Context(), "system:aggregate-to-"+name, metav1.GetOptions{}); err == nil {
			to, err = roles.Get(p.t.Context(), name, metav1.GetOptions{})
		}
		return err
	})
	to.Rules = from.Rules
	if _, err := roles.Update(p.t.Context(), to, metav1.UpdateOptions{}); err != nil {
		p.t.Fatal(err)
	}
}

// install builds an overlay of local with the library that kubectl has built in,
// and applies it as kubectl apply -k does.
func (p *plant) install(overlay string) {
	p.t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("local", overlay))
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(p.t.Context(), p.cluster.Kubectl, "--kubeconfig", p.cluster.Kubeconfig, "apply", "--server-side", "--field-manager=bootstrap", "-f", "-")
	cmd.Stdin = bytes.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("installing: %v\n%s", err, out)
	}
}

// newEngine is an engine that has what the controller has, and nothing else.
func (p *plant) newEngine() *apply.Engine {
	p.t.Helper()
	access, err := p.cluster.ServiceAccount(p.t.Context(), system, controller, time.Hour)
	if err != nil {
		p.t.Fatal(err)
	}
	e, err := apply.New(access, apply.Options{Factory: "factory", Namespace: system, AccountPrefix: prefix})
	if err != nil {
		p.t.Fatal(err)
	}
	return e
}

func (p *plant) eventually(what string, holds func() error) {
	p.t.Helper()
	p.within(time.Minute, what, holds)
}

func (p *plant) within(limit time.Duration, what string, holds func() error) {
	p.t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = holds(); err == nil {
			return
		}
	}
	p.t.Fatalf("waited in vain until %s: %v", what, err)
}

// pass is one pass up to what became of it.
func (p *plant) pass(m render.Manifests, limits plan.Limits) (plan.Plan, apply.ChangeSet) {
	p.t.Helper()
	ctx := p.t.Context()
	inv, err := p.engine.LoadInventory(ctx, m)
	if err != nil {
		p.t.Fatal(err)
	}
	obs, err := p.engine.Observe(ctx, m, inv)
	if err != nil {
		p.t.Fatal(err)
	}
	todo, err := plan.Compute(m, obs, limits)
	if err != nil {
		p.t.Fatal(err)
	}
	set, err := p.engine.Apply(ctx, todo)
	if err != nil {
		p.t.Fatal(err)
	}
	return todo, set
}

// open lists what a change set left undone.
func open(set apply.ChangeSet) []string {
	var out []string
	for _, r := range set.Results {
		if slices.Contains([]apply.Action{apply.Failed, apply.Waiting, apply.Deleting}, r.Action) {
			out = append(out, fmt.Sprintf("%s: %s %s: %s", plan.Name(r.ID), r.Action, r.Reason, r.Message))
		}
	}
	return out
}

func (p *plant) converge(m render.Manifests) apply.ChangeSet {
	p.t.Helper()
	_, set := p.pass(m, plan.DefaultLimits())
	if left := open(set); len(left) > 0 {
		p.t.Fatalf("%d objects are not as declared:\n%s", len(left), strings.Join(left, "\n"))
	}
	if todo, _ := p.pass(m, plan.DefaultLimits()); !todo.Empty() {
		p.t.Fatalf("a second pass has something to do:\n%s", todo.Text())
	}
	return set
}

// kubectl runs the administrator's kubectl.
func (p *plant) kubectl(args ...string) string {
	p.t.Helper()
	out, err := exec.CommandContext(p.t.Context(), p.cluster.Kubectl, append([]string{"--kubeconfig", p.cluster.Kubeconfig}, args...)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// past is kubectl in the hands of somebody whom POL-K16 lets through.
func (p *plant) past(args ...string) {
	p.t.Helper()
	p.kubectl(append(asUser(reconcilers), args...)...)
}

// The whole life of a factory with nothing but the generated rights: everything
// is made, what others change is put back, what is not declared any more is
// deleted. One test, since each step stands on the one before.
func TestTheGeneratedRightsAreEnoughForTheWholeLifeOfTheFactory(t *testing.T) {
	p, m := newPlant(t), mustRender(t)
	began := time.Now()
	set := p.converge(m)
	if n := len(m.Objects()); len(set.Results) != n {
		t.Fatalf("%d results for %d objects", len(set.Results), n)
	}
	t.Logf("%d objects applied as %d accounts in %v: %v", len(set.Results), len(m.Components()), time.Since(began), set.Count())

	t.Run("drift is put back", func(t *testing.T) {
		p := &plant{t, p.cluster, p.admin, p.engine}
		p.past("patch", "configmap", "feature-flags", "-n", "tekton-pipelines", "--type=merge", "--field-manager=mallory", "-p", `{"data":{"coschedule":"disabled"}}`)
		p.past("delete", "deployment", "kyverno-admission-controller", "-n", "kyverno")
		p.past("delete", "clusterrolebinding", "kyverno:admission-controller:view")
		p.past("delete", "secret", "signing-secrets", "-n", "tekton-chains")
		set := p.converge(m)
		if got := len(set.Corrected()); got != 4 {
			t.Errorf("%d objects were put back, want 4: %v", got, set.Count())
		}
	})
	t.Run("a new process finds everything again", func(t *testing.T) {
		p := &plant{t, p.cluster, p.admin, p.newEngine()}
		if todo, _ := p.pass(m, plan.DefaultLimits()); !todo.Empty() {
			t.Errorf("it has something to do:\n%s", todo.Text())
		}
	})
	// Nothing that the factory declares keeps whoever installed the controller from
	// doing so again, now with the identity that the factory gives it.
	t.Run("the install is changed beside it", func(t *testing.T) {
		p := &plant{t, p.cluster, p.admin, p.newEngine()}
		p.install("millwright-identity")
		p.install("millwright-identity")
		if todo, _ := p.pass(m, plan.DefaultLimits()); !todo.Empty() {
			t.Errorf("that is nothing of the factory's, but it has something to do:\n%s", todo.Text())
		}
	})
	t.Run("an account writes no objects of another component but those that were found", func(t *testing.T) {
		(&plant{t, p.cluster, p.admin, p.engine}).apart(m)
	})
	t.Run("what is not declared any more is deleted", func(t *testing.T) {
		p := &plant{t, p.cluster, p.admin, p.engine}
		limits, left, deleted := plan.Limits{MaxPrune: 1000, MaxPrunePercent: 100, AllowProtected: true}, only(t, m, "namespaces"), 0
		// The API server ends a definition a moment after it was asked to. On a busy
		// machine it may lose sight of one (its finalizer takes a conflict for a sign
		// that it is called again) until it looks at all of them, every five minutes.
		p.within(6*time.Minute, "everything is gone", func() error {
			_, set := p.pass(left, limits)
			deleted += set.Count()[apply.Pruned]
			for _, o := range open(set) {
				if !strings.Contains(o, "customresourcecleanup") {
					t.Fatal(o)
				}
			}
			if waiting := open(set); len(waiting) > 0 {
				return fmt.Errorf("definitions are being deleted: %s", strings.Join(waiting, "; "))
			}
			return nil
		})
		if todo, _ := p.pass(left, limits); !todo.Empty() || deleted < 100 {
			t.Errorf("%d objects were deleted; left to do:\n%s", deleted, todo.Text())
		}
	})
}

// only are the manifests with one component left.
func only(t *testing.T, m render.Manifests, component string) render.Manifests {
	t.Helper()
	tree, text := map[string]string{}, ""
	for _, o := range m.Objects() {
		if o.Component() == component {
			text += "---\n" + string(o.JSON()) + "\n"
		}
	}
	tree["kustomization.yaml"] = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [objects.yaml]\n"
	tree["objects.yaml"] = text
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, component), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range tree {
		if err := os.WriteFile(filepath.Join(root, component, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left, err := render.Render(os.DirFS(filepath.Dir(root)), filepath.Base(root), []render.Component{{Name: component, Path: filepath.Base(root) + "/" + component}}, render.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// may asks the API server whether an account may do what a rule says under its
// first name.
func (p *plant) may(account string, r rbacv1.PolicyRule, namespace string) error {
	allowed, err := p.allowed(account, r.Verbs[0], r.APIGroups[0], r.Resources[0], namespace, r.ResourceNames[0])
	if err == nil && !allowed {
		err = fmt.Errorf("%s may not", account)
	}
	return err
}

func (p *plant) allowed(account, verb, group, resource, namespace, name string) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:serviceaccount:" + system + ":" + account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + system, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Namespace: namespace, Name: name},
	}}
	out, err := p.admin.AuthorizationV1().SubjectAccessReviews().Create(p.t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return out.Status.Allowed, nil
}

// apart asks for every account and every object of another component whether
// it may be written, and wants that only where a finding says so.
func (p *plant) apart(m render.Manifests) {
	found := map[string]bool{}
	for _, a := range mustComputeFor(p.t, m).Components {
		for _, f := range a.Findings {
			if f.Kind == rights.FindingReach {
				found[a.Component+" → "+strings.TrimPrefix(f.Object, "component ")] = true
			}
		}
	}
	reached, asked := map[string]bool{}, 0
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for _, c := range m.Components() {
		for _, o := range m.Objects() {
			if o.Component() == c.Name {
				continue
			}
			r, err := p.engine.Resource(p.t.Context(), o.APIVersion(), o.ID().Kind)
			if err != nil {
				p.t.Fatal(err)
			}
			for _, verb := range []string{"create", "patch", "delete", "impersonate"} {
				asked++
				slots <- struct{}{}
				all.Go(func() {
					defer func() { <-slots }()
					allowed, err := p.allowed(prefix+c.Name, verb, r.Group, r.GroupVersionResource.Resource, o.ID().Namespace, o.ID().Name)
					if err != nil {
						p.t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					if allowed {
						reached[c.Name+" → "+o.Component()] = true
					}
				})
			}
		}
	}
	all.Wait()
	if diff := cmp.Diff(found, reached); diff != "" {
		p.t.Errorf("accounts that may write objects of other components (-found +allowed):\n%s", diff)
	}
	p.t.Logf("%d questions, %d pairs may", asked, len(reached))
}

func mustComputeFor(t *testing.T, m render.Manifests) rights.Rights {
	t.Helper()
	r, err := rights.Compute(m, rights.Accounts{Factory: "factory", Namespace: system, Prefix: prefix, Controller: controller}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
