package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/e2e/registrytest"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/factorytest"
	"millwright.dev/millwright/reconciler/faultproxy"
	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/render/policy/policytest"
	"millwright.dev/millwright/tools/process"
)

// A test process that finds childMark in its environment is a controller: the
// real one, from flags to exit. What ends it at a point is in this file and
// nowhere in the program.
const (
	childMark  = "MILLWRIGHT_TEST_CONTROLLER"
	childPoint = "MILLWRIGHT_TEST_KILL_AT" // "POINT#N": SIGKILL at the Nth time
	childGroup = "MILLWRIGHT_TEST_GROUP"   // the folder of a control group to work in
)

func TestMain(m *testing.M) {
	if os.Getenv(childMark) != "" {
		os.Exit(child())
	}
	os.Exit(factorytest.Main(m))
}

// child is main, with a way to die.
func child() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if dir := os.Getenv(childGroup); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o600); err != nil {
			return 3
		}
	}
	signal.Ignore(syscall.SIGXFSZ) // a write over the limit is to fail as on a full disk
	opts, err := parse(os.Args[1:], os.Stderr)
	if err != nil {
		return 2
	}
	opts.interrupt = interruptFrom(os.Getenv(childPoint), func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) })
	if err := run(ctx, opts, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "millwright-controller:", err)
		return 1
	}
	return 0
}

func interruptFrom(at string, die func()) reconciler.Interrupt {
	point, text, ok := strings.Cut(at, "#")
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil
	}
	var met atomic.Int64
	return func(now string) error {
		if now == point && met.Add(1) == n {
			die()
		}
		return nil
	}
}

var (
	alice  = sigstoretest.Committer{Name: "Alice", Email: "alice@factory.example"}
	nobody = sigstoretest.Committer{Name: "Alice", Email: "alice@factory.example", Unsigned: true}
)

// small is how many ConfigMaps the factory of these tests has.
const small = 20

// world is a factory with everything real around it, and controllers that are
// processes of their own.
type world struct {
	t         *testing.T
	cluster   *kubetest.Cluster
	sigstore  *sigstoretest.Sigstore
	git       *gittest.Server
	proxy     *faultproxy.Proxy
	client    client.Client
	key       attest.Key
	namespace string
	work, dir string
	anchor    string
	// atGit and atRegistry are asked about each request; true means: say no more.
	atGit      atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler)]
	atRegistry atomic.Pointer[func(*http.Request)]
	repository string
	started    int
}

// newWorld is one with the name in its namespace; the registry may be nil.
func newWorld(t *testing.T, name string, registry *registrytest.Server) *world {
	t.Helper()
	w := &world{
		t: t, cluster: kubetest.Shared(t), sigstore: sigstoretest.Shared(t), work: t.TempDir(), dir: t.TempDir(),
		namespace: fmt.Sprintf("%s-%04x", name, time.Now().UnixNano()>>16&0xffff),
	}
	var err error
	w.git, err = gittest.Start(t.Context(), t.TempDir(), gittest.Options{Push: true, Around: w.aroundGit})
	w.must(err)
	t.Cleanup(w.git.Stop)
	_, err = w.git.Create(t.Context(), "factory")
	w.must(err)
	w.proxy, err = faultproxy.Start(w.cluster.Config())
	w.must(err)
	t.Cleanup(w.proxy.Stop)
	w.must(w.cluster.WriteKubeconfig(w.path("kubeconfig"), w.proxy.Config()))
	w.writeKey()
	if registry != nil {
		w.frontRegistry(registry)
	}
	w.client, err = factorytest.Connect(t.Context(), w.cluster.Config(), w.namespace)
	w.must(err)
	w.seed()
	w.create()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.log(15))
	}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// log is the end of what the newest controller wrote.
