package localfactory

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/render/factory"
)

// Policy is a trust policy that lists people of this site, by the names that
// their tokens carry.
func (s *Site) Policy(version int, people ...Person) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: millwright.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: factory}\nspec:\n"+
		"  version: %d\n  repository: %s\n"+
		"  rules:\n  - {name: everything, paths: [\"**\"], role: maintainer, threshold: 1}\n  identities:\n", version, s.SourceURL)
	for _, p := range people {
		fmt.Fprintf(&b, "  - name: %[1]s\n    person: %[1]s\n    issuer: %[3]s\n    subject: %[2]s\n    roles: [maintainer]\n",
			p.Name, p.Email, s.Sigstore.IssuerURL(sigstoretest.Person))
	}
	return b.String()
}

// Write puts a file into the work tree of the factory repository.
func (s *Site) Write(name, content string) error {
	path := s.Path("factory", filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}

// CopyFactory copies the project's own factory into the work tree: what a
// factory repository begins with. The trust policy is left out, since it is an
// example; so are Go tests and test data. Each file may be changed on the way.
//
// With nil it is for a site that has an API server and no kubelet: what the copy
// says about health is that nobody can tell. And since a site is where objects are
// changed by hand, to see them put back, the policies that would refuse that
// (POL-K16) are left out.
func (s *Site) CopyFactory(change func(name string, content []byte) ([]byte, error)) error {
	if change == nil {
		change = ofSite
	}
	for _, top := range []string{"factory-config", "bases", "overlays"} {
		root := filepath.Join(s.options.Root, top)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(s.options.Root, path)
			if err != nil {
				return err
			}
			if d.IsDir() {
				if d.Name() == "testdata" || d.Name() == "upstream" || d.Name() == "trust" {
					return fs.SkipDir
				}
				return nil
			}
			if !wanted(name) {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if data, err = change(name, data); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return s.Write(name, string(data))
		})
		if err != nil {
			return fmt.Errorf("copying %s: %w", top, err)
		}
	}
	return nil
}

// ofSite makes factory.yaml one for a site.
func ofSite(name string, config []byte) ([]byte, error) {
	if name != factory.Path {
		return config, nil
	}
	for before, after := range map[string]string{
		"      mode: Observe\n": "      mode: Unknown\n      reason: no kubelet runs here, so nothing can report that it is ready\n",
		"  - name: writers\n    path: writers\n    dependsOn: [admission]\n    drift: correct\n": "",
		"    dependsOn: [namespaces, writers]\n":                                                 "    dependsOn: [namespaces, admission]\n",
	} {
		if !bytes.Contains(config, []byte(before)) {
			return nil, fmt.Errorf("%s has no %q", factory.Path, before)
		}
		config = bytes.ReplaceAll(config, []byte(before), []byte(after))
	}
	return config, nil
}

// wanted says which files of the project belong into a factory repository.
func wanted(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".lock", ".md":
		return !strings.HasPrefix(filepath.Base(name), ".")
	}
	return false
}

// Repository begins the factory repository with what is in the work tree: one
// commit without signature, which is trusted because the Factory pins its id.
// It is pushed, and its id returned.
func (s *Site) Repository(ctx context.Context, who Person) (string, error) {
	for _, args := range [][]string{
		{"git", "init", "--quiet"},
		{"git", "remote", "add", "origin", s.RepoURL},
		{"git", "add", "--all"},
		{"git", "commit", "--quiet", "--message", "who may change this factory"},
		{"git", "push", "--quiet", "origin", "main"},
	} {
		if _, err := s.Must(ctx, who, args...); err != nil {
			return "", err
		}
	}
	return s.Head(ctx, who)
}

// Head is the id of the commit that is checked out.
func (s *Site) Head(ctx context.Context, who Person) (string, error) {
	return s.Must(ctx, who, "git", "rev-parse", "HEAD")
}
