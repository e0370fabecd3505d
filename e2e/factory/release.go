package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millwright.dev/millwright/e2e/node"
)

// Who signs in the factory, as its certificates name them.
const (
	builder   = "spiffe://factory.test/factory/chains"
	publisher = "spiffe://factory.test/factory/publish"
)

// verifyBuild has stock cosign verify the provenance and the list of contents,
// from the registry and with the keys of the Sigstore inside, and nothing else.
// That Chains says it has signed is not looked at.
func (f *floor) verifyBuild(ctx context.Context) error {
	image, err := f.image(ctx, "sample-1")
	if err != nil {
		return err
	}
	// Chains signs a moment after the run has ended.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := errors.Join(f.attested(ctx, image, "slsaprovenance1", builder), f.attested(ctx, image, "spdxjson", publisher))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// attested asks cosign whether an attestation of that type by that identity is
// there. The certificate, the log's promise and its proof come with it: nobody is
// asked.
func (f *floor) attested(ctx context.Context, image, kind, identity string) error {
	keys := f.options.path("keys")
	who := f.site.Operator().With(
		"HOME="+f.options.path("cosign"), "SIGSTORE_ROOT_FILE="+filepath.Join(keys, "fulcio.crt"),
		"SIGSTORE_REKOR_PUBLIC_KEY="+filepath.Join(keys, "rekor.pub"), "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE="+filepath.Join(keys, "ct.pub"))
	_, err := f.site.Must(ctx, who, "cosign", "verify-attestation", "--offline", "--type", kind,
		"--certificate-identity", identity, "--certificate-oidc-issuer", issuer, f.outside(image))
	return err
}

// outside is the name that an image has for the machine.
func (f *floor) outside(image string) string {
	return strings.Replace(image, node.Registry, f.site.Registry.Host, 1)
}

// release starts a pod of what was built, where only that may run, and tries one
// of an image that is as good as any, but was not built by the factory.
func (f *floor) release(ctx context.Context) error {
	image, err := f.image(ctx, "sample-1")
	if err != nil {
		return err
	}
	if err := f.pod(ctx, "sample", image); err != nil {
		return err
	}
	if err := f.kubectl(ctx, "wait", "--for=condition=Ready", "--timeout=60s", "--namespace=release-sample", "pod/sample"); err != nil {
		return err
	}
	err = f.pod(ctx, "stranger", f.reference("pause"))
	if err == nil {
		return errors.New("an image that nobody built was let in")
	}
	if !strings.Contains(err.Error(), "POL-K10") {
		return fmt.Errorf("an image that nobody built was turned away, but not by POL-K10: %w", err)
	}
	return nil
}

func (f *floor) pod(ctx context.Context, name, image string) error {
	pod, err := os.ReadFile(filepath.Join(f.options.root, "e2e", "factory", "runs", "pod.yaml"))
	if err != nil {
		return err
	}
	pod = bytes.ReplaceAll(bytes.ReplaceAll(pod, []byte("NAME"), []byte(name)), []byte("IMAGE"), []byte(image))
	file := f.options.path(name + ".yaml")
	if err := os.WriteFile(file, pod, 0o600); err != nil {
		return err
	}
	return f.kubectl(ctx, "create", "-f", file)
}

// sayHow says what one can do with a factory that runs.
func (f *floor) sayHow(context.Context) error {
	f.tell("  kubectl --kubeconfig %s get factory -n millwright-system", f.node.Kubeconfig)
	f.tell("  . %s; cd %s   # to be alice, who may change it", f.site.Path("people", "alice", "env.sh"), f.site.Path("factory"))
	f.tell("  make factory-restart, make factory-down")
	return nil
}
