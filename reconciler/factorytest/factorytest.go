// Package factorytest is what tests of the loop and of the controller have in
// common: a small factory repository, who may change it, and a cluster that knows
// the kinds.
//
// It starts nothing. Servers are those of kubetest, sigstoretest and gittest, and
// each test has a namespace of its own in a cluster that it may share.
package factorytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/api"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/kubetest"
)

// Config is factory.yaml of two components.
const Config = `apiVersion: millwright.dev/v1alpha1
kind: FactoryConfig
metadata: {name: test}
spec:
  environments:
  - name: local
    overlay: overlays/local
    health: {mode: Unknown, reason: no kubelet runs here}
  components:
  - {name: base, path: base, drift: correct}
  - {name: app, path: app, dependsOn: [base], drift: correct}
`

// Policy is a trust policy of a version, by which one maintainer may change
// everything. More rules can be added to its end.
func Policy(version int, issuer string) string {
	return fmt.Sprintf(`apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: factory}
spec:
  version: %[1]d
  repository: millwright.dev/test
  identities:
  - {name: alice, person: alice, issuer: %[2]q, subject: alice@factory.example, roles: [maintainer]}
  - {name: bob, person: bob, issuer: %[2]q, subject: bob@factory.example, roles: [security]}
  - {name: carol, person: carol, issuer: %[2]q, subject: carol@factory.example, roles: [security, maintainer]}
  - {name: pulse, issuer: %[2]q, subject: pulse@factory.example, roles: [heartbeat]}
  - {name: release, issuer: %[2]q, subject: release@factory.example, roles: [release]}
  rules:
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
`, version, issuer)
}

// Main runs the tests of a package and ends the shared servers after them.
func Main(m interface{ Run() int }) int {
	ctrl.SetLogger(logr.Discard())
	return kubetest.Main(withSigstore{m})
}

type withSigstore struct{ m interface{ Run() int } }

func (w withSigstore) Run() int { return sigstoretest.Main(w.m) }

// Key is a new key for attestations, and its PEM file.
func Key() (attest.Key, []byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return attest.Key{}, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return attest.Key{}, nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	key, err := attest.ParseKey(text, nil)
	return key, text, err
}

// Connect installs our definitions, if they are not there, and makes a namespace.
func Connect(ctx context.Context, cfg *rest.Config, namespace string) (client.Client, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	k, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(api.CRDs, ".", func(path string, d fs.DirEntry, err error) error {
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
		return client.IgnoreAlreadyExists(k.Create(ctx, &crd))
	})
	if err != nil {
		return nil, fmt.Errorf("installing the definitions: %w", err)
	}
	return k, k.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
}

// Factory follows the main branch of a repository from an anchor on, and signs
// with a key.
func Factory(namespace, url, anchor string) *v1alpha1.Factory {
	return &v1alpha1.Factory{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "factory"},
		Spec: v1alpha1.FactorySpec{
			Source: v1alpha1.SourceSpec{URL: url, Ref: "refs/heads/main"},
			Verify: v1alpha1.VerifySpec{Anchor: anchor}, Environment: "local",
			Attest: v1alpha1.AttestSpec{Signer: "Key"},
			Prune:  v1alpha1.PruneSpec{MaxObjects: 5, MaxPercent: 50},
		},
	}
}

// Create makes a Factory as soon as its definition is served.
func Create(ctx context.Context, k client.Client, f *v1alpha1.Factory) error {
	for deadline := time.Now().Add(time.Minute); ; {
		err := k.Create(ctx, f.DeepCopy())
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
