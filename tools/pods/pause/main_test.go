package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays three parts besides its own: pause, a child of it that
// leaves an orphan behind, and the orphan.
func TestMain(m *testing.M) {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	start := func(role string, files ...*os.File) {
		cmd := exec.Command(self)
		cmd.Env = []string{"ROLE=" + role}
		cmd.ExtraFiles = files
		if err := cmd.Start(); err != nil {
			panic(err)
		}
	}
	switch os.Getenv("ROLE") {
	case "pause":
		// What a first process is by birth, another one is by this call.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			panic(err)
		}
		for range 3 {
			start("parent")
		}
		main()
		os.Exit(0)
	case "parent":
		start("orphan")
		os.Exit(0)
	case "orphan":
		time.Sleep(200 * time.Millisecond)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func startPause(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{"ROLE=pause"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// children counts the children of a process, dead ones included.
func children(t *testing.T, pid int) int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		t.Fatalf("no task of %d: %v", pid, err)
	}
	n := 0
	for _, list := range lists {
		b, _ := os.ReadFile(list) // a thread may have ended meanwhile
		n += len(strings.Fields(string(b)))
	}
	return n
}

func TestChildrenAndOrphansAreBuriedAndTermEndsIt(t *testing.T) {
	t.Parallel()
	cmd := startPause(t)
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	wait("no child was ever seen: the test shows nothing", func() bool { return children(t, cmd.Process.Pid) > 0 })
	wait("dead children are left", func() bool { return children(t, cmd.Process.Pid) == 0 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
