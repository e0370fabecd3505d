package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/e2e/node"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/images"
)

// These stand in the project's files where something is to be that is made with the
// factory: the TUF root of the Sigstore inside; whose signature counts for the catalog;
// who vouches for those that sign images, and what is trusted of them.
const (
	tufRoot       = "MILLWRIGHT_TUF_ROOT_BASE64"
	catalogKey    = "MILLWRIGHT_CATALOG_KEY"
	imagesIssuer  = "MILLWRIGHT_IMAGES_ISSUER"
	imagesTrusted = "MILLWRIGHT_IMAGES_TRUSTED_ROOT"
)

// makeRepository makes the factory repository: who may change it, and then, signed
// by alice, the project's own content with the digests of what was built here.
func (f *floor) makeRepository(ctx context.Context) error {
	var err error
	if f.alice, err = f.site.Person(ctx, "alice"); err != nil {
		return err
	}
	if f.bob, err = f.site.Person(ctx, "bob"); err != nil {
		return err
	}
	f.site.SourceURL = fmt.Sprintf("http://git.factory.test:%d/factory.git", gitPort)
	if err := f.site.Write("factory-config/trust/policy.yaml", f.site.Policy(1, f.alice, f.bob)); err != nil {
		return err
	}
	if f.anchor, err = f.site.Repository(ctx, f.alice); err != nil {
		return err
	}
	made, err := f.made()
	if err != nil {
		return err
	}
	err = f.site.CopyFactory(func(name string, content []byte) ([]byte, error) {
		if filepath.Ext(name) != ".yaml" {
			return content, nil
		}
		return images.Pin([]byte(made.Replace(string(content))), node.Registry, f.digests)
	})
	if err != nil {
		return err
	}
	if err := f.vendor(ctx); err != nil {
		return err
	}
	if err := f.signCatalog(ctx); err != nil {
		return fmt.Errorf("signing the catalog: %w", err)
	}
	return f.commit(ctx, f.alice, "the factory as the project has it")
}

// made puts what was made with the factory where the project's files name it.
func (f *floor) made() (*strings.Replacer, error) {
	tuf, err := os.ReadFile(f.options.path("keys", "tuf", "root.json"))
	if err != nil {
		return nil, err
	}
	public, err := os.ReadFile(f.options.path("keys", "catalog.pub"))
	if err != nil {
		return nil, err
	}
	root, err := os.ReadFile(f.site.Sigstore.TrustedRootPath)
	if err != nil {
		return nil, err
	}
	var trusted bytes.Buffer
	if err := json.Compact(&trusted, root); err != nil {
		return nil, err
	}
	return strings.NewReplacer(
		tufRoot, base64.StdEncoding.EncodeToString(tuf),
		catalogKey, strings.ReplaceAll(string(public), "\n", `\n`), // it stands between quotes
		imagesIssuer, f.site.Sigstore.IssuerURL(sigstoretest.Workload),
		imagesTrusted, trusted.String(),
	), nil
}

// signCatalog signs what builds may consist of, as it is with the digests of what was
// built. The key is not in the repository: who may change that cannot sign this.
func (f *floor) signCatalog(ctx context.Context) error {
	bin, err := assets.Ensure(ctx, f, "tekton-catalog")
	if err != nil {
		return err
	}
	if err := os.Symlink(bin.Path("tekton-catalog"), f.site.Path("bin", "tekton-catalog")); err != nil {
		return err
	}
	folder, rendered := "overlays/local/catalog", f.options.path("catalog.yaml")
	for _, args := range [][]string{
		{"kubectl", "kustomize", folder + "/unsigned", "--output", rendered},
		{"tekton-catalog", "sign", "-key", f.options.path("keys", "catalog.key"), "-in", rendered, "-out", folder + "/signatures.yaml"},
		{"kubectl", "kustomize", folder, "--output", rendered},
		{"tekton-catalog", "verify", "-in", rendered},
	} {
		if _, err := f.site.Must(ctx, f.alice, args...); err != nil {
			return err
		}
	}
	return nil
}

// vendor gets the upstream manifests, checked.
func (f *floor) vendor(ctx context.Context) error {
	env, err := f.site.GoEnvironment(ctx)
	if err != nil {
		return err
	}
	_, err = f.site.Must(ctx, f.alice.With(env...), "millwright", "vendor")
	return err
}

// commit signs what is in the work tree and pushes it.
func (f *floor) commit(ctx context.Context, who localfactory.Person, message string) error {
	for _, args := range [][]string{
		{"git", "add", "--all", "--force"},
		{"git", "commit", "--quiet", "-S", "--message", message},
		{"git", "push", "--quiet", "origin", "main"},
	} {
		if _, err := f.site.Must(ctx, who, args...); err != nil {
			return err
		}
	}
	return nil
}

// pinned writes files of the project with the digests of what was built into a
// folder, for kubectl.
func (f *floor) pinned(to string, from ...string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, file := range from {
		content, err := os.ReadFile(filepath.Join(f.options.root, file))
		if err != nil {
			return err
		}
		if content, err = images.Pin(content, node.Registry, f.digests); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
