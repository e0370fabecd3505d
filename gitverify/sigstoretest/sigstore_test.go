package sigstoretest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/root"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestACommitOfTheRealGitsignVerifiesWithTheTrustedRootAlone(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	for name, who := range map[string]Committer{
		"signed":             {Name: "Alice", Email: "alice@factory.test"},
		"signed and stamped": {Name: "Bob", Email: "bob@factory.test", Stamp: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newRepository(t, s)
			id, err := s.Commit(t.Context(), dir, who, "a change")
			if err != nil {
				t.Fatal(err)
			}
			raw, err := s.Git(t.Context(), dir, Committer{Unsigned: true}, "cat-file", "commit", id)
			if err != nil {
				t.Fatal(err)
			}
			trusted, err := root.NewTrustedRootFromPath(s.TrustedRootPath)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifyCommit(t, trusted, []byte(raw), who.Stamp); err != nil {
				t.Errorf("verification says %v", err)
			}
		})
	}
}

func TestAnUnsignedCommitterSignsNothing(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	dir := newRepository(t, s)
	id, err := s.Commit(t.Context(), dir, Committer{Name: "Mallory", Email: "mallory@elsewhere.test", Unsigned: true}, "a change")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Git(t.Context(), dir, Committer{Unsigned: true}, "cat-file", "commit", id)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(raw, "gpgsig") {
		t.Errorf("the commit is signed:\n%s", raw)
	}
}

func newRepository(t *testing.T, s *Sigstore) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := s.Git(t.Context(), dir, Committer{Unsigned: true}, "init", "--quiet"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
