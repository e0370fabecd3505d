package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// inside is the address of the test's network.
const inside = "198.18.0.1"

// newNetwork is a network namespace of the test's own, with its loopback and a
// bridge that nothing is plugged into.
func newNetwork(t *testing.T) *network {
	t.Helper()
	asRoot(t)
	cmd := be(t, "wait", syscall.CLONE_NEWNET)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		possible(t, err)
	}
	n, err := networkOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// It stays when the process has ended, whatever has its number then.
	_ = stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	err = n.do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "node0"}}
		address, err := netlink.ParseAddr(inside + "/24")
		return errors.Join(err, netlink.LinkSetUp(lo), netlink.LinkAdd(bridge), netlink.AddrAdd(bridge, address), netlink.LinkSetUp(bridge))
	})
	possible(t, err)
	return n
}

// way is a forward and what is at its ends.
type way struct {
	forward *forward
	server  net.Listener
	dial    func() (net.Conn, error)
}

// ways are one in each direction.
func ways(t *testing.T) map[string]way {
	t.Helper()
	n := newNetwork(t)
	listen := func(at string) net.Listener {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	var in, out way
	err := n.do(func() error { in.server = listen("127.0.0.1:0"); return nil })
	if err != nil {
		t.Fatal(err)
	}
	out.server = listen("127.0.0.1:0")
	if in.forward, err = n.in("127.0.0.1:0", in.server.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if out.forward, err = n.out(inside+":0", out.server.Addr().String()); err != nil {
		t.Fatal(err)
	}
	in.dial = func() (net.Conn, error) { return net.Dial("tcp", in.forward.listener.Addr().String()) }
	out.dial = func() (c net.Conn, err error) {
		err = n.do(func() (err error) { c, err = net.Dial("tcp", out.forward.listener.Addr().String()); return err })
		return c, err
	}
	t.Cleanup(func() {
		for _, w := range []way{in, out} {
			w.forward.stop()
			_ = w.server.Close()
		}
	})
	return map[string]way{"in": in, "out": out}
}

// ends are both ends of a connection over the way.
func (w way) ends(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	c, err := w.dial()
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []net.Conn{c, s} {
		t.Cleanup(func() { _ = end.Close() })
		if err := end.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestAForwardCarriesBothWaysAndTheirEnds(t *testing.T) {
	t.Parallel()
	big := make([]byte, 8<<20)
	_, _ = rand.Read(big)
	for name, w := range ways(t) {
		t.Run(name, func(t *testing.T) {
			client, server := w.ends(t)
			// Both at once, more than buffers hold.
			go func() { _, _ = client.Write(big); _ = client.CloseWrite() }()
			answered := make(chan error, 1)
			go func() {
				_, err := server.Write(big[:len(big)/2])
				answered <- err
			}()
			half := make([]byte, len(big)/2)
			if _, err := io.ReadFull(client, half); err != nil || !bytes.Equal(half, big[:len(big)/2]) {
				t.Errorf("the client got something else: %v", err)
			}
			if err := <-answered; err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(server); err != nil || !bytes.Equal(got, big) {
				t.Errorf("the server got %d bytes, %v", len(got), err)
			}
			// The client has said all that it had to say; the server has not.
			if _, err := server.Write([]byte("late")); err != nil {
				t.Error(err)
			}
			_ = server.CloseWrite()
			if got, err := io.ReadAll(client); err != nil || string(got) != "late" {
				t.Errorf("after its own end the client got %q, %v", got, err)
			}
		})
	}
}

func TestAFailureIsNotPassedOnAsAnEnd(t *testing.T) {
	t.Parallel()
	for name, w := range ways(t) {
		t.Run(name, func(t *testing.T) {
			client, server := w.ends(t)
			if _, err := server.Write([]byte("half of")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(client, make([]byte, len("half of"))); err != nil {
				t.Fatal(err)
			}
			abort(server)
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client got %v", err)
			}
			// Nobody is there: the same, and at once.
			_ = w.server.Close()
			c, err := w.dial()
			if err == nil {
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("without a server the client got %v", err)
			}
		})
	}
}

func TestStopEndsConnectionsThatAreOpen(t *testing.T) {
	t.Parallel()
	for name, w := range ways(t) {
		t.Run(name, func(t *testing.T) {
			client, server := w.ends(t)
			began := time.Now()
			w.forward.stop()
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			for which, end := range map[string]net.Conn{"client": client, "server": server} {
				if _, err := end.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the %s is still connected: %v", which, err)
				}
			}
			if len(w.forward.open) != 0 {
				t.Errorf("%d connections are left", len(w.forward.open))
			}
			if _, err := w.dial(); err == nil {
				t.Error("it still takes connections")
			}
			w.forward.stop()
		})
	}
}

// TestStopDoesNotWaitForAServer has a forward dial an address that nobody has, on
// a bridge that nothing is plugged into.
func TestStopDoesNotWaitForAServer(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	f, err := n.in("127.0.0.1:0", "198.18.0.9:1")
	if err != nil {
		t.Fatal(err)
	}
	dialling := make(chan struct{})
	wait := f.dial
	f.dial = func(ctx context.Context) (net.Conn, error) { close(dialling); return wait(ctx) }
	c, err := net.Dial("tcp", f.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-dialling
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	f.stop()
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestNoThreadStaysInAnotherNetwork looks at all threads of the program, the main
// one among them, which a program cannot end. Not beside other tests: they are in
// one now and then.
func TestNoThreadStaysInAnotherNetwork(t *testing.T) {
	n := newNetwork(t)
	for range 200 {
		if err := n.do(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := tryKernel(); err != nil {
		possible(t, err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for _, thread := range threads {
		for {
			theirs, err := os.Readlink(thread)
			if err != nil || theirs == ours { // it has ended, or never left
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is in %s, not in %s", thread, theirs, ours)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
