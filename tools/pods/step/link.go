package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// allNodes tries to find anybody on the links of this pod by IPv6, where the
// address of the node need not be known: with an echo request to all (RFC 4291,
// 2.7.1), for which Linux demands no privilege if the runtime lets it.
//
// Our own echo is no answer. Where the runtime does not let it, nothing is
// proven, and the probe of the gateway's own address has to do.
func allNodes(ctx context.Context) (outcome string, ok bool) {
	links, own, err := multicastLinks()
	if err != nil {
		return err.Error(), false
	}
	from, err := echoAll(ctx, links, own)
	switch {
	case isAny(err, unix.EACCES, unix.EPERM, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT):
		return "not permitted", true
	case err != nil:
		return err.Error(), false
	case from.IsValid():
		return "answered by " + from.String(), false
	default:
		return "silence", true
	}
}

// multicastLinks are the links that lead out of here, and our own addresses.
func multicastLinks() (links []int, own map[netip.Addr]bool, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, nil, fmt.Errorf("listing the links: %w", err)
	}
	own = map[netip.Addr]bool{}
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagMulticast == 0 {
			continue
		}
		links = append(links, i.Index)
		addrs, err := i.Addrs()
		if err != nil {
			return nil, nil, fmt.Errorf("listing the addresses of a link: %w", err)
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				own[prefix.Addr()] = true
			}
		}
	}
	return links, own, nil
}

// echoAll returns who answers until the context ends, or nobody.
func echoAll(ctx context.Context, links []int, own map[netip.Addr]bool) (from netip.Addr, err error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return from, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		return from, err
	}
	// Again and again: a link that is just coming up has no address yet.
	for next, b := time.Now(), make([]byte, 512); ctx.Err() == nil; {
		if !time.Now().Before(next) {
			next = next.Add(200 * time.Millisecond)
			if err := sendEcho(fd, links); err != nil {
				return from, err
			}
		}
		_, sa, err := unix.Recvfrom(fd, b, 0)
		if in, ok := sa.(*unix.SockaddrInet6); err == nil && ok && !own[netip.AddrFrom16(in.Addr)] {
			return netip.AddrFrom16(in.Addr), nil
		}
		if err != nil && !isAny(err, unix.EAGAIN, unix.EINTR) {
			return from, err
		}
	}
	return from, nil
}

// sendEcho asks all nodes of each link that has IPv6.
func sendEcho(fd int, links []int) error {
	request := []byte{128, 0, 0, 0, 0, 0, 0, 1} // type echo request; the kernel fills in the rest
	for _, link := range links {
		to := &unix.SockaddrInet6{ZoneId: uint32(link), Addr: [16]byte{0: 0xff, 1: 2, 15: 1}}
		if err := unix.Sendto(fd, request, 0, to); err != nil && !isAny(err, unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.ENETDOWN) {
			return err
		}
	}
	return nil
}
