package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// manager is the field manager of what Millwright cannot make itself: the node's
// names, its own installation, and what must not be in Git. All of it is in this
// file; a test asks the cluster whether there is anything else.
const manager = "bootstrap"

// connect makes the client of the administrator.
func (f *floor) connect() error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", f.node.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // the API server has limits of its own
	f.api, err = client.New(config, client.Options{Scheme: scheme})
	return err
}

// nameService gives the node's pods names.
func (f *floor) nameService(ctx context.Context) error {
	if err := os.Symlink(f.node.Kubeconfig, f.site.Path("kubeconfig")); err != nil {
		return err
	}
	to := f.options.path("bootstrap")
	if err := f.pinned(to, "e2e/factory/bootstrap/coredns.yaml"); err != nil {
		return err
	}
	if err := f.apply(ctx, "-f", to); err != nil {
		return err
	}
	return f.kubectl(ctx, "rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=90s")
}

// install installs Millwright as its overlay says, and gives it the trusted root,
// its first key, and the factory.
func (f *floor) install(ctx context.Context) error {
	if err := f.apply(ctx, "-k", f.site.Path("factory", "overlays", "local", "millwright")); err != nil {
		return err
	}
	root, err := os.ReadFile(f.options.path("trusted_root.json"))
	if err != nil {
		return err
	}
	err = f.create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: localfactory.Namespace, Name: "millwright-trusted-root"},
		Data:       map[string]string{"trusted_root.json": string(root)},
	})
	if err != nil {
		return err
	}
	if err := f.secret(ctx, localfactory.Namespace, "millwright-attest-key", map[string]string{"attest.key": "attest.key"}); err != nil {
		return err
	}
	if err := f.kubectl(ctx, "wait", "--for=condition=Established", "--timeout=60s", "crd/factories.millwright.dev", "crd/appliedrevisions.millwright.dev"); err != nil {
		return err
	}
	return f.create(ctx, f.factory())
}

// factory is the object that makes the controller follow the repository, in the
// beginning: it signs with a key, which every record says, and logs that with the
// Sigstore that was there before.
func (f *floor) factory() *v1alpha1.Factory {
	made := f.site.Factory(f.anchor, 10*time.Second)
	made.Spec.Attest = v1alpha1.AttestSpec{
		Signer: "Key", Repository: "registry.localhost:5000/factory/rendered",
		Rekor:              fmt.Sprintf("http://sigstore.factory.test:%d", logPort),
		TimestampAuthority: fmt.Sprintf("http://sigstore.factory.test:%d/api/v1/timestamp", stampPort),
	}
	made.Spec.Apply.ServiceAccountPrefix = "millwright-"
	return made
}

// giveKeys puts the keys of the Sigstore inside where it looks for them, as soon
// as Millwright has made their namespaces.
func (f *floor) giveKeys(ctx context.Context) error {
	if err := f.namespaces(ctx, "sigstore", "tekton-chains", "build-sample", "factory-conformance"); err != nil {
		return err
	}
	keys := map[string]string{
		"fulcio.key": "fulcio.key", "fulcio.crt": "fulcio.crt", "ct.key": "ct.key", "ct.pub": "ct.pub", "rekor.key": "rekor.key",
		"timestamp.key": "tsa.key", "timestamp-chain.crt": "tsa.crt", "password": "password",
	}
	if err := f.secret(ctx, "sigstore", "sigstore-keys", keys); err != nil {
		return err
	}
	if err := f.secret(ctx, "tekton-chains", "signing-secrets", map[string]string{"rekor.pub": "rekor.pub"}); err != nil {
		return err
	}
	for _, namespace := range []string{"build-sample", "factory-conformance"} {
		if err := f.trust(ctx, namespace); err != nil {
			return err
		}
	}
	files, err := flat(f.options.path("keys", "tuf"))
	if err != nil {
		return err
	}
	return f.create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "sigstore", Name: "tuf-repository"}, BinaryData: files})
}

// trust says in a namespace which keys count.
func (f *floor) trust(ctx context.Context, namespace string) error {
	keys := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "sigstore-trust"}, Data: map[string]string{}}
	for _, name := range []string{"ct.pub", "rekor.pub", "fulcio.crt"} {
		data, err := os.ReadFile(f.options.path("keys", name))
		if err != nil {
			return err
		}
		keys.Data[name] = string(data)
	}
	return f.create(ctx, keys)
}

// flat reads a folder; a ConfigMap has no folders, so the file server takes two
// underscores in a name for one.
func flat(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[strings.ReplaceAll(filepath.ToSlash(name), "/", "__")], err = os.ReadFile(path)
		return err
	})
	return files, err
}

// namespaces waits until these are there.
func (f *floor) namespaces(ctx context.Context, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for _, name := range names {
		for {
			var ns corev1.Namespace
			err := f.api.Get(ctx, client.ObjectKey{Name: name}, &ns)
			if err == nil {
				break
			}
			if !apierrors.IsNotFound(err) {
				return err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the namespace %s was not made: %s", name, f.condition(context.WithoutCancel(ctx)))
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	return nil
}

// secret makes a Secret of files of the folder of keys.
func (f *floor) secret(ctx context.Context, namespace, name string, files map[string]string) error {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{}}
	for key, file := range files {
		data, err := os.ReadFile(f.options.path("keys", file))
		if err != nil {
			return err
		}
		s.Data[key] = data
	}
	return f.create(ctx, s)
}

func (f *floor) create(ctx context.Context, o client.Object) error {
	if err := f.api.Create(ctx, o, client.FieldOwner(manager)); err != nil {
		return fmt.Errorf("making %T %s: %w", o, o.GetName(), err)
	}
	return nil
}

func (f *floor) apply(ctx context.Context, args ...string) error {
	return f.kubectl(ctx, append([]string{"apply", "--server-side", "--field-manager=" + manager}, args...)...)
}

func (f *floor) kubectl(ctx context.Context, args ...string) error {
	_, err := f.site.Must(ctx, f.site.Operator(), append([]string{"kubectl"}, args...)...)
	return err
}
