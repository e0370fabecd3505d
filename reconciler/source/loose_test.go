package source_test

import (
	"errors"
	"fmt"
	"path/filepath"
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

func TestAThousandFetchesLeaveNoThousandPacks(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	var tip gitverify.ID
	for n := range 34 { // 102 objects, more than are unpacked
		tip = f.commit(fmt.Sprint("many ", n))
	}
	store, dir := open(t)
	mustFetch(t, store, f, tip)
	if packs, loose := packsIn(t, dir), looseIn(t, dir); len(packs) != 1 || loose != 0 {
		t.Fatalf("after a large fetch: %d packs and %d objects beside", len(packs), loose)
	}
	before := tip
	for n := range 3 {
		tip = f.commit(fmt.Sprint("few ", n))
		mustFetch(t, store, f, tip)
	}
	if packs, loose := packsIn(t, dir), looseIn(t, dir); len(packs) != 1 || loose != 9 {
		t.Errorf("after three small fetches: %d packs and %d objects beside, want 1 and 9", len(packs), loose)
	}
	again, err := source.Open(dir) // as a process that starts finds it
	if err == nil {
		err = readable(t.Context(), again, []gitverify.ID{before, tip})
	}
	if err != nil {
		t.Error(err)
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
			if after < 6 {
				t.Errorf("a fetch wrote %d files only", files)
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
		if kind, _, err := store.Object(t.Context(), gitverify.ID(id.String()), 1<<20); err != nil {
			t.Errorf("object %s of %s: %s, %v", id, commit, kind, err)
		}
		tree = tree[name+21:]
	}
}
