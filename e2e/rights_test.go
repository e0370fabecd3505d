package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// restricted is a site with the whole factory, whose controller has what its
// install gives to it and nothing else.
type restricted struct {
	crash
	admin *kubernetes.Clientset
}

// How many objects the project's own factory has at a site, and how many of them
// are its policies for Kyverno.
const (
	declared = 280
	policies = 4
)

// TestTheWholeFactoryRunsWithTheRightsOfItsInstall has the real controller, with
// a token of its service account and what overlays/local/millwright gives to it,
// apply and attest the whole factory, put drift back, prune, and say what it may
// not do. One test, since each step stands on the one before.
func TestTheWholeFactoryRunsWithTheRightsOfItsInstall(t *testing.T) {
	ctx := t.Context()
	site, err := localfactory.Start(ctx, localfactory.Options{Dir: t.TempDir(), Root: "..", Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(site.Stop)
	r := &restricted{crash: crash{t: t, site: site}, admin: kubernetes.NewForConfigOrDie(site.Cluster.Config())}
	r.api, err = site.Client()
	r.must(err)
	r.alice, err = site.Person(ctx, "alice")
	r.must(err)
	r.must(site.InstallRestricted(ctx))
	anchor := r.wholeFactory()
	r.must(site.StartController(ctx, site.PolicyEngine()))
	began := time.Now()
	r.must(r.api.Create(ctx, site.Factory(anchor, 5*time.Second)))
	r.awaitApplied(declared)
	t.Logf("applied and attested after %v", time.Since(began).Round(time.Millisecond))

	r.step("drift is put back", func() {
		r.run("kubectl patch configmap feature-flags -n tekton-pipelines --type=merge --field-manager=mallory -p {\"data\":{\"coschedule\":\"disabled\"}}")
		r.await(func(f *v1alpha1.Factory) error {
			if f.Status.Drift.Corrected < 1 {
				return errors.New("nothing was put back")
			}
			return nil
		})
	})
	r.step("F14 what may not be written is named with the reason, the rest is applied, and it heals", r.degraded)
	r.step("D21 an object that nobody gave rights for is not made, whoever signed it", r.withoutRights)
	r.step("what is not declared any more is deleted", func() {
		r.must(site.Write("overlays/local/kyverno-policies/kustomization.yaml",
			"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n"))
		r.commitAll("no policies of ours")
		r.awaitApplied(declared - policies)
	})
	r.clean()
}

// step is a part of the test that the next ones stand on.
func (r *restricted) step(name string, do func()) {
	r.t.Helper()
	outer := r.t
	outer.Run(name, func(t *testing.T) { r.t = t; do() })
	if r.t = outer; outer.Failed() {
		outer.FailNow()
	}
}

func (r *restricted) run(line string) {
	r.t.Helper()
	out, err := r.site.Must(r.t.Context(), r.site.Operator(), strings.Fields(line)...)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
}

// wholeFactory makes a repository whose newest commit, by alice, has the
// project's own factory, and returns the anchor.
func (r *restricted) wholeFactory() string {
	ctx := r.t.Context()
	r.must(r.site.Write("factory-config/trust/policy.yaml", r.site.Policy(1, r.alice)))
	anchor, err := r.site.Repository(ctx, r.alice)
	r.must(err)
	r.must(r.site.CopyFactory(nil))
	settings, err := r.site.GoEnvironment(ctx)
	r.must(err)
	_, err = r.site.Must(ctx, r.alice.With(settings...), "millwright", "vendor")
	r.must(err)
	r.commitAll("the whole factory")
	return anchor
}

func (r *restricted) commitAll(message string) {
	r.t.Helper()
	ctx := r.t.Context()
	for _, args := range [][]string{
		{"git", "add", "--all"}, {"git", "commit", "--quiet", "-S", "-m", message}, {"git", "push", "--quiet", "origin", "main"},
	} {
		_, err := r.site.Must(ctx, r.alice, args...)
		r.must(err)
	}
	var err error
	r.commit, err = r.site.Head(ctx, r.alice)
	r.must(err)
}

func (r *restricted) await(holds func(*v1alpha1.Factory) error) {
	r.t.Helper()
	_, err := localfactory.Await(r.t.Context(), r.api, 4*time.Minute, holds)
	r.must(err)
}

func (r *restricted) awaitApplied(objects int32) {
	r.t.Helper()
	f, err := localfactory.Await(r.t.Context(), r.api, 5*time.Minute, localfactory.Applied(r.commit))
	r.must(err)
	if f.Status.Applied.Objects != objects {
		r.t.Fatalf("%d objects are applied, want %d", f.Status.Applied.Objects, objects)
	}
}

// failing holds when the Factory says that it may not do something to what the
// words name, while commit is not attested.
func failing(commit string, words ...string) func(*v1alpha1.Factory) error {
	return func(f *v1alpha1.Factory) error {
		if a := f.Status.Applied; a != nil && a.Commit == commit && a.Attestation != "" {
			return fmt.Errorf("%w: commit %s is attested", localfactory.ErrNever, commit)
		}
		applied := localfactory.Condition(f, v1alpha1.ConditionApplied)
		for _, word := range append(words, "Forbidden") {
			if !strings.Contains(applied.Message, word) {
				return fmt.Errorf("the condition Applied does not say %q: %s", word, applied.Message)
			}
		}
		return nil
	}
}

// degraded takes the right to write the ConfigMaps of Chains, and commits a
// change of one of them and of an object of another component.
func (r *restricted) degraded() {
	ctx := r.t.Context()
	const namespace, name = "tekton-chains", "millwright-system:millwright-tekton-chains"
	roles := r.admin.RbacV1().Roles(namespace)
	role, err := roles.Get(ctx, name, metav1.GetOptions{})
	r.must(err)
	whole := slices.Clone(role.Rules)
	role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.Resources, "configmaps") })
	role, err = roles.Update(ctx, role, metav1.UpdateOptions{})
	r.must(err)

	label := func(component, kind, name string) {
		path := "overlays/local/" + component + "/marked.yaml"
		r.must(r.site.Write(path, fmt.Sprintf("apiVersion: v1\nkind: %s\nmetadata: {name: %s, namespace: %s, annotations: {marked: \"yes\"}}\n", kind, name, component)))
		file := "overlays/local/" + component + "/kustomization.yaml"
		text, err := os.ReadFile(r.site.Path("factory", file))
		r.must(err)
		changed := strings.Replace(string(text), "\npatches:\n", "\npatches:\n- path: marked.yaml\n", 1)
		if changed == string(text) {
			changed += "patches:\n- path: marked.yaml\n"
		}
		r.must(r.site.Write(file, changed))
	}
	label("tekton-chains", "ConfigMap", "chains-config")
	label("kyverno", "ConfigMap", "kyverno")
	r.commitAll("marked")
	r.await(failing(r.commit, "ConfigMap tekton-chains/chains-config", `cannot patch`, "millwright-tekton-chains"))
	other, err := r.admin.CoreV1().ConfigMaps("kyverno").Get(ctx, "kyverno", metav1.GetOptions{})
	r.must(err)
	if other.Annotations["marked"] != "yes" {
		r.t.Error("the rest was not applied")
	}
	role.Rules = whole
	_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
	r.must(err)
	r.awaitApplied(declared)
}

