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

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// probe is one thing to reach.
type probe struct {
	name, network, target string
	// find gives the target when it is known only later; "" is one that there
	// is no way to.
	find func(ctx context.Context) (string, error)
	send []byte // what to send; then an answer is waited for
	// special tries in a way of its own.
	special func(ctx context.Context) (outcome string, ok bool)
}

// result is what came of a probe.
type result struct {
	Name    string `json:"name"`
	Target  string `json:"target"`
	Outcome string `json:"outcome"`
	OK      bool   `json:"ok"`
}

func (p probe) try(ctx context.Context, timeout time.Duration) result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r := result{Name: p.name, Target: p.target}
	if p.special != nil {
		r.Outcome, r.OK = p.special(ctx)
		return r
	}
	if p.find != nil {
		target, err := p.find(ctx)
		if target == "" || err != nil {
			r.Outcome, r.OK = "no way", err == nil
			if err != nil {
				r.Outcome = err.Error()
			}
			return r
		}
		r.Target = target
	}
	r.Outcome, r.OK = outcome(reach(ctx, p.network, r.Target, p.send))
	// Our own address of a link that is just coming up may not be there yet.
	for r.OK && p.find != nil && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		r.Outcome, r.OK = outcome(reach(ctx, p.network, r.Target, p.send))
	}
	return r
}

// reach returns no error if somebody was there.
func reach(ctx context.Context, network, target string, send []byte) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, target)
	if err != nil {
		return err
	}
	defer conn.Close()
	if send == nil {
		return nil
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write(send); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 512))
	return err
}

// outcome tells silence and no way, which are good, from all else.
func outcome(err error) (word string, ok bool) {
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case err == nil:
		return "answered", false
	case isNet && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "silence", true
	case isAny(err, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.EPERM, syscall.EACCES, syscall.EAFNOSUPPORT):
		return "no way", true
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused by somebody who is there", false
	default:
		return err.Error(), false
	}
}

func isAny(err error, of ...error) bool {
	return slices.ContainsFunc(of, func(e error) bool { return errors.Is(err, e) })
}

// dnsQuery asks for the addresses of a name (RFC 1035, 4.1).
func dnsQuery(name string) []byte {
	q := []byte{0x4d, 0x57, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // id, recursion desired, one question
	for label := range strings.SplitSeq(name, ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	return append(q, 0, 0, 1, 0, 1) // end of the name, type A, class IN
}

// gatewayAddr is the given address, or the one of the default route.
func gatewayAddr(given string) (netip.Addr, error) {
	if given != "" {
		addr, err := netip.ParseAddr(given)
		if err != nil || !addr.Is4() {
			return addr, refusal.New(reasonProbe, "write an IPv4 address", "gateway %q", given)
		}
		return addr, nil
	}
	b, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reading the routes: %w", err)
	}
	if addr, ok := defaultRoute(string(b)); ok {
		return addr, nil
	}
	return netip.Addr{}, refusal.New(reasonNoGateway, "give -gateway: what was not tried is not proven", "there is no default route")
}

// defaultRoute reads the kernel's table: device, destination, gateway, … as
// words of the machine's own byte order.
func defaultRoute(table string) (netip.Addr, bool) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "00000000" || f[2] == "00000000" {
			continue
		}
		if b, err := hex.DecodeString(f[2]); err == nil && len(b) == 4 {
			slices.Reverse(b)
			addr, ok := netip.AddrFromSlice(b)
			return addr, ok
		}
	}
	return netip.Addr{}, false
}

// linkLocalOf finds the link-local IPv6 address of the gateway: the kernel makes
// it of the hardware address, which it has learned once anybody tried to reach
// the gateway, as another probe does. Without one, there is no way to it.
func linkLocalOf(gateway netip.Addr, port uint16) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		wait := time.NewTicker(20 * time.Millisecond)
		defer wait.Stop()
		// Half of the time, so that the other half is left to try it.
		deadline, _ := ctx.Deadline()
		half := time.After(time.Until(deadline) / 2)
		for {
			b, err := os.ReadFile("/proc/net/arp")
			if err != nil {
				return "", fmt.Errorf("reading the neighbours: %w", err)
			}
			if addr, ok := neighbour(string(b), gateway); ok {
				return netip.AddrPortFrom(addr, port).String(), nil
			}
			select {
			case <-half:
				return "", nil
			case <-ctx.Done():
				return "", ctx.Err()
			case <-wait.C:
			}
		}
	}
}

// neighbour reads the kernel's table: address, type, flags, hardware address,
// mask, device. Flag 2 is set when the address is known.
func neighbour(table string, of netip.Addr) (netip.Addr, bool) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != of.String() || f[2] == "0x0" {
			continue
		}
		mac, err := net.ParseMAC(f[3])
		if err != nil || len(mac) != 6 {
			continue
		}
		// RFC 4291, appendix A: the second bit of the first byte is turned over.
		a := [16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
		return netip.AddrFrom16(a).WithZone(f[5]), true
	}
	return netip.Addr{}, false
}
