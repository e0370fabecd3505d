package attest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/sign"
)

// Certificates keeps the certificate of one signer for a short time, so that all that
// is said of one revision, and of those that follow at its heels, needs one, and that it
// can be asked for early ([Keyless.Certify]). Its key is in memory only. It is not used
// after useFor, or when something that was signed with it does not verify, and
// [Certificates.Expire] and [Certificates.Forget] give both up. [NewCertificates] makes
// it. Safe for concurrent use.
type Certificates struct {
	clock func() time.Time

	mu   sync.Mutex
	held *certified
}

// NewCertificates keeps no certificate yet.
func NewCertificates(clock func() time.Time) *Certificates { return &Certificates{clock: clock} }

// useFor is how long a certificate is used. An identity that was taken away signs
// for no longer. Fulcio gives ten minutes; the log and the timestamp authority, by
// whose clocks it has to be valid, may be slow.
const useFor = 2 * time.Minute

// certified is a key and what certifies it.
type certified struct {
	keypair sign.Keypair
	der     []byte
	// whose it is, and since when by our clock.
	whose string
	since time.Time
}

// GetCertificate implements [sign.CertificateProvider].
func (c *certified) GetCertificate(context.Context, sign.Keypair, *sign.CertificateProviderOptions) ([]byte, error) {
	return c.der, nil
}

// Forget gives the key up.
func (c *Certificates) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = nil
}

// Expire gives up a key that is not used any more.
func (c *Certificates) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil && c.clock().Sub(c.held.since) >= useFor {
		c.held = nil
	}
}

// Certify asks for the certificate that will be used next, if none is held. An
// error is that of the signature that would have been made.
func (k Keyless) Certify(ctx context.Context) error {
	if k.Certificates == nil {
		return nil
	}
	_, err := k.certificate(ctx)
	return err
}

// forget gives a certificate up with which signing failed.
func (k Keyless) forget(err error) error {
	if err != nil && k.Certificates != nil {
		k.Certificates.Forget()
	}
	return err
}

// certificate is the one that is held, or a new one. Who comes while it is asked
// for waits for it.
func (k Keyless) certificate(ctx context.Context) (*certified, error) {
	if k.Token == nil {
		return nil, errors.New("keyless signing needs a token source and Fulcio")
	}
	if k.Certificates == nil {
		return k.certify(ctx)
	}
	k.Certificates.mu.Lock()
	defer k.Certificates.mu.Unlock()
	if held := k.Certificates.held; held != nil && held.whose == k.whose() && k.Certificates.clock().Sub(held.since) < useFor {
		return held, nil
	}
	k.Certificates.held = nil
	since := k.Certificates.clock()
	made, err := k.certify(ctx)
	if err != nil {
		return nil, err
	}
	made.since = since
	if cert, err := x509.ParseCertificate(made.der); err == nil && cert.NotAfter.Sub(cert.NotBefore) > 2*useFor {
		k.Certificates.held = made
	}
	return made, nil
}

func (k Keyless) whose() string {
	return fmt.Sprintf("%q %q %q", k.Services.Fulcio, k.Identity.Issuer, k.Identity.Subject)
}

// certify makes a key and has Fulcio certify it.
func (k Keyless) certify(ctx context.Context) (*certified, error) {
	if err := requireConfidential("Fulcio", k.Services.Fulcio, k.Plain); err != nil {
		return nil, err
	}
	keypair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, fmt.Errorf("making an ephemeral key: %w", err)
	}
	token, err := k.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for an identity token: %w", err)
	}
	fulcio := sign.NewFulcio(&sign.FulcioOptions{
		BaseURL: k.Services.Fulcio, Timeout: k.Services.timeout(), Transport: k.Services.transport(ctx),
	})
	der, err := fulcio.GetCertificate(ctx, keypair, &sign.CertificateProviderOptions{IDToken: token})
	if err != nil {
		return nil, fmt.Errorf("asking for a certificate: %w", err)
	}
	return &certified{keypair: keypair, der: der, whose: k.whose()}, nil
}
