package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStopEndsAChildThatIgnoresAsking(t *testing.T) {
	t.Parallel()
	p := start(t, "trap '' TERM; echo up; while :; do sleep 0.05; done")
	if err := p.Wait(t.Context(), said(p, "up")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.Stop(200 * time.Millisecond)
	if d := time.Since(began); d < 200*time.Millisecond || d > 3*time.Second {
		t.Errorf("stopping took %v", d)
	}
	if p.Err() == nil || syscall.Kill(p.PID(), 0) == nil {
		t.Errorf("the child is still there: %v", p.Err())
	}
	p.Stop(time.Second)
}

func TestWaitReportsTheLastWordsOfAChildThatEnds(t *testing.T) {
	t.Parallel()
	p := start(t, "echo cannot find my keys; exit 3")
	err := p.Wait(t.Context(), Listening(1))
	if err == nil || !strings.Contains(err.Error(), "cannot find my keys") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error is %v", err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := start(t, "exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx, Listening(1)); err == nil || !strings.Contains(err.Error(), "not ready in time") {
		t.Errorf("error is %v", err)
	}
}

func TestChildrenDieWithUs(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("PROCESS_TEST_PARENT"); dir != "" {
		child, err := Start(Spec{Name: "child", Path: "/bin/sleep", Args: []string{"60"}, Log: filepath.Join(dir, "log")})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(child.PID())), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	dir := t.TempDir()
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildrenDieWithUs$")
	parent.Env = append(os.Environ(), "PROCESS_TEST_PARENT="+dir)
	_ = parent.Run()
	b, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if !running(pid) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	t.Error("the child lives on")
}

func TestPortsDifferAndStayOurs(t *testing.T) {
	t.Parallel()
	ports, err := Ports(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] {
			t.Errorf("port %d twice", p)
		}
		seen[p] = true
		if reserve(p) {
			t.Errorf("port %d is not kept", p)
		}
	}
}

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Spec{Name: "child", Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func said(p *Process, word string) func(context.Context) error {
	return func(context.Context) error {
		if !strings.Contains(p.LastLines(5), word) {
			return context.DeadlineExceeded
		}
		return nil
	}
}

// running tells a live process from one that waits to be reaped.
func running(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}
