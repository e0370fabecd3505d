package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"millwright.dev/millwright/gitverify"
)

// OpenLocal opens a repository on this machine for reading: a bare one, or the
// .git directory of a work tree. The work tree itself is never looked at.
func OpenLocal(dir string) (*Store, error) {
	path := dir
	if info, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		if !info.IsDir() {
			return nil, refuse(ReasonSourceUnsupported, fmt.Errorf("%s is a linked work tree or a submodule; name the main repository", dir))
		}
		path = filepath.Join(dir, ".git")
	}
	if _, err := os.Stat(filepath.Join(path, "objects")); err != nil {
		return nil, refuse(ReasonSourceUnreachable, fmt.Errorf("%s is not a Git repository", dir))
	}
	s := &Store{dir: path, disk: openDisk(path, nil)}
	config, err := s.disk.Config()
	if err != nil {
		return nil, refuse(ReasonSourceUnreachable, fmt.Errorf("reading the repository's configuration: %w", err))
	}
	if strings.EqualFold(config.Raw.Section("extensions").Option("objectformat"), "sha256") {
		return nil, refuse(ReasonSourceUnsupported, fmt.Errorf("%s names its objects by SHA-256, which go-git v5 cannot read; use a SHA-1 repository", dir))
	}
	return s, nil
}

// Resolve finds the commit of a full id, HEAD, a full ref, or a branch by its
// name, of this repository before one of a remote's (origin/main).
// Abbreviated ids are not guessed.
func (s *Store) Resolve(name string) (gitverify.ID, error) {
	if len(name) == 40 && plumbing.IsHash(name) {
		return gitverify.ID(strings.ToLower(name)), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, candidate := range []string{name, "refs/heads/" + name, "refs/remotes/" + name} {
		ref, err := storer.ResolveReference(s.disk, plumbing.ReferenceName(candidate))
		if err == nil {
			return gitverify.ID(ref.Hash().String()), nil
		}
	}
	return "", refuse(ReasonSourceRefMissing, fmt.Errorf("%q is neither HEAD, a branch or a full ref of this repository nor a full commit id of 40 digits", name))
}
