package faultproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// identity is a certificate that the proxy shows, and its own authority.
type identity struct {
	config *tls.Config
	pem    []byte
	// asked is how often a client was shown it.
	asked int
}

// Rotate gives the proxy another certificate by another authority, as an API
// server gets whose cluster was given a new one, and ends all connections. What
// it returns is the authority that clients have to believe from now on.
func (p *Proxy) Rotate() (authority []byte, err error) {
	next, err := newIdentity(time.Now())
	if err != nil {
		return nil, fmt.Errorf("making another certificate: %w", err)
	}
	p.mu.Lock()
	p.identity = next
	p.mu.Unlock()
	p.Cut()
	return next.pem, nil
}

// Shown says how often a client has asked for the certificate that [Proxy.Rotate]
// gave last.
func (p *Proxy) Shown() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.identity == nil {
		return 0
	}
	return p.identity.asked
}

// identify chooses the certificate of a new connection; nil means the first one.
func (p *Proxy) identify(*tls.ClientHelloInfo) (*tls.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.identity == nil {
		return nil, nil //nolint:nilnil // crypto/tls asks for that
	}
	p.identity.asked++
	return p.identity.config, nil
}

func newIdentity(now time.Time) (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "faultproxy"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &identity{
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		config: &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		},
	}, nil
}
