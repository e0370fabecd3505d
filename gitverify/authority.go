package gitverify

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// errBeyond means that proving ourselves cannot tell, since the trusted root
// has a part that it does not know how to use; sigstore-go decides then.
var errBeyond = errors.New("beyond our own proving")

// authority is a certificate authority of the trusted root.
type authority struct {
	window
	name string
	// issuers are its certificates that may issue a signer's: intermediates,
	// and the root itself.
	issuers []issuer
	// constrained says that one of them limits names or policies below it.
	constrained bool
}

// issuer is a certificate with the times at which it leads to its root.
type issuer struct {
	cert    *x509.Certificate
	pool    *x509.CertPool // of cert alone
	keyHash [sha256.Size]byte
	paths   []window
}

func newAuthority(ca *root.FulcioCertificateAuthority) authority {
	a := authority{window: window{ca.ValidityPeriodStart, ca.ValidityPeriodEnd}}
	chain := append(slices.Clip(ca.Intermediates), ca.Root)
	a.name = fingerprint("ca", a.window, rawOf(chain)...)
	for _, c := range chain {
		a.constrained = a.constrained || constrains(c)
		i := issuer{cert: c, pool: x509.NewCertPool(), keyHash: sha256.Sum256(c.RawSubjectPublicKeyInfo)}
		i.pool.AddCert(c)
		if c == ca.Root {
			i.paths = []window{{c.NotBefore, c.NotAfter}}
		} else if c.BasicConstraintsValid && c.IsCA {
			i.paths = paths(c, ca.Root, ca.Intermediates, 1, x509.ExtKeyUsageCodeSigning)
		}
		a.issuers = append(a.issuers, i)
	}
	return a
}

// paths are the times at which a certificate leads to the root, as crypto/x509
// finds them. Time enters its validation only as the validity of each
// certificate of a chain, so a chain counts in the intersection of these, which
// begins when the last of them begins: it is enough to ask at each beginning.
// Below is how many certificates will hang below this one.
func paths(cert, root *x509.Certificate, intermediates []*x509.Certificate, below int, usage x509.ExtKeyUsage) []window {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
	options.Roots.AddCert(root)
	all := []*x509.Certificate{cert, root}
	for _, c := range intermediates {
		options.Intermediates.AddCert(c)
		all = append(all, c)
	}
	var found []window
	for _, c := range all {
		options.CurrentTime = c.NotBefore
		chains, err := cert.Verify(options)
		if err != nil {
			continue
		}
		for _, chain := range chains {
			if w := validity(chain); deepEnough(chain, below) && !slices.Contains(found, w) {
				found = append(found, w)
			}
		}
	}
	return found
}

// validity is when all certificates of a chain are valid.
func validity(chain []*x509.Certificate) window {
	w := window{chain[0].NotBefore, chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(w.from) {
			w.from = c.NotBefore
		}
		if c.NotAfter.Before(w.to) {
			w.to = c.NotAfter
		}
	}
	return w
}

// deepEnough says whether the chain's path lengths (RFC 5280 §4.2.1.9) leave
// room for what hangs below its first certificate.
func deepEnough(chain []*x509.Certificate, below int) bool {
	for i, c := range chain[1:] {
		if c.BasicConstraintsValid && c.MaxPathLen >= 0 && i+below > c.MaxPathLen {
			return false
		}
	}
	return true
}

// constrains says whether a certificate has constraints on names or policies
// (RFC 5280 §4.2.1.5, 4.2.1.10, 4.2.1.11, 4.2.1.14), which count for all below
// it and so are not decided by looking at two certificates.
func constrains(cert *x509.Certificate) bool {
	for _, e := range cert.Extensions {
		if id := e.Id; len(id) == 4 && id[0] == 2 && id[1] == 5 && id[2] == 29 && slices.Contains([]int{30, 33, 36, 54}, id[3]) {
			return true
		}
	}
	return false
}

// issued finds who issued a signer's certificate for signing code, at each of
// the times; it returns the hash of the issuer's key and what it relied on. The
// certificate and its issuer are judged by crypto/x509, at the first time; the
// issuer's own way to the root is known, and so are the validities of all
// three, which is all that another time changes.
func (a *anchors) issued(leaf *x509.Certificate, times []time.Time) (keyHash [sha256.Size]byte, relied []string, err error) {
	if constrains(leaf) {
		return keyHash, nil, errBeyond
	}
	var last *issuer
	for _, t := range times {
		ca, i, err := a.issuerAt(leaf, t, last)
		if err != nil {
			return keyHash, nil, err
		}
		last, relied = i, append(relied, ca.name)
	}
	return last.keyHash, relied, nil
}

// issuerAt finds the issuer at one time. The signature of one that is known to
// have issued the certificate is not verified again.
func (a *anchors) issuerAt(leaf *x509.Certificate, t time.Time, known *issuer) (*authority, *issuer, error) {
	for n := range a.authorities {
		ca := &a.authorities[n]
		if !ca.contains(t) {
			continue
		}
		for m := range ca.issuers {
			i := &ca.issuers[m]
			if !bytes.Equal(leaf.RawIssuer, i.cert.RawSubject) || !containsTime(i.paths, t) {
				continue
			}
			if ca.constrained {
				return nil, nil, errBeyond
			}
			if known != nil && known.cert.Equal(i.cert) && !t.Before(leaf.NotBefore) && !t.After(leaf.NotAfter) {
				return ca, i, nil
			}
			if issuedBy(leaf, i, t) {
				return ca, i, nil
			}
		}
	}
	return nil, nil, refuse(codeUntrusted, "no authority of the trusted root issued the certificate for signing code")
}

func issuedBy(leaf *x509.Certificate, i *issuer, t time.Time) bool {
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: i.pool, CurrentTime: t, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	return err == nil && len(chains[0]) == 2
}