func (w *world) log(lines int) string {
	data, err := os.ReadFile(w.path(fmt.Sprintf("controller-%d.log", w.started)))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (w *world) aroundGit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if at := w.atGit.Load(); at != nil {
			(*at)(rw, r, next)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// frontRegistry puts something in front of the registry that can look at requests.
func (w *world) frontRegistry(registry *registrytest.Server) {
	target, err := url.Parse("http://" + registry.Host)
	w.must(err)
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ErrorLog = log.New(io.Discard, "", 0) // clients that die are what is tried
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if at := w.atRegistry.Load(); at != nil {
			(*at)(r)
		}
		forward.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(server.Close)
	w.repository = strings.TrimPrefix(server.URL, "http://") + "/factory/" + w.namespace
}

func (w *world) writeKey() {
	key, text, err := factorytest.Key()
	w.must(err)
	w.must(os.WriteFile(w.path("key.pem"), text, 0o600))
	w.key = key
}

// create makes the Factory.
func (w *world) create() {
	f := factorytest.Factory(w.namespace, w.git.RepoURL("factory"), w.anchor)
	f.Labels = map[string]string{"shard": w.namespace}
	f.Spec.Source.Interval, f.Spec.Attest.Repository = metav1.Duration{Duration: time.Second}, w.repository
	w.must(factorytest.Create(w.t.Context(), w.client, f))
}

// until waits for something with a deadline for busy machines.
func (w *world) until(what string, so func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain until %s; the Factory: %+v\n%s", what, w.factory().Status, w.log(15))
		}
	}
}

func (w *world) write(path, text string) {
	w.t.Helper()
	full := filepath.Join(w.work, path)
	w.must(os.MkdirAll(filepath.Dir(full), 0o750))
	w.must(os.WriteFile(full, []byte(text), 0o600))
}

// seed writes the first tree and pins it.
func (w *world) seed() {
	w.write("factory-config/factory.yaml", factoryConfig)
	w.write("factory-config/trust/policy.yaml", factorytest.Policy(1, w.sigstore.IssuerURL(sigstoretest.Person)))
	w.write("overlays/local/base/kustomization.yaml", "resources: [objects.yaml]\n")
	w.write("overlays/local/base/objects.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+w.namespace+"-work}\n")
	w.write("overlays/local/app/kustomization.yaml", "resources: [objects.yaml]\n")
	w.declare("none", small)
	_, err := w.sigstore.Git(w.t.Context(), w.work, nobody, "init", "-q")
	w.must(err)
	w.anchor = w.commit(nobody)
}

// declare writes n ConfigMaps with a value.
func (w *world) declare(value string, n int) {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-%02d, namespace: %s-work}\ndata: {key: %q}\n", i, w.namespace, value)
	}
	w.write("overlays/local/app/objects.yaml", out.String())
}

// commit commits what is there as somebody and pushes it.
func (w *world) commit(who sigstoretest.Committer) string {
	w.t.Helper()
	id, err := w.sigstore.Commit(w.t.Context(), w.work, who, "a change")
	w.must(err)
	_, err = w.sigstore.Git(w.t.Context(), w.work, nobody, "push", "-q", "--force", w.git.Path("factory"), "HEAD:refs/heads/main")
	w.must(err)
	return id
}

// revise commits n ConfigMaps with a value, signed.
func (w *world) revise(value string, n int) string {
	w.t.Helper()
	w.declare(value, n)
	return w.commit(alice)
}

// controller is a running child.
type controller struct {
	*process.Process
	log string
}

// start starts a controller with settings for its death and with more flags.
func (w *world) start(env []string, flags ...string) *controller {
	w.t.Helper()
	self, err := os.Executable()
	w.must(err)
	w.started++
	output := w.path(fmt.Sprintf("controller-%d.log", w.started))
	args := append([]string{
		"--kubeconfig", w.path("kubeconfig"), "--data-dir", w.path("data"), "--namespace", w.namespace,
		"--trusted-root", w.sigstore.TrustedRootPath, "--policy-engine", policytest.Runner(w.t).Path,
		"--attest-key", w.path("key.pem"), "--frontier-key-file", w.path("frontier-key"), "--shard-selector", "shard=" + w.namespace,
	}, flags...)
	p, err := process.Start(process.Spec{
		Name: "millwright-controller", Path: self, Args: args, Dir: w.dir, Log: output,
		Env: append([]string{childMark + "=1", "HOME=" + w.dir, "TMPDIR=" + os.TempDir()}, env...),
	})
	w.must(err)
	w.t.Cleanup(p.Kill)
	return &controller{p, output}
}