// withoutRights commits, signed, a binding that would give the controller's
// account all that a component may: there is no right to make it until an
// administrator makes the rights anew and reads what millwright rbac finds.
func (r *restricted) withoutRights() {
	ctx := r.t.Context()
	const binding = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: more-for-the-controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "kyverno:admission-controller"}
subjects: [{kind: ServiceAccount, name: millwright-controller, namespace: millwright-system}]
`
	file := "overlays/local/kyverno/kustomization.yaml"
	before, err := os.ReadFile(r.site.Path("factory", file))
	r.must(err)
	r.must(r.site.Write("overlays/local/kyverno/more.yaml", binding))
	r.must(r.site.Write(file, strings.Replace(string(before), "resources:\n", "resources:\n- more.yaml\n", 1)))
	r.commitAll("more rights for the controller")
	r.await(failing(r.commit, "more-for-the-controller", "cannot"))
	if _, err := r.admin.RbacV1().ClusterRoleBindings().Get(ctx, "more-for-the-controller", metav1.GetOptions{}); err == nil {
		r.t.Error("the binding was made")
	}
	out, err := r.site.Must(ctx, r.alice, "millwright", "rbac", "--component", "kyverno")
	r.must(err)
	if !strings.Contains(out, "# self: ClusterRoleBinding.rbac.authorization.k8s.io more-for-the-controller") {
		r.t.Error("millwright rbac does not point at the binding")
	}
	r.must(r.site.Write(file, string(before)))
	r.commitAll("none of that")
	r.awaitApplied(declared)
}
