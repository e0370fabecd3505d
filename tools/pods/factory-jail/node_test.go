package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millwright.dev/millwright/tools/pods/internal/needs"
)

// The test binary is also the plugin, when a runtime calls it by the protocol.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// inNodeNamespace says whether this is the process in a network namespace of
// its own; at first it is not, and one is started. No packet leaves it.
func inNodeNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("NODE_NAMESPACE") != "" {
		return true
	}
	if os.Getuid() != 0 {
		needs.Skip(t, "a jail needs root; none was built here")
	}
	for _, program := range []string{"/usr/sbin/nft", "ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			needs.Skip(t, "a jail needs %s (packages nftables, iproute2); none was built here", program)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "NODE_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a network namespace of its own: %v\n%s", err, out)
	}
	return false
}

func sh(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

func nftDo(t *testing.T, script string) {
	t.Helper()
	if _, err := (nft{path: "/usr/sbin/nft"}).run(t.Context(), script, "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

func sysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pod is a network namespace; nil is the node's.
type pod struct{ ns *os.File }

// makeNode lays the node's network out: a bridge, the node's own address, and a
// service for the name server, as kube-proxy would have it.
func makeNode(t *testing.T) {
	t.Helper()
	sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	sysctl(t, "net/ipv4/ip_forward", "1")
	for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		if _, err := os.Stat("/proc/sys/net/bridge/" + name); err != nil {
			needs.Skip(t, "the kernel has no br_netfilter: %v", err)
		}
		sysctl(t, "net/bridge/"+name, "1")
	}
	sh(t, "ip", "link", "set", "lo", "up")
	sh(t, "ip", "addr", "add", "198.18.0.1/32", "dev", "lo")
	sh(t, "ip", "link", "add", "cni0", "address", "0a:58:c6:12:10:01", "type", "bridge")
	sh(t, "ip", "addr", "add", "198.18.16.1/20", "dev", "cni0")
	sh(t, "ip", "link", "set", "cni0", "up")
	nftDo(t, `table ip services {
		chain pre { type nat hook prerouting priority -100;
			ip daddr 198.19.0.10 udp dport 53 dnat to 198.18.16.9:1053
			ip daddr 198.19.0.10 tcp dport 53 dnat to 198.18.16.9:1053
		}
	}`)
}

func makePod(t *testing.T, address string) *pod {
	t.Helper()
	p := &pod{}
	inThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
		var err error
		if p.ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { _ = p.ns.Close() })
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.ns.Fd())
	veth := "veth" + address[strings.LastIndex(address, ".")+1:]
	sh(t, "ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", path)
	sh(t, "ip", "link", "set", veth, "master", "cni0", "up")
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "set", "eth0", "up"},
		{"addr", "add", address + "/20", "dev", "eth0"},
		{"route", "add", "default", "via", "198.18.16.1"},
	} {
		sh(t, append([]string{"nsenter", "--net=" + path, "ip"}, args...)...)
	}
	return p
}

// inThread runs f in a thread that ends with it, since nobody else should get
// one that is in another namespace.
func inThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		f()
	}()
	<-done
}

// do runs f in the pod.
func (p *pod) do(f func()) {
	if p == nil {
		f()
		return
	}
	inThread(func() {
		if err := unix.Setns(int(p.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err)
		}
		f()
	})
}

// serve echoes on an address, by TCP and UDP.
func (p *pod) serve(t *testing.T, addr string) {
	t.Helper()
	p.do(func() {
		lis, err := net.Listen("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		packets, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = lis.Close(); _ = packets.Close() })
		go func() {
			for {
				conn, err := lis.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
			}
		}()
		go func() {
			b := make([]byte, 64)
			for {
				n, from, err := packets.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = packets.WriteTo(b[:n], from)
			}
		}()
	})
}

// An answer may take its time on a machine that is busy; silence has to be
// waited for each time.
const (
	patience = 10 * time.Second
	silence  = 500 * time.Millisecond
)

// dial connects and has something echoed.
func (p *pod) dial(network, addr string, wait time.Duration) (conn net.Conn, err error) {
	p.do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			err = ping(conn, wait)
		}
	})
	return conn, err
}

func ping(conn net.Conn, wait time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	if !bytes.Equal(b, []byte("ping")) {
		return errors.New("something else came back")
	}
	return nil
}

// trip is a way from somewhere, and whether it should be open.
type trip struct {
	from          *pod
	network, addr string
	want          bool
}

// try makes all trips at once.
func try(t *testing.T, when string, trips ...trip) {
	t.Helper()
	var wg sync.WaitGroup
	for _, trip := range trips {
		wg.Go(func() {
			wait := silence
			if trip.want {
				wait = patience
			}
			conn, err := trip.from.dial(trip.network, trip.addr, wait)
			if conn != nil {
				_ = conn.Close()
			}
			if (err == nil) != trip.want {
				t.Errorf("%s: %s %s: open: %v, want %v (%v)", when, trip.network, trip.addr, err == nil, trip.want, err)
			}
		})
	}
	wg.Wait()
}

// call is the runtime's: the plugin as a process, with its environment.
type call struct{ command, id, namespace string }

func (c call) run(t *testing.T, stdin []byte) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{
		"CNI_COMMAND=" + c.command, "CNI_CONTAINERID=" + c.id, "CNI_NETNS=/proc/self/ns/net", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=" + c.namespace + ";K8S_POD_NAME=p", "CNI_NETNS_OVERRIDE=1",
	}
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.Output()
	return string(out), err
}

// must wants the call to succeed, and refused to fail with that reason.
func (c call) must(t *testing.T, stdin []byte) {
	t.Helper()
	if out, err := c.run(t, stdin); err != nil {
		t.Fatalf("%+v: %v\n%s", c, err, out)
	}
}

func (c call) refused(t *testing.T, stdin []byte, reason string) {
	t.Helper()
	if out, err := c.run(t, stdin); err == nil || !strings.Contains(out, reason) {
		t.Errorf("%+v: %v, want %s\n%s", c, err, reason, out)
	}
}

func loadTable(t *testing.T) {
	t.Helper()
	table, err := parseTable(tableArgs("", ""), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	nftDo(t, table.ruleset())
}