// ended waits for the end of a controller.
func (w *world) ended(c *controller) {
	w.t.Helper()
	w.until("the controller has ended", func() bool {
		select {
		case <-c.Done():
			return true
		default:
			return false
		}
	})
}

func (w *world) factory() *v1alpha1.Factory {
	w.t.Helper()
	var f v1alpha1.Factory
	if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "factory"}, &f); err != nil && w.t.Context().Err() == nil {
		w.t.Errorf("reading the Factory: %v", err)
	}
	return &f
}

// applied waits until a commit is applied and everything said about it.
func (w *world) applied(commit string) {
	w.t.Helper()
	w.until("commit "+commit[:8]+" is applied", func() bool {
		f := w.factory()
		for _, c := range f.Status.Conditions {
			if c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue {
				return f.Status.Applied != nil && f.Status.Applied.Commit == commit
			}
		}
		return false
	})
}

// values counts the declared ConfigMaps by value.
func (w *world) values() map[string]int {
	w.t.Helper()
	var list corev1.ConfigMapList
	w.must(w.client.List(w.t.Context(), &list, client.InNamespace(w.namespace+"-work")))
	out := map[string]int{}
	for _, c := range list.Items {
		out[c.Data["key"]]++
	}
	return out
}

// writes counts what was really written to declared objects.
func (w *world) writes() map[string]int {
	out := map[string]int{}
	for _, s := range w.proxy.Writes() {
		if s.Verb == "apply" || s.Verb == "delete" {
			out[s.Verb+" "+s.Object()]++
		}
	}
	return out
}

func (w *world) records() []v1alpha1.AppliedRevision {
	w.t.Helper()
	records, err := reconciler.Chain(w.t.Context(), w.client, client.ObjectKey{Namespace: w.namespace, Name: "factory"})
	w.must(err)
	return records
}

// promises are P1 to P4 while a controller runs: all is as declared, each
// revision has one record, the chain is whole, passes without news write
// nothing, and an unsigned commit changes nothing.
func (w *world) promises(value string, n, records int) {
	w.t.Helper()
	if got, want := w.values(), map[string]int{value: n}; !maps.Equal(got, want) {
		w.t.Errorf("the cluster has %v, want %v", got, want)
	}
	w.audit(records)
	before := w.writes()
	w.declare("evil", n)
	w.commit(nobody)
	w.until("the unsigned commit is refused", func() bool { return w.factory().Status.Refused != nil })
	asked := w.git.Requests()
	w.until("another pass was made", func() bool { return w.git.Requests() >= asked+2 })
	if after := w.writes(); !maps.Equal(before, after) || w.values()["evil"] != 0 {
		w.t.Errorf("written without news: before %v, after %v; the cluster has %v", before, after, w.values())
	}
	w.audit(records)
}

// audit walks the chain as `millwright audit` does.
func (w *world) audit(records int) {
	w.t.Helper()
	data, err := os.ReadFile(w.sigstore.TrustedRootPath)
	w.must(err)
	material, err := attest.ParseTrustedRoot(data)
	w.must(err)
	chain := w.records()
	result, err := attest.Audit(reconciler.Records(chain), attest.Options{
		TrustedRoot: material, Policies: []attest.Policy{{Key: w.key.Public(), UnsafeWithoutLog: true}},
	})
	w.must(err)
	seen := map[string]bool{}
	for _, r := range result.Records {
		if seen[r.Commit] {
			w.t.Errorf("commit %s has two records", r.Commit)
		}
		seen[r.Commit] = true
	}
	if !result.OK || len(result.Records) != records {
		w.t.Errorf("audit: %d records, want %d\n%s", len(result.Records), records, result.Text())
	}
}

const factoryConfig = factorytest.Config
