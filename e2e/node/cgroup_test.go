package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestControllersOfVersion2ArePassedOn(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cgroup.controllers", "cpuset cpu io memory pids\n")
	write("cgroup.subtree_control", "cpu memory cpuset\n")
	c := cgroups{root: root}
	if got := off(root); !cmp.Equal(got, []string{"pids"}) {
		t.Errorf("off are %v", got)
	}
	if err := c.make("/g"); err != nil {
		t.Fatal(err)
	}
	// A kernel would add to the file; this one has what was written last.
	if got := words(filepath.Join(root, "cgroup.subtree_control")); !cmp.Equal(got, []string{"+pids"}) {
		t.Errorf("written was %v", got)
	}
	if err := c.remove("/g", 0); err != nil || exists(filepath.Join(root, "g")) == nil {
		t.Errorf("not removed: %v", err)
	}
	if err := c.remove("/g", 0); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}

// TestAControlGroupIsRemovedWithThoseBelowIt has a process in the deepest group,
// which ends while the removal waits for it.
func TestAControlGroupIsRemovedWithThoseBelowIt(t *testing.T) {
	t.Parallel()
	asRoot(t)
	c, name := theCgroups(), ControlGroup(t.TempDir())
	t.Cleanup(func() { _ = c.remove(name, time.Second) })
	if err := c.make(name); err != nil {
		t.Fatal(err)
	}
	hierarchies, err := c.hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	sleep := exec.CommandContext(t.Context(), "sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	var put string
	for _, h := range hierarchies {
		if !strings.HasSuffix(h, "/pids") && c.version() == 1 {
			continue
		}
		put = filepath.Join(h, name, "kubepods", "pod")
		if err := os.MkdirAll(put, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(put, "cgroup.procs"), []byte(itoa(sleep.Process.Pid)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.remove(name, 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), put) {
		t.Errorf("with a process in it: %v", err)
	}
	time.AfterFunc(200*time.Millisecond, func() { _ = sleep.Process.Kill(); _ = sleep.Wait() })
	if err := c.remove(name, 5*time.Second); err != nil {
		t.Error(err)
	}
	for _, h := range hierarchies {
		if exists(filepath.Join(h, name)) == nil {
			t.Errorf("%s is still in %s", name, h)
		}
	}
}
