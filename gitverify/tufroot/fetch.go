package tufroot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxRedirects is small: a repository is a folder of files.
const maxRedirects = 3

// errAbsent says that the repository has no such file.
var errAbsent = errors.New("the repository has no such file")

// repository is the folder of files at a URL.
type repository struct {
	base   *url.URL
	client *http.Client
}

// newRepository checks the URL; without one there is nothing to ask.
func newRepository(raw string, transport http.RoundTripper) (repository, error) {
	if raw == "" {
		return repository{}, nil
	}
	base, err := url.Parse(raw)
	if err != nil {
		return repository{}, errors.New("the URL of the TUF repository cannot be read")
	}
	switch {
	case base.User != nil:
		return repository{}, errors.New("the URL of the TUF repository must not hold credentials")
	case base.RawQuery != "" || base.Fragment != "" || base.Host == "":
		return repository{}, errors.New("the URL of the TUF repository must be that of a folder, without query or fragment")
	case base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())):
		return repository{}, fmt.Errorf("the URL of the TUF repository must be https, or http to a loopback address, not %s", base.Redacted())
	}
	if transport == nil {
		transport = boundedTransport()
	}
	return repository{base: base, client: &http.Client{Transport: transport, CheckRedirect: sameHost}}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// boundedTransport has a limit for everything that a server can draw out; the
// body is bounded where it is read, and all of it by the deadline of a refresh.
func boundedTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  20 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true, // what is counted is what was sent
		ForceAttemptHTTP2:      true,
	}
}

// sameHost keeps a mirror from sending us somewhere else, where a request may
// mean something.
func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		return errors.New("a redirect to another host is not followed")
	}
	return nil
}

// get reads one file of at most limit bytes. A file that is not there is
// errAbsent; every other error has its code.
func (r repository) get(ctx context.Context, role, name string, limit int64) ([]byte, error) {
	if r.client == nil {
		return nil, bad(CodeAway, role, "no URL of a TUF repository was given")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base.JoinPath(name).String(), http.NoBody)
	if err != nil {
		return nil, bad(CodeAway, role, "%w", err)
	}
	req.Header.Set("User-Agent", "millwright")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, bad(CodeAway, role, "%w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusForbidden:
		// Object stores say 403 for what is not there.
		return nil, errAbsent
	case resp.StatusCode != http.StatusOK:
		return nil, bad(CodeAway, role, "the repository answers %d to %s", resp.StatusCode, name)
	case resp.ContentLength > limit:
		return nil, bad(CodeSize, role, "%s has %d bytes, the bound is %d", name, resp.ContentLength, limit)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, bad(CodeAway, role, "reading %s: %w", name, err)
	case int64(len(data)) > limit:
		return nil, bad(CodeSize, role, "%s is larger than its bound of %d bytes", name, limit)
	}
	return data, nil
}

// away makes a missing file an error of its own: only roots may be missing.
func away(role string, err error) error {
	if errors.Is(err, errAbsent) {
		return bad(CodeAway, role, "%w", err)
	}
	return err
}
