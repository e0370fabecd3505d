package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Not beside tests that start programs: one that has begun to, and is still this
// program, has the lock open.
func TestAFolderHasOneNode(t *testing.T) {
	dir := t.TempDir()
	if pid, running, err := Running(dir); pid != 0 || running || err != nil {
		t.Errorf("in an empty folder: %d, %v, %v", pid, running, err)
	}
	lock, err := hold(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.WriteString("4711"); err != nil {
		t.Fatal(err)
	}
	if pid, running, err := Running(dir); pid != 4711 || !running || err != nil {
		t.Errorf("while it is held: %d, %v, %v", pid, running, err)
	}
	for what, err := range map[string]error{
		"start": func() error { _, err := hold(dir, 50*time.Millisecond); return err }(), "clean": clean(dir, 0), "preflight": machine{}.running(dir),
	} {
		if got := Refusals(err); len(got) != 1 || got[0].Reason != reasonRunning {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Whoever waits gets it when it is free, and does not see the old number.
	time.AfterFunc(100*time.Millisecond, func() { _ = lock.Close() })
	again, err := hold(dir, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if pid, running, err := Running(dir); pid != 0 || !running || err != nil {
		t.Errorf("held again: %d, %v, %v", pid, running, err)
	}
	_ = again.Close()
	if _, running, err := Running(dir); running || err != nil {
		t.Errorf("when it is free: %v, %v", running, err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestCleaningTakesNoFolder(t *testing.T) {
	if err := Clean(filepath.Join(t.TempDir(), "not", "there")); err != nil {
		t.Error(err)
	}
}
