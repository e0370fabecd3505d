package gittest

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

// TLS makes the server speak HTTPS, with a certificate of an authority that
// was made for it.
type TLS struct {
	// Host is the name or address in the certificate; the server's own
	// address if it is empty.
	Host string
	// NotAfter is the end of the certificate; an hour from now if it is zero.
	NotAfter time.Time
}

// certify makes an authority and a certificate of it.
func (o TLS) certify(address string) (certificate tls.Certificate, authority []byte, err error) {
	host := o.Host
	if host == "" {
		if host, _, err = net.SplitHostPort(address); err != nil {
			return certificate, nil, err
		}
	}
	end := o.NotAfter
	if end.IsZero() {
		end = time.Now().Add(time.Hour)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gittest authority"},
		NotBefore: end.Add(-24 * time.Hour), NotAfter: end.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "gittest"},
		NotBefore: end.Add(-24 * time.Hour), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		leaf.IPAddresses = []net.IP{ip}
	} else {
		leaf.DNSNames = []string{host}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate, nil, fmt.Errorf("making the authority's key: %w", err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate, nil, fmt.Errorf("making the server's key: %w", err)
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return certificate, nil, fmt.Errorf("making the authority: %w", err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	if err != nil {
		return certificate, nil, fmt.Errorf("making the certificate: %w", err)
	}
	authority = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	return tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}, authority, nil
}
