package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// addresses are the local factory's own, and no others.
var addresses = [][2]string{
	{"API server by its service", "198.19.0.1:443"},
	{"API server on the node", "198.18.0.1:6443"},
	{"registry", "198.18.0.1:5000"},
	{"Git server", "198.18.0.1:8480"},
	{"log of the people's Sigstore", "198.18.0.1:8481"},
	{"time stamps of the people's Sigstore", "198.18.0.1:8482"},
	{"kubelet", "198.18.0.1:10250"},
	{"name server by TCP", "198.19.0.10:53"},
}

const (
	nameServer  = "198.19.0.10:53"
	kubeletPort = 10250
	patience    = 2 * time.Second
)

func network() []attempt {
	var all []attempt
	for _, a := range addresses {
		all = append(all, attempt{a[0], func() (string, string) { return reach("tcp", a[1], nil) }})
	}
	return append(all,
		attempt{"name server by UDP", func() (string, string) { return reach("udp", nameServer, question()) }},
		attempt{"node by the gateway", func() (string, string) {
			addr, err := gateway()
			if err != nil {
				return nothing, err.Error()
			}
			return reach("tcp", netip.AddrPortFrom(addr, kubeletPort).String(), nil)
		}},
		attempt{"node by its link-local address", linkLocal},
		attempt{"echo from the gateway", echo},
		attempt{"raw socket", func() (string, string) { return socket(syscall.AF_INET, syscall.IPPROTO_ICMP) }},
		attempt{"packet socket", func() (string, string) { return socket(syscall.AF_PACKET, 0) }},
	)
}

// reach finds whoever answers, be it with a refusal.
func reach(network, target string, send []byte) (outcome, text string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, target)
	if err == nil {
		defer conn.Close()
		if send == nil {
			return found, target + " answers"
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err = conn.Write(send); err == nil {
			_, err = conn.Read(make([]byte, 512))
		}
		if err == nil {
			return found, target + " answers"
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		return found, target + " refuses, so it is there"
	}
	return nothing, err.Error()
}

// question asks for an address (RFC 1035, 4.1).
func question() []byte {
	q := []byte{0x4d, 0x58, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq("kubernetes.default.svc.cluster.local", ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	return append(q, 0, 0, 1, 0, 1)
}

// gateway is the node on the network of this pod.
func gateway() (netip.Addr, error) {
	b, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return netip.Addr{}, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "00000000" || f[2] == "00000000" {
			continue
		}
		if raw, err := hex.DecodeString(f[2]); err == nil && len(raw) == 4 {
			slices.Reverse(raw)
			addr, _ := netip.AddrFromSlice(raw)
			return addr, nil
		}
	}
	return netip.Addr{}, errors.New("there is no way out")
}

// linkLocal is the address that the node has of its hardware, which the kernel
// learns when the gateway is tried.
func linkLocal() (outcome, text string) {
	addr, err := gateway()
	if err != nil {
		return nothing, err.Error()
	}
	_, _ = reach("tcp", netip.AddrPortFrom(addr, kubeletPort).String(), nil)
	b, err := os.ReadFile("/proc/net/arp")
	if err != nil {
		return nothing, err.Error()
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != addr.String() {
			continue
		}
		mac, err := net.ParseMAC(f[3])
		if err != nil || len(mac) != 6 {
			continue
		}
		local := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}).WithZone(f[5])
		return reach("tcp", netip.AddrPortFrom(local, kubeletPort).String(), nil)
	}
	return nothing, "the gateway has no hardware address"
}

// echo asks the gateway in the way that needs no privilege where a kernel permits it.
func echo() (outcome, text string) {
	addr, err := gateway()
	if err != nil {
		return nothing, err.Error()
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, syscall.IPPROTO_ICMP)
	if err != nil {
		return nothing, err.Error()
	}
	defer syscall.Close(fd)
	wait := syscall.NsecToTimeval(int64(patience))
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &wait); err != nil {
		return nothing, err.Error()
	}
	if err := syscall.Sendto(fd, []byte{8, 0, 0, 0, 0, 0, 0, 1}, 0, &syscall.SockaddrInet4{Addr: addr.As4()}); err != nil {
		return nothing, err.Error()
	}
	if _, _, err := syscall.Recvfrom(fd, make([]byte, 64), 0); err != nil {
		return nothing, err.Error()
	}
	return found, addr.String() + " answers"
}

func socket(family, protocol int) (outcome, text string) {
	fd, err := syscall.Socket(family, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nothing, err.Error()
	}
	_ = syscall.Close(fd)
	return found, fmt.Sprintf("family %d opens", family)
}
