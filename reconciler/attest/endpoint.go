package attest

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
)

// requireConfidential refuses to send a token or evidence in the clear to
// another machine, but to the hosts that whoever started us has named: a factory
// on one machine has no other way.
func requireConfidential(what, raw string, plain []string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil {
		return fmt.Errorf("%s: not a usable URL", what)
	}
	if u.Scheme == "https" || u.Scheme == "http" && (isLoopback(u.Hostname()) || slices.Contains(plain, u.Host)) {
		return nil
	}
	return fmt.Errorf("%s: https is required for %s", what, clean(u.Host, maxText))
}

// isLoopback does not resolve names: what a name means can change.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// boundBody runs release once the body is closed.
type boundBody struct {
	io.ReadCloser
	release func()
}

func (b *boundBody) Close() error {
	err := b.ReadCloser.Close()
	b.release()
	return err
}
