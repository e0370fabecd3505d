package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"sync"

	"k8s.io/client-go/rest"
)

// rereadAuthority has every client of cfg read the file with the API server's
// certificate authorities again as soon as a certificate is not believed. The
// client library does so only every five minutes, in which drift would stay
// (row G12).
func rereadAuthority(cfg *rest.Config) {
	if cfg.CAFile == "" || len(cfg.CAData) > 0 {
		return
	}
	bare := &rest.Config{Host: cfg.Host, TLSClientConfig: cfg.TLSClientConfig, Proxy: cfg.Proxy, Dial: cfg.Dial, DisableCompression: cfg.DisableCompression}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &authority{bare: bare, next: next} })
}

// authority sends requests over the transport that believes what the file said
// when it was read last.
type authority struct {
	bare *rest.Config

	mu   sync.Mutex
	next http.RoundTripper
	read []byte
}

// WrappedRoundTripper lets the client library find its transport, whose idle
// connections it closes.
func (a *authority) WrappedRoundTripper() http.RoundTripper { return a.current() }

func (a *authority) current() http.RoundTripper {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.next
}

// RoundTrip implements [http.RoundTripper]. The request that met the certificate
// fails all the same: who sent it sends it again.
func (a *authority) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := a.current().RoundTrip(r)
	var unbelieved *tls.CertificateVerificationError
	if errors.As(err, &unbelieved) {
		a.reread()
	}
	return resp, err
}

// reread makes a transport of what the file says now. A file that is gone, empty
// or no certificate changes nothing (row K21).
func (a *authority) reread() {
	data, err := os.ReadFile(a.bare.CAFile)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil || len(data) == 0 || bytes.Equal(data, a.read) {
		return
	}
	cfg := rest.CopyConfig(a.bare)
	cfg.CAFile, cfg.CAData = "", data
	if next, err := rest.TransportFor(cfg); err == nil {
		a.next, a.read = next, data
	}
}
