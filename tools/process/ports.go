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
)

// Ports finds n free TCP ports of 127.0.0.1. They lie below the range from which
// the kernel takes the ports of outgoing connections, and are drawn at random,
// so that several processes that ask at once hardly ever get the same.
func Ports(n int) ([]int, error) {
	const low, high = 20000, 32000
	var ports []int
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for range 200 * n {
		if len(ports) == n {
			return ports, nil
		}
		port := low + rand.IntN(high-low) // a place, not a secret
		l, err := net.Listen("tcp", Addr(port))
		if err != nil {
			continue
		}
		held = append(held, l) // until all are found, so that they differ
		ports = append(ports, port)
	}
	return nil, errors.New("finding free ports of 127.0.0.1: all that were tried are taken")
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
