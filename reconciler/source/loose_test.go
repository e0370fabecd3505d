package source_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

func filesIn(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "objects", pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func packsIn(t *testing.T, dir string) []string {
	t.Helper()
	return filesIn(t, dir, "pack/pack-*.pack")
}

func looseIn(t *testing.T, dir string) int {
	t.Helper()
	return len(filesIn(t, dir, "[0-9a-f][0-9a-f]/*"))
}

func TestWhatASmallFetchBringsIsUnpackedAndALargeOneIsAPack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		commits, size int
		packs, loose  int
	}{
		"99 objects":                {33, 10, 0, 99},
		"102 objects":               {34, 10, 1, 0},
		"3 objects, nine megabytes": {1, 9 << 20, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForge(t, gittest.Options{})
			var tip gitverify.ID
			for n := range c.commits {
				tip = f.commit(strings.Repeat(fmt.Sprint(n%10), c.size+n))
			}
			store, dir := open(t)
			mustFetch(t, store, f, tip)
			if packs, loose := len(packsIn(t, dir)), looseIn(t, dir); packs != c.packs || loose != c.loose {
				t.Errorf("%d packs and %d objects beside, want %d and %d", packs, loose, c.packs, c.loose)
			}
			before := tip
			for n := range 3 {
				tip = f.commit(fmt.Sprint("few ", n))
				mustFetch(t, store, f, tip)
			}
			if packs, loose := len(packsIn(t, dir)), looseIn(t, dir); packs != c.packs || loose != c.loose+9 {
				t.Errorf("three small fetches left %d packs and %d objects beside", packs, loose)
			}
			again, err := source.Open(dir) // as a process that starts finds it
			if err != nil {
				t.Fatal(err)
			}
			for _, commit := range []gitverify.ID{before, tip} {
				wantWhole(t, again, commit)
			}
		})
	}
}

// A file that a power loss left empty under the name of an object is not taken for it.
func TestWhatIsTornIsWrittenAnew(t *testing.T) { // row K13
	t.Parallel()
	f := newForge(t, gittest.Options{})
	tip := f.commit("one")
	store, dir := open(t)
	mustFetch(t, store, f, tip)
	for _, file := range filesIn(t, dir, "[0-9a-f][0-9a-f]/*") {
		if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "objects", string(tip[:2]), string(tip[2:]))); err != nil {
		t.Fatal(err) // so that it is fetched
	}
	again, err := source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	mustFetch(t, again, f, tip)
	wantWhole(t, again, tip)
}

// A file that cannot be read this time is kept: it may be the only copy.
func TestWhatCannotBeReadThisTimeIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link") // to itself: opening it fails, and it is there
	if err := os.Symlink(link, link); err != nil {
		t.Fatal(err)
	}
	if !source.SoundObject(link) {
		t.Error("it would be removed")
	}
	if source.SoundObject(filepath.Join(dir, "none")) {
		t.Error("nothing is taken for whole")
	}
}

// A tip that is there is not fetched again. So what it names has to be there before it,
// wherever a process ends: here after each of the files that a fetch writes.
func TestWhatWasAskedForIsThereAfterAllThatItNames(t *testing.T) { // row K16
	t.Parallel()
	f := newForge(t, gittest.Options{})
	first := f.commit("one")
	second := f.commit("two")
	for after := 1; ; after++ {
		files, dir := 0, t.TempDir()
		store, err := source.OpenInterrupted(dir, func(point string) error {
			if point == source.PointAfterIndex {
				if files++; files == after {
					return syscall.EIO
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = store.Fetch(t.Context(), remote(f.url)); err == nil {
			if after != 7 { // two commits of a tree and a blob each
				t.Errorf("a fetch gave %d files their names", after-1)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		again, err := source.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		mustFetch(t, again, f, second)
		wantNoRemains(t, dir)
		for _, commit := range []gitverify.ID{first, second} {
			wantWhole(t, again, commit)
		}
	}
}

// wantWhole wants a commit, its tree and the files in that.
func wantWhole(t *testing.T, store *source.Store, commit gitverify.ID) {
	t.Helper()
	kind, body, err := store.Object(t.Context(), commit, 1<<20)
	if err != nil || kind != "commit" || len(body) < 45 {
		t.Fatalf("commit %s: %s, %v", commit, kind, err)
	}
	kind, tree, err := store.Object(t.Context(), gitverify.ID(body[len("tree "):45]), 1<<20)
	if err != nil || kind != "tree" {
		t.Fatalf("tree of %s: %s, %v", commit, kind, err)
	}
	for len(tree) > 0 {
		name := 0
		for tree[name] != 0 {
			name++
		}
		id := plumbing.Hash(tree[name+1 : name+21])
		if kind, _, err := store.Object(t.Context(), gitverify.ID(id.String()), 16<<20); err != nil {
			t.Errorf("object %s of %s: %s, %v", id, commit, kind, err)
		}
		tree = tree[name+21:]
	}
}
