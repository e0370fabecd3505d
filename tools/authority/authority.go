// Package authority is the certificate authority of a cluster that tests and the
// local factory run: ECDSA P-256, one year, nothing that production would use.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Authority issues certificates.
type Authority struct {
	// PEM is its own certificate.
	PEM []byte

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	now         time.Time
}

// New makes an authority whose certificates are valid from an hour before now.
func New(name string, now time.Time) (*Authority, error) {
	a := &Authority{now: now}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if err := a.fill(template); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	return a, a.keep(der)
}

func (a *Authority) keep(der []byte) error {
	var err error
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	a.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return nil
}

// Load takes the authority that dir holds (ca.crt, ca.key), or makes one and
// writes it there: what is started again trusts what it trusted before. It is an
// error when its certificate does not belong to its key, or has ended at now.
func Load(dir, name string, now time.Time) (*Authority, error) {
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	keyPEM, err := os.ReadFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return create(certFile, keyFile, name, now)
	}
	if err != nil {
		return nil, err
	}
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("%s or %s is no PEM", certFile, keyFile)
	}
	a := &Authority{now: now}
	if a.key, err = x509.ParseECPrivateKey(keyBlock.Bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	if err := a.keep(certBlock.Bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	if !a.key.PublicKey.Equal(a.certificate.PublicKey) {
		return nil, fmt.Errorf("%s is not of the key in %s", certFile, keyFile)
	}
	if now.After(a.certificate.NotAfter) {
		return nil, fmt.Errorf("%s has ended on %s: remove the folder, and what trusts it", certFile, a.certificate.NotAfter.Format(time.DateOnly))
	}
	return a, nil
}

// create makes an authority and writes it. The key is last: one that is there
// has its certificate beside it.
func create(certFile, keyFile, name string, now time.Time) (*Authority, error) {
	a, err := New(name, now)
	if err != nil {
		return nil, err
	}
	key, err := encodeKey(a.key)
	if err != nil {
		return nil, err
	}
	if err := WriteFile(certFile, a.PEM); err != nil {
		return nil, err
	}
	return a, WriteFile(keyFile, key)
}

// WriteFile writes a file for its owner only, whole or not at all: what is found
// after a crash is used.
func WriteFile(file string, data []byte) error {
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Issue makes a key and a certificate for it, both PEM.
func (a *Authority) Issue(template *x509.Certificate) (cert, key []byte, err error) {
	if err := a.fill(template); err != nil {
		return nil, nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key, err
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
}

func (a *Authority) fill(template *x509.Certificate) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = a.now.Add(-time.Hour), a.now.AddDate(1, 0, 0)
	return nil
}
