package reconciler_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/factorytest"
	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render/policy/policytest"
)

func TestMain(m *testing.M) { os.Exit(factorytest.Main(m)) }

var (
	alice   = sigstoretest.Committer{Name: "Alice", Email: "alice@factory.example"}
	mallory = sigstoretest.Committer{Name: "Mallory", Email: "mallory@elsewhere.example"}
	nobody  = sigstoretest.Committer{Name: "Alice", Email: "alice@factory.example", Unsigned: true}
	// Bob and Carol hold the role security; the others sign what is no commit.
	bob     = sigstoretest.Committer{Name: "Bob", Email: "bob@factory.example"}
	carol   = sigstoretest.Committer{Name: "Carol", Email: "carol@factory.example"}
	pulse   = sigstoretest.Committer{Name: "Pulse", Email: "pulse@factory.example"}
	release = sigstoretest.Committer{Name: "Release", Email: "release@factory.example"}
)

// plant is a factory with everything real around it: API server, Git server,
// Sigstore, policy process.
type plant struct {
	t         *testing.T
	cluster   *kubetest.Cluster
	sigstore  *sigstoretest.Sigstore
	git       *gittest.Server
	work      string
	anchor    string
	namespace string
	client    client.Client
	setup     *reconciler.Setup
	loop      *reconciler.Reconciler
	events    *events.FakeRecorder
	// rules are those of the trust policy beside the one for everything.
	rules string
	// late is how far the controller's clock is ahead.
	late time.Duration
	// access is the controller's way to the API server, where it is not the
	// test's own.
	access *rest.Config
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	return newPlantWith(t, "")
}

// newPlantWith adds rules and whatever else to the trust policy of the anchor.
func newPlantWith(t *testing.T, rules string) *plant {
	t.Helper()
	return newPlantAt(t, kubetest.Shared(t), rules)
}

func newPlantAt(t *testing.T, cluster *kubetest.Cluster, rules string) *plant {
	t.Helper()
	p := &plant{t: t, cluster: cluster, sigstore: sigstoretest.Shared(t), work: t.TempDir(), rules: rules}
	p.namespace = "t-" + strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, t.Name()))[:20] + fmt.Sprintf("%04x", time.Now().UnixNano()>>16&0xffff)
	server, err := gittest.Start(t.Context(), t.TempDir(), gittest.Options{Push: true})
	p.must(err)
	t.Cleanup(server.Stop)
	p.git = server
	_, err = server.Create(t.Context(), "factory")
	p.must(err)
	p.seed()
	p.connect()
	p.restart()
	return p
}

func (p *plant) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// seed writes the first tree of the factory repository and pins its commit.
func (p *plant) seed() {
	p.write("factory-config/factory.yaml", factoryConfig)
	p.setPolicy(1, p.rules)
	p.write("overlays/local/base/kustomization.yaml", "resources: [objects.yaml]\n")
	p.write("overlays/local/base/objects.yaml", strings.ReplaceAll(baseObjects, "NAMESPACE", p.namespace+"-work"))
	p.write("overlays/local/app/kustomization.yaml", "resources: [config.yaml]\n")
	p.setConfig("one")
	_, err := p.sigstore.Git(p.t.Context(), p.work, nobody, "init", "-q")
	p.must(err)
	p.anchor = p.commit(nobody, "anchor")
}

func (p *plant) write(path, text string) {
	p.t.Helper()
	full := filepath.Join(p.work, path)
	p.must(os.MkdirAll(filepath.Dir(full), 0o750))
	p.must(os.WriteFile(full, []byte(text), 0o600))
}

// setPolicy writes a trust policy of a version.
func (p *plant) setPolicy(version int, rules string) {
	p.write("factory-config/trust/policy.yaml", factorytest.Policy(version, p.sigstore.IssuerURL(sigstoretest.Person))+rules)
}

