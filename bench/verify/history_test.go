package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestTheHistoryIsOneThatGitTakesAndThatVerifies(t *testing.T) {
	t.Parallel()
	virtual, err := sigstoretest.NewVirtual(born())
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(policy)
	sign := func(unsigned []byte) ([]byte, error) {
		return virtual.SignCommit(unsigned, sigstoretest.SignOptions{})
	}
	if err := h.grow(t.Context(), 25, sign); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := h.write(t.Context(), filepath.Join(dir, "repository")); err != nil {
		t.Fatal(err)
	}
	fsck := exec.CommandContext(t.Context(), "git", "fsck", "--strict", "--full")
	fsck.Dir = filepath.Join(dir, "repository")
	if out, err := fsck.CombinedOutput(); err != nil {
		t.Fatalf("git fsck: %v\n%s", err, out)
	}
	trusted, err := virtual.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "root.json"), trusted, 0o600); err != nil {
		t.Fatal(err)
	}
	last := len(h.line) - 1
	if h.counted[last] != 25 || last != 23 {
		t.Fatalf("%d commits, %d of them on the first-parent line", h.counted[last], last)
	}
	work := task{
		Repository: filepath.Join(dir, "repository"), TrustedRoot: filepath.Join(dir, "root.json"), Frontier: filepath.Join(dir, "frontier"),
		Anchor: h.line[0], Tips: []gitverify.ID{h.line[last-1], h.line[last]},
	}
	for _, kind := range []string{"cold", "frontier", "frontier"} {
		m, err := work.measure(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		if m.Commits != 25 || len(m.Seconds) != 2 || m.PeakMiB <= 0 {
			t.Errorf("measured %+v", m)
		}
	}
}
