package main

import (
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/reconciler/api"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/audit/audittest"
	"millwright.dev/millwright/reconciler/kubetest"
)

// keptCluster is an API server that has the newest records of a factory, while a
// registry has the older ones.
type keptCluster struct {
	*audittest.Factory

	t                       *testing.T
	k                       client.Client
	kubeconfig, trustedRoot string
}

const kept = "kept-factory"

func newKeptCluster(t *testing.T) *keptCluster {
	t.Helper()
	cluster := kubetest.Shared(t)
	c := &keptCluster{t: t, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"), trustedRoot: filepath.Join(t.TempDir(), "trusted_root.json")}
	c.must(cluster.WriteKubeconfig(c.kubeconfig, cluster.Config()))
	scheme := runtime.NewScheme()
	c.must(errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	var err error
	c.k, err = client.New(cluster.Config(), client.Options{Scheme: scheme})
	c.must(err)
	c.define()
	c.Factory, err = audittest.New(t.TempDir(), time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	c.must(err)
	var system corev1.Namespace
	c.eventually("the namespace kube-system", func() error { return c.k.Get(t.Context(), client.ObjectKey{Name: metav1.NamespaceSystem}, &system) })
	c.Place.Namespace, c.Target.ClusterUID = kept, string(system.UID)
	root, err := c.Virtual.TrustedRootJSON()
	c.must(err)
	c.must(os.WriteFile(c.trustedRoot, root, 0o600))
	return c
}

func (c *keptCluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *keptCluster) eventually(what string, try func() error) {
	c.t.Helper()
	var err error
	for range 600 {
		if err = try(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("%s: %v", what, err)
}

func (c *keptCluster) define() {
	c.t.Helper()
	c.must(fs.WalkDir(api.CRDs, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := api.CRDs.ReadFile(path)
		if err != nil {
			return err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(data, &crd); err != nil {
			return err
		}
		return client.IgnoreAlreadyExists(c.k.Create(c.t.Context(), &crd))
	}))
	err := c.k.Create(c.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: kept}})
	if !apierrors.IsAlreadyExists(err) {
		c.must(err)
	}
}

// store puts records from a number on into the cluster, and those before into a
// registry, beside what strangers put there.
func (c *keptCluster) store(from int64) {
	c.t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	c.t.Cleanup(srv.Close)
	repository := strings.TrimPrefix(srv.URL, "http://") + "/factory/rendered"
	to, err := name.NewRepository(repository)
	c.must(err)
	factory := &v1alpha1.Factory{
		ObjectMeta: metav1.ObjectMeta{Namespace: kept, Name: c.Place.Name},
		Spec: v1alpha1.FactorySpec{
			Source: v1alpha1.SourceSpec{URL: "https://127.0.0.1:1/nowhere", Ref: audittest.Ref}, Verify: v1alpha1.VerifySpec{Anchor: string(c.Anchor)},
			Environment: "production", Attest: v1alpha1.AttestSpec{Signer: "Key", Repository: repository},
		},
	}
	c.eventually("creating the Factory", func() error { return c.k.Create(c.t.Context(), factory.DeepCopy()) })
	for _, r := range c.Records {
		if r.Sequence < from {
			c.must(remote.WriteLayer(to, static.NewLayer([]byte(r.Bundle), "application/vnd.dev.sigstore.bundle.v0.3+json")))
			continue
		}
		c.must(c.k.Create(c.t.Context(), &v1alpha1.AppliedRevision{
			ObjectMeta: metav1.ObjectMeta{Namespace: kept, Name: v1alpha1.AppliedRevisionName(c.Place.Name, r.Sequence)},
			Spec:       v1alpha1.AppliedRevisionSpec{Factory: c.Place.Name, Sequence: r.Sequence, Commit: r.Commit, Digest: r.Digest, Previous: r.Previous, Bundle: r.Bundle},
		}))
	}
	var stored v1alpha1.Factory
	c.must(c.k.Get(c.t.Context(), client.ObjectKeyFromObject(factory), &stored))
	newest := c.Records[len(c.Records)-1]
	stored.Status.Applied = &v1alpha1.Applied{Commit: newest.Commit, Attestation: newest.Digest, Sequence: newest.Sequence, Revision: "main", Rendered: "x", Time: metav1.Now()}
	c.must(c.k.Status().Update(c.t.Context(), &stored))
}

func TestEvidenceIsGatheredFromClusterRegistryAndRepository(t *testing.T) { // row F11
	t.Parallel()
	c := newKeptCluster(t)
	for i := range 4 {
		c.must(c.Change(t.Context(), audittest.Alice, time.Duration(i).String()))
	}
	c.store(3)
	at := []string{"--kubeconfig", c.kubeconfig, "-n", kept, "--repo", c.Dir}
	file := filepath.Join(t.TempDir(), "factory.tar.gz")
	code, stdout, stderr := answer(t, append([]string{"export", c.Place.Name, "--to", file}, at...)...)
	if code != exitYes || !strings.Contains(stdout, "4 records of factory kept-factory/factory") || !strings.Contains(stderr, "without some manifests") {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	_, known, found := strings.Cut(strings.TrimSpace(stdout), ": ")
	if !found {
		t.Fatalf("it does not say what to note down: %s", stdout)
	}
	signed := []string{"--trusted-root", c.trustedRoot, "--certificate-identity", audittest.Reconciler, "--certificate-oidc-issuer", audittest.Workloads}
	for name, args := range map[string][]string{
		"from the export":  append([]string{"audit", "--export", file}, strings.Fields(known)...),
		"from the cluster": append([]string{"audit", c.Place.Name}, at...),
	} {
		code, stdout, stderr := answer(t, append(args, signed...)...)
		if code != exitYes || !strings.Contains(stdout, "4 records, 1 to 4, of factory kept-factory/factory") {
			t.Errorf("%s: exit %d\n%s%s", name, code, stdout, stderr)
		}
	}
	page := filepath.Join(t.TempDir(), "report.html")
	args := append(append([]string{"audit", c.Place.Name, "--live", "--html", page}, at...), signed...)
	// Nothing was ever applied here: the one object is missing.
	if code, stdout, stderr := answer(t, args...); code != exitNo || !strings.Contains(stdout, "live/differs record 4") {
		t.Errorf("against the cluster: exit %d\n%s%s", code, stdout, stderr)
	}
	if data, err := os.ReadFile(page); err != nil || !strings.Contains(string(data), "live/differs") {
		t.Errorf("the page: %v", err)
	}
	// A record that neither has is a gap, and says where it was looked for.
	c.must(c.k.Delete(t.Context(), &v1alpha1.AppliedRevision{ObjectMeta: metav1.ObjectMeta{Namespace: kept, Name: v1alpha1.AppliedRevisionName(c.Place.Name, 3)}}))
	if code, stdout, stderr := answer(t, append(append([]string{"audit", c.Place.Name}, at...), signed...)...); code != exitNo || !strings.Contains(stdout, "store/unreadable") || !strings.Contains(stdout, "chain/gap") {
		t.Errorf("without record 3: exit %d\n%s%s", code, stdout, stderr)
	}
}