// setConfig changes the one ConfigMap of the component app.
func (p *plant) setConfig(value string) {
	p.write("overlays/local/app/config.yaml", fmt.Sprintf(
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: %s-work}\ndata: {key: %q}\n", p.namespace, value))
}

// commit commits the work tree as somebody and pushes it.
func (p *plant) commit(who sigstoretest.Committer, message string) string {
	p.t.Helper()
	id, err := p.sigstore.Commit(p.t.Context(), p.work, who, message)
	p.must(err)
	p.push("HEAD")
	return id
}

func (p *plant) push(what string) {
	p.t.Helper()
	_, err := p.sigstore.Git(p.t.Context(), p.work, nobody, "push", "-q", "--force", p.git.Path("factory"), what+":refs/heads/main")
	p.must(err)
}

func (p *plant) connect() {
	var err error
	p.client, err = factorytest.Connect(p.t.Context(), p.cluster.Config(), p.namespace)
	p.must(err)
	p.must(factorytest.Create(p.t.Context(), p.client, factorytest.Factory(p.namespace, p.git.RepoURL("factory"), p.anchor)))
}

// restart forgets everything that a process keeps in memory, as a kill does.
func (p *plant) restart() {
	p.t.Helper()
	access, k := p.cluster.Config(), p.client
	if p.access != nil {
		var err error
		k, err = client.New(p.access, client.Options{Scheme: p.client.Scheme(), Mapper: p.client.RESTMapper()})
		p.must(err)
		access = p.access
	}
	metrics, err := report.NewMetrics(prometheus.NewRegistry())
	p.must(err)
	versions, err := reconciler.Versions(access)
	p.must(err)
	watcher, err := reconciler.NewWatcher(access, p.namespace, make(chan event.GenericEvent, 100))
	p.must(err)
	if p.setup == nil {
		key, _, err := factorytest.Key()
		p.must(err)
		p.setup = &reconciler.Setup{DataDir: p.t.TempDir(), TrustedRoot: p.sigstore.TrustedRootPath, Key: &key}
	}
	p.events = events.NewFakeRecorder(200)
	p.setup.Client, p.setup.Reader, p.setup.REST = k, k, access
	p.setup.Policy, p.setup.Release, p.setup.Clock, p.setup.Version = policytest.Runner(p.t), "test", func() time.Time { return time.Now().Add(p.late) }, versions
	p.setup.Events, p.setup.Metrics, p.setup.Watcher = p.events, metrics, watcher
	p.loop, err = reconciler.New(p.setup)
	p.must(err)
}

// pass runs one pass and returns the Factory after it.
func (p *plant) pass() *v1alpha1.Factory {
	p.t.Helper()
	key := client.ObjectKey{Namespace: p.namespace, Name: "factory"}
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := p.loop.Reconcile(ctx, reconcile.Request{NamespacedName: key}); err != nil {
		p.t.Fatalf("reconcile: %v", err)
	}
	var f v1alpha1.Factory
	p.must(p.client.Get(ctx, key, &f))
	return &f
}

// applied runs one pass that has to end well.
func (p *plant) applied() *v1alpha1.Factory {
	p.t.Helper()
	f := p.pass()
	if c := conditionOf(f, v1alpha1.ConditionReady); c.Status != metav1.ConditionTrue {
		p.t.Fatalf("not ready: %+v", f.Status.Conditions)
	}
	return f
}

// settings is the value in the cluster, empty when it is not there, with its
// resource version.
func (p *plant) settings() (value, version string) {
	p.t.Helper()
	var c corev1.ConfigMap
	err := p.client.Get(p.t.Context(), client.ObjectKey{Namespace: p.namespace + "-work", Name: "settings"}, &c)
	if apierrors.IsNotFound(err) {
		return "", ""
	}
	p.must(err)
	return c.Data["key"], c.ResourceVersion
}

func (p *plant) records() []v1alpha1.AppliedRevision {
	p.t.Helper()
	records, err := reconciler.Chain(p.t.Context(), p.client, client.ObjectKey{Namespace: p.namespace, Name: "factory"})
	p.must(err)
	return records
}

func conditionOf(f *v1alpha1.Factory, name string) metav1.Condition {
	for _, c := range f.Status.Conditions {
		if c.Type == name {
			return c
		}
	}
	return metav1.Condition{}
}

const factoryConfig = factorytest.Config

const baseObjects = `apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: validatingpolicies.policies.kyverno.io}
spec:
  group: policies.kyverno.io
  scope: Cluster
  names: {kind: ValidatingPolicy, listKind: ValidatingPolicyList, plural: validatingpolicies, singular: validatingpolicy}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: policies.kyverno.io/v1
kind: ValidatingPolicy
metadata: {name: no-tokens-in-NAMESPACE}
spec:
  failurePolicy: Fail
  validationActions: [Deny]
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}
  validations:
  - {expression: '!("token" in object.?data.orValue({}))', message: no tokens}
`
