package source_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

// plant writes a file into the store, as somebody with its disk could.
func plant(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhatLiesBesideTheObjectsTellsNothingAboutThem(t *testing.T) { // row C10
	t.Parallel()
	f := newForge(t, gittest.Options{})
	first := f.commit("one")
	second := f.commit("two")
	store, dir := open(t)
	if _, err := store.Fetch(t.Context(), remote(f.url)); err != nil {
		t.Fatal(err)
	}

	// Another repository whose only commit has the second one's place in all that
	// git keeps to save itself reading objects.
	liar := newForge(t, gittest.Options{})
	lie := liar.commit("a lie")
	liar.git("commit-graph", "write", "--reachable")
	graph, err := os.ReadFile(filepath.Join(liar.work, ".git/objects/info/commit-graph"))
	if err != nil {
		t.Fatal(err)
	}
	plant(t, dir, "objects/info/commit-graph", strings.ReplaceAll(string(graph), rawID(t, lie), rawID(t, second)))
	plant(t, dir, "objects/info/alternates", filepath.Join(liar.work, ".git/objects")+"\n")
	plant(t, dir, "info/grafts", string(second)+"\n")
	plant(t, dir, "refs/replace/"+string(second), string(lie)+"\n")

	store, err = source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	kind, body, err := store.Object(t.Context(), second, 1<<20)
	if err != nil || kind != "commit" || !strings.Contains(string(body), "\nparent "+string(first)+"\n") {
		t.Errorf("the second commit reads %s %q, %v", kind, body, err)
	}
	third := f.commit("three")
	if checkout, err := store.Fetch(t.Context(), remote(f.url)); err != nil || checkout.Commit != third {
		t.Errorf("%+v, %v", checkout, err)
	}
	if _, body, err := store.Object(t.Context(), third, 1<<20); err != nil || !strings.Contains(string(body), "\nparent "+string(second)+"\n") {
		t.Errorf("the third commit reads %q, %v", body, err)
	}
}

func rawID(t *testing.T, id gitverify.ID) string {
	t.Helper()
	raw := make([]byte, 20)
	for i := range raw {
		for _, c := range []byte(id[2*i : 2*i+2]) {
			raw[i] = raw[i]<<4 | byte(strings.IndexByte("0123456789abcdef", c))
		}
	}
	return string(raw)
}

func TestABranchThatIsGoneOrIsAnotherNowIsNoNewTip(t *testing.T) { // row C12
	t.Parallel()
	f := newForge(t, gittest.Options{})
	tip := f.commit("one")
	store, _ := open(t)
	if _, err := store.Fetch(t.Context(), remote(f.url)); err != nil {
		t.Fatal(err)
	}

	// The default branch gets another name: what HEAD says is not followed.
	f.git("push", "-q", "origin", "main:trunk")
	git(t, f.server.Path("factory"), "symbolic-ref", "HEAD", "refs/heads/trunk")
	f.git("push", "-q", "origin", ":main")
	var no *source.Error
	if checkout, err := store.Fetch(t.Context(), remote(f.url)); !errors.As(err, &no) || checkout.Commit != "" {
		t.Fatalf("%+v, %v", checkout, err)
	}
	if kind, _, err := store.Object(t.Context(), tip, 1<<20); err != nil || kind != "commit" {
		t.Errorf("what was good is not there any more: %s, %v", kind, err)
	}

	// Made anew, it is another history, and no descendant for the verifier.
	f.git("switch", "-q", "--orphan", "elsewhere")
	f.git("commit", "-q", "--allow-empty", "-m", "another history")
	other := gitverify.ID(f.git("rev-parse", "HEAD"))
	f.git("push", "-q", "origin", "elsewhere:main")
	checkout, err := store.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Commit != other {
		t.Fatalf("%+v, %v", checkout, err)
	}
	if _, body, err := store.Object(t.Context(), other, 1<<20); err != nil || strings.Contains(string(body), "\nparent ") {
		t.Errorf("%q, %v", body, err)
	}
	f.git("push", "-q", "-f", "origin", string(tip)+":main")
	if checkout, err := store.Fetch(t.Context(), remote(f.url)); err != nil || checkout.Commit != tip {
		t.Errorf("back where it was: %+v, %v", checkout, err)
	}
}

func TestACommitThatOnlySharesTheServersObjectsIsNotFollowed(t *testing.T) { // row C21
	t.Parallel()
	f := newForge(t, gittest.Options{})
	tip := f.commit("one")
	f.git("switch", "-q", "-c", "fork")
	f.git("commit", "-q", "--allow-empty", "-m", "of a fork")
	impostor := gitverify.ID(f.git("rev-parse", "HEAD"))
	f.git("push", "-q", "origin", "fork:refs/forks/1/main")
	store, _ := open(t)
	checkout, err := store.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Commit != tip {
		t.Fatalf("%+v, %v", checkout, err)
	}
	if _, _, err := store.Object(t.Context(), impostor, 1<<20); !errors.Is(err, gitverify.ErrObjectMissing) {
		t.Errorf("the fork's commit is in the store: %v", err)
	}
	// Its twin is the same commit on the followed ref.
	f.git("push", "-q", "origin", "fork:main")
	if checkout, err := store.Fetch(t.Context(), remote(f.url)); err != nil || checkout.Commit != impostor {
		t.Errorf("%+v, %v", checkout, err)
	}
}
