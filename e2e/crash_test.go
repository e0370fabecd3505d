package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // the client library's, which would complain that there is none
	os.Exit(m.Run())
}

// objects is how many ConfigMaps the small factory of these tests has: enough
// to be killed in the middle of them.
const objects = 400

// moment is a point of the first pass at which the controller is killed.
type moment struct {
	// prepare takes something away beforehand, so that the moment lasts.
	prepare func(*crash)
	// reached waits for the moment, by looking at the API alone.
	reached func(*crash)
	// mend gives back what prepare took.
	mend func(*crash)
}

// TestAControllerThatIsKilledConvergesToOneRecord is the promise that a process
// can die at any point: the next one goes on, evidence is neither lost nor
// doubled, and the plan is empty in the end.
func TestAControllerThatIsKilledConvergesToOneRecord(t *testing.T) {
	programs := t.TempDir()
	if err := localfactory.Build(t.Context(), "..", programs); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]moment{
		"when the intent is stored":                {reached: (*crash).intended},
		"between two writes":                       {reached: (*crash).halfApplied},
		"between the last write and the signature": {prepare: (*crash).holdFulcio, reached: (*crash).applied, mend: (*crash).releaseFulcio},
		"between the record and the registry":      {prepare: (*crash).stopRegistry, reached: (*crash).recorded, mend: (*crash).startRegistry},
	} {
		t.Run(name, func(t *testing.T) { newCrash(t, programs).at(at) })
	}
}

// crash is a site whose controller is killed.
type crash struct {
	t      *testing.T
	site   *localfactory.Site
	api    client.Client
	alice  localfactory.Person
	commit string
}

func newCrash(t *testing.T, programs string) *crash {
	t.Helper()
	site, err := localfactory.Start(t.Context(), localfactory.Options{Dir: t.TempDir(), Root: "..", Programs: programs, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(site.Stop)
	c := &crash{t: t, site: site}
	c.api, err = site.Client()
	c.must(err)
	c.alice, err = site.Person(t.Context(), "alice")
	c.must(err)
	c.must(site.Install(t.Context()))
	return c
}

func (c *crash) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%v\nthe end of the controller's log:\n%s", err, c.site.ControllerLog(10))
	}
}

// at has the controller killed in its first pass, started again, and its work
// checked.
func (c *crash) at(m moment) {
	ctx := c.t.Context()
	anchor := c.push()
	if m.prepare != nil {
		m.prepare(c)
	}
	c.must(c.site.StartController(ctx, c.site.PolicyEngine()))
	c.must(c.api.Create(ctx, c.site.Factory(anchor, 5*time.Second)))
	m.reached(c)
	c.site.KillController()
	if m.mend != nil {
		m.mend(c)
	}
	began := time.Now()
	c.must(c.site.StartController(ctx, c.site.PolicyEngine()))
	f, err := localfactory.Await(ctx, c.api, 90*time.Second, localfactory.Applied(c.commit))
	c.must(err)
	c.t.Logf("converged %v after the restart", time.Since(began).Round(time.Millisecond))
	c.oneRecord()
	c.everythingIsThere(f)
	c.clean()
}

// push makes a repository whose newest commit alice signed, and returns the
// anchor.
func (c *crash) push() string {
	ctx := c.t.Context()
	c.must(c.site.Write("factory-config/trust/policy.yaml", c.site.Policy(1, c.alice)))
	anchor, err := c.site.Repository(ctx, c.alice)
	c.must(err)
	for name, content := range smallFactory() {
		c.must(c.site.Write(name, content))
	}
	for _, args := range []string{"git add --all", "git commit --quiet -S -m small", "git push --quiet origin main"} {
		_, err := c.site.Must(ctx, c.alice, strings.Fields(args)...)
		c.must(err)
	}
	c.commit, err = c.site.Head(ctx, c.alice)
	c.must(err)
	return anchor
}

// smallFactory is a factory with two components: a namespace and a definition
// first, then many small objects and one of the defined kind.
func smallFactory() map[string]string {
	var settings strings.Builder
	for i := range objects {
		fmt.Fprintf(&settings, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-%03d, namespace: small}\ndata: {number: \"%d\"}\n---\n", i, i)
	}
	settings.WriteString("apiVersion: small.test/v1\nkind: Widget\nmetadata: {name: w, namespace: small}\n")
	return map[string]string{
		"factory-config/factory.yaml": `apiVersion: millwright.dev/v1alpha1
kind: FactoryConfig
metadata: {name: factory}
spec:
  environments:
  - name: local
    overlay: overlays/local
    health: {mode: Unknown, reason: nothing runs here}
  components:
  - {name: first, path: first, drift: correct}
  - {name: then, path: then, dependsOn: [first], drift: correct}
`,
		"overlays/local/first/kustomization.yaml": kustomization("first.yaml"),
		"overlays/local/then/kustomization.yaml":  kustomization("then.yaml"),
		"overlays/local/first/first.yaml": `apiVersion: v1
kind: Namespace
metadata: {name: small}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.small.test}
spec:
  group: small.test
  scope: Namespaced
  names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
`,
		"overlays/local/then/then.yaml": settings.String(),
	}
}

