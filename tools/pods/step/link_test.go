package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millwright.dev/millwright/tools/pods/internal/needs"
)

// inNetwork says whether this is the process in a network namespace of its own,
// which is started at first: the canary sends to whoever is on its links, and no
// packet of a test may leave the machine.
func inNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv("NETWORK_NAMESPACE") != "" {
		return true
	}
	if os.Getuid() != 0 {
		needs.Skip(t, "a network namespace needs root; no canary sang here")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "NETWORK_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a network namespace of its own: %v\n%s", err, out)
	}
	return false
}

func up(t *testing.T, device string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq(device)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		t.Fatal(err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		t.Fatal(err)
	}
}

func set(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAnybodyOnTheLinkIsFound(t *testing.T) {
	if !inNetwork(t) {
		return
	}
	if _, err := exec.LookPath("ip"); err != nil {
		needs.Skip(t, "a link needs ip (package iproute2)")
	}
	look := func() (string, bool) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		return allNodes(ctx)
	}
	set(t, "ipv6/conf/default/accept_dad", "0")
	if outcome, ok := look(); !ok {
		t.Errorf("nobody is there, and yet %s", outcome)
	}
	inNeighbour(t, func(ns string) {
		if out, err := exec.Command("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", ns).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	up(t, "near")
	set(t, "ipv4/ping_group_range", "0 2147483647")
	if outcome, ok := look(); ok || !strings.HasPrefix(outcome, "answered by fe80::") {
		t.Errorf("somebody is there: %s", outcome)
	}
	set(t, "ipv6/conf/near/disable_ipv6", "1")
	if outcome, ok := look(); !ok {
		t.Errorf("without IPv6: %s", outcome)
	}
}

// inNeighbour makes a second network namespace, calls link with its name, and
// takes its end of the link up.
func inNeighbour(t *testing.T, link func(ns string)) {
	t.Helper()
	opened, linked, done := make(chan *os.File), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		set(t, "ipv6/conf/default/accept_dad", "0")
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
		}
		opened <- f
		<-linked
		up(t, "far")
	}()
	f := <-opened
	t.Cleanup(func() { _ = f.Close() }) // until then the namespace lives
	link(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()))
	close(linked)
	<-done
}
