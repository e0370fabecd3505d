package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

// stateFiles are the files of a store that has fetched twice.
func stateFiles(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			relative, _ := filepath.Rel(dir, path)
			out = append(out, relative)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestATornFileOfTheStoreIsMadeAnew spoils each file of a store in each way that
// a power loss may leave it, one at a time.
func TestATornFileOfTheStoreIsMadeAnew(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	var first gitverify.ID
	for n := range 34 { // so many objects come as a pack, and the three of the second fetch are unpacked
		first = f.commit(fmt.Sprint("one ", n))
	}
	whole, dir := open(t)
	mustFetch(t, whole, f, first)
	second := f.commit("two")
	mustFetch(t, whole, f, second)
	files := stateFiles(t, dir)
	if len(files) != 7 || len(packsIn(t, dir)) != 1 || looseIn(t, dir) != 3 {
		t.Fatalf("the store has the files %v only", files)
	}
	third := f.commit("three")
	for _, file := range files {
		for how, spoil := range map[string]func([]byte) []byte{
			"empty": func([]byte) []byte { return nil }, "torn": func(b []byte) []byte { return b[:len(b)/2] },
			"zeroes":  func(b []byte) []byte { return make([]byte, len(b)) },
			"garbage": func(b []byte) []byte { return bytes.Repeat([]byte("\xfe\n"), max(len(b)/2, 1)) },
		} {
			t.Run(fmt.Sprintf("K13 %s is %s", file, how), func(t *testing.T) {
				copied := t.TempDir()
				if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(copied, file)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, spoil(data), 0o600); err != nil {
					t.Fatal(err)
				}
				recovers(t, copied, f, first, second, third)
			})
		}
	}
}

func mustFetch(t *testing.T, store *source.Store, f *forge, want gitverify.ID) {
	t.Helper()
	checkout, err := store.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Commit != want {
		t.Fatalf("%v, %v, want %s", checkout.Commit, err, want)
	}
}

// recovers wants the newest commit and all before it to be readable again, with
// no more than what the loop does by itself: try again, and fetch the whole when
// an object is missing.
func recovers(t *testing.T, dir string, f *forge, want ...gitverify.ID) {
	t.Helper()
	store, err := source.Open(dir)
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	var last error
	for range 3 {
		if _, last = store.Fetch(t.Context(), remote(f.url)); last != nil {
			store.Refetch()
			continue
		}
		if last = readable(t.Context(), store, want); last == nil {
			return
		}
		store.Refetch()
	}
	t.Errorf("it does not recover: %v", last)
}

func readable(ctx context.Context, store *source.Store, ids []gitverify.ID) error {
	for _, id := range ids {
		if kind, _, err := store.Object(ctx, id, 1<<20); err != nil || kind != "commit" {
			return fmt.Errorf("%s is a %q: %w", id, kind, err)
		}
	}
	return nil
}

func TestADiskThatFailsUnderAFetchLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		point string
		err   error
	}{
		"K14 no space is left for the pack":            {source.PointPackHeld, syscall.ENOSPC},
		"K14 no space is left for the index":           {source.PointBeforeIndex, syscall.ENOSPC},
		"K15 the disk fails under the pack":            {source.PointPackHeld, syscall.EIO},
		"K15 the file system became read-only":         {source.PointBeforeIndex, syscall.EROFS},
		"K15 no file can be opened":                    {source.PointPackHeld, syscall.EMFILE},
		"K16 the disk fails after a file got its name": {source.PointAfterIndex, syscall.EIO},
	} {
		for how, commits := range map[string]int{"unpacked": 1, "as a pack": 34} {
			t.Run(name+", "+how, func(t *testing.T) { failsUnder(t, c.point, c.err, commits) })
		}
	}
}

// failsUnder has a fetch of some commits fail at a point of it.
func failsUnder(t *testing.T, at string, with error, commits int) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	first := f.commit("one")
	failures, failing, dir := 0, false, t.TempDir()
	store, err := source.OpenInterrupted(dir, func(point string) error {
		if failing && point == at {
			failures++
			return with
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mustFetch(t, store, f, first)
	var second gitverify.ID
	for n := range commits {
		second = f.commit(fmt.Sprint("two ", n))
	}
	failing = true
	_, err = store.Fetch(t.Context(), remote(f.url))
	if !errors.Is(err, with) || failures == 0 {
		t.Fatalf("a fetch on a disk that fails: %v, it failed %d times", err, failures)
	}
	if err := readable(t.Context(), store, []gitverify.ID{first}); err != nil {
		t.Errorf("what was there before is lost: %v", err)
	}
	wantNoRemains(t, dir)
	failing = false
	recovers(t, dir, f, first, second)
	if packs := len(packsIn(t, dir)); (packs > 0) != (commits > 1) {
		t.Errorf("%d commits left %d packs", commits, packs)
	}
}
