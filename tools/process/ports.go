package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"syscall"
)

// Ports finds n free TCP ports of 127.0.0.1 and keeps them for this process as
// long as it lives: no other caller of Ports gets them, in whatever process, even
// before a server listens or while it is stopped. They lie below the range from
// which the kernel takes the ports of outgoing connections.
func Ports(n int) ([]int, error) {
	const low, high = 20000, 32000
	var ports []int
	for range 200 * n {
		port := low + rand.IntN(high-low) // a place, not a secret
		if !reserve(port) {
			continue
		}
		if l, err := net.Listen("tcp", Addr(port)); err == nil {
			_ = l.Close()
			ports = append(ports, port)
		}
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("finding free ports of 127.0.0.1: all that were tried are taken")
}

// reserve takes the name of the port among the abstract sockets (unix(7)), which
// the kernel gives up when we end, however we end. The descriptor is left open on
// purpose: it is the reservation.
func reserve(port int) bool {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: "@millwright-port-" + strconv.Itoa(port)}); err != nil {
		_ = syscall.Close(fd)
		return false
	}
	return true
}

// Addr is 127.0.0.1 with a port.
func Addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Listening is a question for [Process.Wait]: does the port answer?
func Listening(port int) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", Addr(port))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// OK is a question for [Process.Wait]: does GET of the URL answer 200?
func OK(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %d: %s", url, resp.StatusCode, body)
		}
		return nil
	}
}
