package source

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// httpSession is go-git's, over a client of its own that is closed with it.
type httpSession struct {
	transport.UploadPackSession
	connections *http.Transport
}

func (s httpSession) Close() error {
	s.connections.CloseIdleConnections()
	return nil
}

func openHTTP(endpoint *transport.Endpoint, u *url.URL, maxPack int64, with access) (session, error) {
	connections := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSClientConfig:        with.tls,
		TLSHandshakeTimeout:    15 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		ForceAttemptHTTP2:      true,
	}
	client := githttp.NewClient(&http.Client{
		Transport:     gitOnly{next: connections, maxPack: maxPack},
		CheckRedirect: func(next *http.Request, _ []*http.Request) error { return mayFollow(u, next.URL) },
	})
	inner, err := client.NewUploadPackSession(endpoint, with.auth)
	if err != nil {
		return nil, err
	}
	return httpSession{UploadPackSession: inner, connections: connections}, nil
}

// mayFollow allows a redirect within the server that the Factory names, or from
// its port 80 to its port 443. Another host, port or scheme is not what was
// asked for; it gets neither the credentials nor any request at all
// (CVE-2026-41506, attack row E01).
func mayFollow(from, to *url.URL) error {
	sameHost := strings.EqualFold(from.Hostname(), to.Hostname())
	same := from.Scheme == to.Scheme && port(from) == port(to)
	upgrade := from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443"
	if sameHost && (same || upgrade) {
		return nil
	}
	return refuse(ReasonSourceUnreachable, fmt.Errorf("the source redirects to %s://%s, which is another server; name it in the URL if it is meant", to.Scheme, to.Host))
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// gitOnly lets through only answers of the smart protocol, and bounds them. A
// proxy's or a login page's HTML with status 200 is named for what it is (attack
// row E13), instead of as a malformed packet.
type gitOnly struct {
	next    http.RoundTripper
	maxPack int64
}

// maxErrorPage bounds what is read of an answer that is no success.
const maxErrorPage = 4 << 10

func (g gitOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	want, limit := "application/x-git-upload-pack-advertisement", int64(maxAdvertisement)
	if r.Method == http.MethodPost {
		// Packets of a pack carry five bytes of frame in up to 1000 (side-band).
		want, limit = "application/x-git-upload-pack-result", g.maxPack+g.maxPack/64+1<<20
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body = &bounded{ReadCloser: answer.Body, left: maxErrorPage, end: io.EOF}
		return answer, nil
	}
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || kind != want {
		answer.Body.Close()
		return nil, refuse(ReasonSourceUnreachable, fmt.Errorf("the answer is %.60q and not Git's %s: is there a proxy or a login page in between, or is the URL not a repository's?", kind, want))
	}
	answer.Body = &bounded{ReadCloser: answer.Body, left: limit, end: refuse(ReasonSourceUnsupported, fmt.Errorf("the source sent more than %d bytes in one answer", limit))}
	return answer, nil
}

// bounded reads up to left bytes and then says end.
type bounded struct {
	io.ReadCloser

	end  error
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, b.end
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// tlsFor adds the Secret's authority to the system's, and our certificate.
func tlsFor(ca, certificate, key []byte) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("ca.crt in the credentials holds no certificate")
		}
		config.RootCAs = pool
	}
	if len(certificate) > 0 || len(key) > 0 {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return nil, errors.New("tls.crt and tls.key in the credentials are not a certificate and its key")
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
