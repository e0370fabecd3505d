package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

func makePipe(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func makeTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "b"), "one", 0o600)
	write(t, filepath.Join(dir, "a.b"), "two", 0o700)
	return dir
}

func digestTree(t *testing.T, dir string) string {
	t.Helper()
	got, err := treeDigest(dir)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The form is written down here once more: other programs compute it too.
func TestTheDigestIsTheOneThatIsDescribed(t *testing.T) {
	t.Parallel()
	one, two := sha256.Sum256([]byte("one")), sha256.Sum256([]byte("two"))
	lines := "a\x00040000\x00\n" + "a.b\x00100755\x00" + hex.EncodeToString(two[:]) + "\n" + "a/b\x00100644\x00" + hex.EncodeToString(one[:]) + "\n"
	want := sha256.Sum256([]byte(lines))
	if got := digestTree(t, makeTree(t)); got != "sha256:"+hex.EncodeToString(want[:]) {
		t.Errorf("%s is not the digest of\n%q", got, lines)
	}
}

func TestEveryChangeOfATreeChangesItsDigest(t *testing.T) {
	t.Parallel()
	want := digestTree(t, makeTree(t))
	for name, c := range map[string]struct {
		change func(dir string) error
		same   bool
	}{
		"nothing":      {func(string) error { return nil }, true},
		"group may":    {func(dir string) error { return os.Chmod(filepath.Join(dir, "a", "b"), 0o660) }, true},
		"content":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", "b"), []byte("eno"), 0o600) }, false},
		"executable":   {func(dir string) error { return os.Chmod(filepath.Join(dir, "a", "b"), 0o700) }, false},
		"name":         {func(dir string) error { return os.Rename(filepath.Join(dir, "a", "b"), filepath.Join(dir, "a", "c")) }, false},
		"one more":     {func(dir string) error { return os.WriteFile(filepath.Join(dir, "c"), nil, 0o600) }, false},
		"one less":     {func(dir string) error { return os.Remove(filepath.Join(dir, "a.b")) }, false},
		"empty folder": {func(dir string) error { return os.Mkdir(filepath.Join(dir, "c"), 0o700) }, false},
		"file to folder": {func(dir string) error {
			_ = os.Remove(filepath.Join(dir, "a.b"))
			return os.Mkdir(filepath.Join(dir, "a.b"), 0o700)
		}, false},
	} {
		dir := makeTree(t)
		if err := c.change(dir); err != nil {
			t.Fatal(err)
		}
		args := []string{"digest", "-dir", dir, "-want", want}
		err := run(t.Context(), args, io.Discard)
		if c.same != (err == nil) || (!c.same && refusal.ReasonOf(err) != reasonDifferent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatHasNoDigestIsRefused(t *testing.T) {
	t.Parallel()
	link, pipe := makeTree(t), makeTree(t)
	if err := os.Symlink("a.b", filepath.Join(link, "link")); err != nil {
		t.Fatal(err)
	}
	makePipe(t, filepath.Join(pipe, "pipe"))
	deep := t.TempDir()
	if err := os.MkdirAll(filepath.Join(deep, strings.Repeat("d/", maxDepth+1)), 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{link: reasonKind, pipe: reasonKind, deep: reasonTooLarge} {
		if err := run(t.Context(), []string{"digest", "-dir", dir, "-result", "/dev/null"}, io.Discard); refusal.ReasonOf(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for _, want := range []string{"abc", "sha256:" + strings.Repeat("A", 64), strings.Repeat("a", 64), "sha256:" + strings.Repeat("a", 64) + "\n"} {
		if err := run(t.Context(), []string{"digest", "-dir", makeTree(t), "-want", want}, io.Discard); refusal.ReasonOf(err) != reasonDigest {
			t.Errorf("%q: %v", want, err)
		}
	}
}
