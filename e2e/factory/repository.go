package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/e2e/node"
	"millwright.dev/millwright/tools/images"
)

// tufRoot stands where a policy names the TUF root of the Sigstore inside, which
// is made with the factory.
const tufRoot = "MILLWRIGHT_TUF_ROOT_BASE64"

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
	root, err := os.ReadFile(f.options.path("keys", "tuf", "root.json"))
	if err != nil {
		return err
	}
	err = f.site.CopyFactory(func(name string, content []byte) ([]byte, error) {
		if filepath.Ext(name) != ".yaml" {
			return content, nil
		}
		content = bytes.ReplaceAll(content, []byte(tufRoot), []byte(base64.StdEncoding.EncodeToString(root)))
		return images.Pin(content, node.Registry, f.digests)
	})
	if err != nil {
		return err
	}
	if err := f.vendor(ctx); err != nil {
		return err
	}
	return f.commit(ctx, f.alice, "the factory as the project has it")
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