func kustomization(resource string) string {
	return "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + resource + "]\n"
}

// until asks again until something is so.
func (c *crash) until(what string, so func(context.Context) (bool, error)) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		ok, err := so(ctx)
		if ctx.Err() != nil {
			c.must(errors.New("waited in vain until " + what))
		}
		c.must(err)
		if ok {
			return
		}
		time.Sleep(3 * time.Millisecond)
	}
}

// count is the number of ConfigMaps that exist.
func (c *crash) count(ctx context.Context) int {
	md, err := metadata.NewForConfig(c.site.Cluster.Config())
	c.must(err)
	list, err := md.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("small").List(ctx, metav1.ListOptions{})
	c.must(err)
	return len(list.Items)
}

func (c *crash) records(ctx context.Context) []v1alpha1.AppliedRevision {
	var list v1alpha1.AppliedRevisionList
	c.must(c.api.List(ctx, &list))
	return slices.DeleteFunc(list.Items, func(r v1alpha1.AppliedRevision) bool { return !r.Spec.InChain() })
}

func (c *crash) intended() {
	c.until("the intent is stored", func(ctx context.Context) (bool, error) {
		f, err := localfactory.GetFactory(ctx, c.api)
		return err == nil && f.Status.Intent != nil, err
	})
	if n := c.count(c.t.Context()); n == objects {
		c.t.Fatal("everything was written before anybody could look")
	}
}

func (c *crash) halfApplied() {
	c.until("some objects exist", func(ctx context.Context) (bool, error) { return c.count(ctx) >= objects/8, nil })
	c.site.KillController()
	if n := c.count(c.t.Context()); n == objects {
		c.t.Fatal("everything was written before anybody could look")
	}
}

// applied is reached when every object is there, and stays so while the
// controller waits for a certificate.
func (c *crash) applied() {
	c.until("every object exists", func(ctx context.Context) (bool, error) {
		f, err := localfactory.GetFactory(ctx, c.api)
		return err == nil && f.Status.Intent != nil && c.count(ctx) == objects, err
	})
	time.Sleep(500 * time.Millisecond)
	if n := len(c.records(c.t.Context())); n != 0 {
		c.t.Fatalf("there are %d records before the signature", n)
	}
}

// recorded is reached when the record exists that the registry does not have.
func (c *crash) recorded() {
	c.until("the record exists", func(ctx context.Context) (bool, error) { return len(c.records(ctx)) > 0, nil })
	if r := c.records(c.t.Context()); r[0].Status.Stored {
		c.t.Fatal("it was stored in a registry that is away")
	}
}

func (c *crash) holdFulcio()    { c.fulcio(syscall.SIGSTOP) }
func (c *crash) releaseFulcio() { c.fulcio(syscall.SIGCONT) }

func (c *crash) fulcio(signal syscall.Signal) {
	server, err := c.site.Sigstore.Server("fulcio")
	c.must(err)
	c.must(server.Signal(signal))
}

func (c *crash) stopRegistry()  { c.site.Registry.Stop() }
func (c *crash) startRegistry() { c.must(c.site.Registry.Restart(c.t.Context())) }

// oneRecord wants exactly one record, which the registry has too.
func (c *crash) oneRecord() {
	records := c.records(c.t.Context())
	if len(records) != 1 {
		c.t.Fatalf("there are %d records", len(records))
	}
	if r := records[0]; r.Spec.Commit != c.commit || r.Spec.Sequence != 1 || !r.Status.Stored {
		c.t.Errorf("the record is of commit %s, number %d, stored: %t", r.Spec.Commit, r.Spec.Sequence, r.Status.Stored)
	}
}

func (c *crash) everythingIsThere(f *v1alpha1.Factory) {
	now, err := c.site.Snapshot(c.t.Context())
	c.must(err)
	if got, want := now.ManagedBy("millwright/"), int(f.Status.Applied.Objects); got != want || want != objects+3 {
		c.t.Errorf("%d objects are the factory's, applied are %d, declared are %d", got, want, objects+3)
	}
}

// clean wants a clean audit and an empty plan, from the real commands.
func (c *crash) clean() {
	for _, args := range []string{
		"millwright audit factory --trusted-root trusted_root.json --certificate-identity " + localfactory.Subject +
			" --certificate-oidc-issuer " + c.site.Sigstore.IssuerURL(sigstoretest.Workload),
		"millwright plan factory --trusted-root trusted_root.json --policy-engine bin/millwright-policy",
		"millwright status",
	} {
		out, err := c.site.Must(c.t.Context(), c.site.Operator(), strings.Fields(args)...)
		c.must(err)
		c.t.Logf("%s\n%s", args, out)
	}
}
