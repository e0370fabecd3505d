package source_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

// fetched is a store with a pack for each of n commits, and the commits.
func fetched(t *testing.T, f *forge, store *source.Store, n int) []gitverify.ID {
	t.Helper()
	var commits []gitverify.ID
	for i := range n {
		commits = append(commits, f.commit(fmt.Sprint("change ", i, " of ", n)))
		if _, err := store.Fetch(t.Context(), remote(f.url)); err != nil {
			t.Fatal(err)
		}
	}
	return commits
}

func wantCommits(t *testing.T, store *source.Store, commits []gitverify.ID) {
	t.Helper()
	for _, id := range commits {
		if kind, _, err := store.Object(t.Context(), id, 1<<20); err != nil || kind != "commit" {
			t.Fatalf("commit %s: %s, %v", id, kind, err)
		}
	}
}

func TestManySmallPacksBecomeOneAndNothingIsLost(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	store, dir := open(t)
	commits := fetched(t, f, store, 63)
	before := packsOf(t, dir)
	if err := store.Tidy(t.Context()); err != nil || !slices.Equal(packsOf(t, dir), before) {
		t.Fatalf("a few packs: %v, %d of %d left", err, len(packsOf(t, dir)), len(before))
	}
	commits = append(commits, fetched(t, f, store, 1)...)
	old := keepPacks(t, dir)
	if err := store.Tidy(t.Context()); err != nil || len(packsOf(t, dir)) != 1 {
		t.Fatalf("many packs: %v, %d left", err, len(packsOf(t, dir)))
	}
	wantCommits(t, store, commits)
	git(t, dir, "verify-pack", packsOf(t, dir)[0])
	// A process that was killed before the old packs were gone left both.
	for name, content := range old {
		if err := os.WriteFile(filepath.Join(dir, "objects", "pack", name), content, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	again, err := source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Tidy(t.Context()); err != nil || len(packsOf(t, dir)) != 1 {
		t.Fatalf("with the old ones beside it: %v, %d left", err, len(packsOf(t, dir)))
	}
	commits = append(commits, fetched(t, f, again, 2)...)
	wantCommits(t, again, commits)
	if n := len(packsOf(t, dir)); n != 3 {
		t.Errorf("%d packs after two more fetches, want 3", n)
	}
}

// keepPacks reads all packs and indexes.
func keepPacks(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	entries, err := os.ReadDir(filepath.Join(dir, "objects", "pack"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, "objects", "pack", e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestTidyingThatFailsLosesNothing(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	full := errors.New("no space left on the device")
	for _, at := range []string{source.PointPackHeld, source.PointBeforeIndex, source.PointAfterIndex} {
		dir, fails := t.TempDir(), false
		store, err := source.OpenInterrupted(dir, func(point string) error {
			if fails && point == at {
				return full
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		commits := fetched(t, f, store, 64)
		before := keepPacks(t, dir)
		fails = true
		if err := store.Tidy(t.Context()); !errors.Is(err, full) {
			t.Errorf("%s: %v", at, err)
		}
		after := keepPacks(t, dir)
		for name := range before {
			if after[name] == nil {
				t.Errorf("%s: %s is gone", at, name)
			}
		}
		wantCommits(t, store, commits)
		if err := store.Tidy(t.Context()); err != nil {
			t.Errorf("%s: it is tried again and again: %v", at, err)
		}
		fails = false
		if store, err = source.Open(dir); err != nil {
			t.Fatal(err)
		}
		if err := store.Tidy(t.Context()); err != nil || len(packsOf(t, dir)) != 1 {
			t.Errorf("%s, once there is space: %v, %d packs", at, err, len(packsOf(t, dir)))
		}
		wantCommits(t, store, commits)
	}
}

func TestADamagedIndexIsNotTidiedAway(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	store, dir := open(t)
	fetched(t, f, store, 64)
	path := packsOf(t, dir)[7]
	path = path[:len(path)-len("pack")] + "idx"
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	before := packsOf(t, dir)
	if err := store.Tidy(t.Context()); err == nil || !slices.Equal(packsOf(t, dir), before) {
		t.Errorf("%v, %d of %d packs left", err, len(packsOf(t, dir)), len(before))
	}
}
