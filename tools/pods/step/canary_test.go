package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// silentTCP is an address that does not answer: its queue of connections is
// full, and the kernel drops what comes.
func silentTCP(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in, ok := sa.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("%T", sa)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)).String()
	for range 2 {
		if conn, err := net.DialTimeout("tcp", addr, 100*time.Millisecond); err == nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
	return addr
}

// silentUDP takes what it is sent and says nothing.
func silentUDP(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.LocalAddr().String()
}

// bothOnOnePort listens on a port that is free for both protocols.
func bothOnOnePort(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.ListenPacket("udp", lis.Addr().String())
		if err != nil {
			_ = lis.Close()
			continue
		}
		t.Cleanup(func() { _ = lis.Close(); _ = conn.Close() })
		return lis, conn
	}
	t.Fatal("no port is free for tcp and udp")
	return nil, nil
}

// echo answers on both, and closed on neither.
func echo(t *testing.T) string {
	t.Helper()
	lis, conn := bothOnOnePort(t)
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(b[:n], from)
		}
	}()
	return lis.Addr().String()
}

func closed(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = lis.Close()
	return lis.Addr().String()
}

func TestWhoeverAnswersIsFound(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	query := dnsQuery("kubernetes.default.svc.cluster.local")
	for name, c := range map[string]struct {
		probe probe
		want  bool
	}{
		"tcp, silence":  {probe{network: "tcp", target: silentTCP(t)}, true},
		"tcp, answer":   {probe{network: "tcp", target: echo(t)}, false},
		"tcp, refusal":  {probe{network: "tcp", target: closed(t)}, false},
		"udp, silence":  {probe{network: "udp", target: silentUDP(t), send: query}, true},
		"udp, answer":   {probe{network: "udp", target: echo(t), send: query}, false},
		"udp, refusal":  {probe{network: "udp", target: closed(t), send: query}, false},
		"nonsense":      {probe{network: "tcp", target: "127.0.0.1:http-or-so"}, false},
		"unknown group": {probe{network: "appletalk", target: "127.0.0.1:1"}, false},
		"no such way":   {probe{network: "tcp6", target: "[fe80::1%lo]:1"}, true},
	} {
		start := time.Now()
		got := c.probe.try(t.Context(), timeout)
		if got.OK != c.want {
			t.Errorf("%s: %+v", name, got)
		}
		if took := time.Since(start); took > 10*timeout {
			t.Errorf("%s: took %s", name, took)
		}
	}
}

func TestTheCanaryFailsOnAnOpenNetworkAndSaysWhere(t *testing.T) {
	if !inNetwork(t) {
		return
	}
	up(t, "lo")
	to := filepath.Join(t.TempDir(), "JAIL_PROOF")
	start := time.Now()
	var log bytes.Buffer
	err := run(t.Context(), []string{
		"canary", "-tcp", "api=" + silentTCP(t), "-tcp", "registry=" + echo(t), "-dns", silentUDP(t),
		"-gateway", "127.0.0.1", "-timeout", "200ms", "-proof", to,
	}, &log)
	if refusal.ReasonOf(err) != reasonReached {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	var p proof
	line, _, _ := strings.Cut(log.String(), "\n")
	if err := json.Unmarshal([]byte(line), &p); err != nil {
		t.Fatal(err)
	}
	var s summary
	if err := json.Unmarshal([]byte(read(t, to)), &s); err != nil {
		t.Fatal(err)
	}
	if s.Jailed || s.Probes != len(p.Probes) || s.Checks != len(p.Process) || s.Proof != fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(line))) {
		t.Errorf("summary %+v", s)
	}
	seen := map[string]bool{}
	for _, r := range p.Probes {
		seen[r.Name] = r.OK
	}
	if p.Jailed || p.Type != proofType || !seen["api"] || seen["registry"] || len(p.Process) < 10 {
		t.Errorf("proof %+v", p)
	}
}

func TestACanaryThatWouldTryNothingIsRefused(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"nothing":         {},
		"no name server":  {"-tcp", "api=127.0.0.1:1"},
		"no address":      {"-dns", "127.0.0.1:53"},
		"name of a host":  {"-dns", "127.0.0.1:53", "-tcp", "api=kubernetes.default:443"},
		"no port":         {"-dns", "127.0.0.1:53", "-tcp", "api=127.0.0.1"},
		"port 0":          {"-dns", "127.0.0.1:0", "-tcp", "api=127.0.0.1:1"},
		"no label":        {"-dns", "127.0.0.1:53", "-tcp", "127.0.0.1:1"},
		"name with space": {"-dns", "127.0.0.1:53", "-tcp", "api=127.0.0.1:1", "-dns-name", "a b"},
		"hours":           {"-dns", "127.0.0.1:53", "-tcp", "api=127.0.0.1:1", "-timeout", "1h"},
		"bad gateway":     {"-dns", "127.0.0.1:53", "-tcp", "api=127.0.0.1:1", "-gateway", "node"},
	} {
		if err := run(t.Context(), append([]string{"canary"}, args...), io.Discard); err == nil || refusal.ReasonOf(err) == reasonReached || refusal.ReasonOf(err) == reasonProcess {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const restricted = "Uid:\t65532\t65532\t65532\t65532\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"

func TestAProcessThatCouldDoMoreIsFound(t *testing.T) {
	t.Parallel()
	const mounts = "22 1 0:21 / / rw - overlay overlay rw\n"
	for name, c := range map[string]struct {
		from, to string
		mounts   string
		file     string
		environ  string
		want     bool
	}{
		"restricted":       {mounts: mounts, want: true},
		"root":             {from: "65532\n", to: "0\n", mounts: mounts},
		"privileges":       {from: "NoNewPrivs:\t1", to: "NoNewPrivs:\t0", mounts: mounts},
		"unconfined":       {from: "Seccomp:\t2", to: "Seccomp:\t0", mounts: mounts},
		"strict seccomp":   {from: "Seccomp:\t2", to: "Seccomp:\t1", mounts: mounts},
		"capability":       {from: "CapBnd:\t0000000000000000", to: "CapBnd:\t0000000000000400", mounts: mounts},
		"no capabilities?": {from: "CapBnd", to: "CapXyz", mounts: mounts},
		"status unread":    {from: restricted, to: "", mounts: mounts},
		"mounts unread":    {},
		"token":            {mounts: mounts, file: "var/run/secrets/kubernetes.io/serviceaccount/token"},
		"socket":           {mounts: mounts, file: "spiffe/api.sock"},
		"socket by mount":  {mounts: mounts + "23 22 0:5 /run/spire/agent-sockets /data ro - tmpfs tmpfs rw\n"},
		"socket by name":   {mounts: mounts, environ: "SPIFFE_ENDPOINT_SOCKET=/data/api.sock"},
		"other variable":   {mounts: mounts, environ: "PATH=/app", want: true},
	} {
		root := t.TempDir()
		write(t, filepath.Join(root, "proc/self/status"), strings.Replace(restricted, c.from, c.to, 1), 0o600)
		write(t, filepath.Join(root, "proc/self/mountinfo"), c.mounts, 0o600)
		if c.file != "" {
			write(t, filepath.Join(root, c.file), "x", 0o600)
		}
		p := proof{Process: checkProcess(root, []string{c.environ})}
		err := judge(&p)
		if p.Jailed != c.want || (err == nil) != c.want || (err != nil && refusal.ReasonOf(err) != reasonProcess) {
			t.Errorf("%s: %v %+v", name, err, p.Process)
		}
	}
}

func TestTheKubeletsLinkLocalAddressIsFound(t *testing.T) {
	t.Parallel()
	const routes = "Iface\tDestination\tGateway \tFlags\neth0\t0010C612\t00000000\t0001\neth0\t00000000\t0110C612\t0003\n"
	gateway, ok := defaultRoute(routes)
	if !ok || gateway.String() != "18.198.16.1" {
		t.Errorf("gateway %v", gateway)
	}
	const arp = "IP address       HW type     Flags       HW address            Mask     Device\n" +
		"198.18.16.1      0x1         0x2         0a:58:c6:12:10:01     *        eth0\n198.18.16.9      0x1         0x0         00:00:00:00:00:00     *        eth0\n"
	addr, ok := neighbour(arp, netip.MustParseAddr("198.18.16.1"))
	if !ok || addr.String() != "fe80::858:c6ff:fe12:1001%eth0" {
		t.Errorf("neighbour %v", addr)
	}
	if addr, ok := neighbour(arp, netip.MustParseAddr("198.18.16.9")); ok {
		t.Errorf("one that is not known: %v", addr)
	}
	if _, ok := defaultRoute("Iface\n"); ok {
		t.Error("a route out of nothing")
	}
}

func TestTheQueryIsOneOfDNS(t *testing.T) {
	t.Parallel()
	want := "\x4d\x57\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01"
	if got := string(dnsQuery("a.bc")); got != want {
		t.Errorf("%q", got)
	}
}
