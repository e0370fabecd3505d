package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// Virtual is a Sigstore in this process: a certificate authority, a certificate
// transparency log, a transparency log and a timestamp authority, with no
// sockets and no clock of its own. It signs as gitsign does with
// rekorMode=offline, and it signs wrongly in every way that [SignOptions] can
// spell: beside it lives a second Sigstore with the same names and other keys,
// which the trusted root does not know.
//
// It may be used by many goroutines at once.
type Virtual struct {
	now          time.Time
	own, foreign *authority
}

// authority is one Sigstore's keys and certificates.
type authority struct {
	caCert  *x509.Certificate
	caKey   *ecdsa.PrivateKey
	ctKey   *ecdsa.PrivateKey
	log     *virtualLog
	tsaRoot *x509.Certificate
	tsaCert *x509.Certificate
	tsaKey  *ecdsa.PrivateKey
}

// NewVirtual makes a Virtual for which it is always now. Its certificates are
// valid from a day before to a year after.
func NewVirtual(now time.Time) (*Virtual, error) {
	own, err := newAuthority(now)
	if err != nil {
		return nil, fmt.Errorf("making a virtual sigstore: %w", err)
	}
	foreign, err := newAuthority(now)
	if err != nil {
		return nil, fmt.Errorf("making a foreign virtual sigstore: %w", err)
	}
	return &Virtual{now: now.Truncate(time.Second), own: own, foreign: foreign}, nil
}

// Now is the time that NewVirtual was given, in whole seconds.
func (v *Virtual) Now() time.Time { return v.now }

// CA is the certificate that issues signing certificates, with its key, for
// forgeries that no option spells.
func (v *Virtual) CA() (*x509.Certificate, *ecdsa.PrivateKey) { return v.own.caCert, v.own.caKey }

// ForeignCA is the same of the Sigstore that nobody trusts.
func (v *Virtual) ForeignCA() (*x509.Certificate, *ecdsa.PrivateKey) {
	return v.foreign.caCert, v.foreign.caKey
}

// TSA is the certificate that makes timestamps, with its key.
func (v *Virtual) TSA() (*x509.Certificate, *ecdsa.PrivateKey) { return v.own.tsaCert, v.own.tsaKey }

// TrustedMaterial is what a verifier needs to know of this Sigstore.
func (v *Virtual) TrustedMaterial() (*root.TrustedRoot, error) {
	return v.own.trustedRoot(v.now)
}

// TrustedRootJSON is the same as the file trusted_root.json.
func (v *Virtual) TrustedRootJSON() ([]byte, error) {
	tr, err := v.TrustedMaterial()
	if err != nil {
		return nil, err
	}
	return tr.MarshalJSON()
}

// ForeignTrustedRootJSON is a well-formed trusted_root.json in which none of
// this Sigstore's keys stands.
func (v *Virtual) ForeignTrustedRootJSON() ([]byte, error) {
	tr, err := v.foreign.trustedRoot(v.now)
	if err != nil {
		return nil, err
	}
	return tr.MarshalJSON()
}

func newAuthority(now time.Time) (*authority, error) {
	a := &authority{}
	var keys [5]*ecdsa.PrivateKey
	for i := range keys {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		keys[i] = k
	}
	a.caKey, a.ctKey, a.tsaKey = keys[0], keys[1], keys[2]
	a.log = &virtualLog{key: keys[3]}
	window := validity{from: now.Add(-24 * time.Hour), to: now.AddDate(1, 0, 0)}
	var err error
	if a.caCert, err = selfSigned("virtual fulcio", a.caKey, window); err != nil {
		return nil, err
	}
	// The library that makes timestamps writes the real time beside the stamped
	// one, and verifiers want the certificate to have been valid then too.
	window.to = now.AddDate(50, 0, 0)
	if a.tsaRoot, err = selfSigned("virtual timestamping root", keys[4], window); err != nil {
		return nil, err
	}
	if a.tsaCert, err = timestampingCert(&a.tsaKey.PublicKey, a.tsaRoot, keys[4], window); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *authority) trustedRoot(now time.Time) (*root.TrustedRoot, error) {
	return trustedRoot(anchors{
		window: validity{from: now.Add(-24 * time.Hour), to: now.AddDate(1, 0, 0)},
		fulcio: a.caCert, fulcioURL: "https://fulcio.virtual.test",
		ct: a.ctKey.Public(), ctURL: "https://ct.virtual.test",
		rekor: a.log.key.Public(), rekorURL: "https://" + virtualLogName,
		tsaRoot: a.tsaRoot, tsaLeaf: a.tsaCert, tsaURL: "https://tsa.virtual.test",
	})
}

// anchors is all that a trusted root of one private Sigstore holds.
type anchors struct {
	window                             validity
	fulcio, tsaRoot, tsaLeaf           *x509.Certificate
	ct, rekor, tiles                   crypto.PublicKey
	fulcioURL, ctURL, rekorURL, tsaURL string
	tilesURL                           string // empty where there is no such log
}

func trustedRoot(a anchors) (*root.TrustedRoot, error) {
	ct, err := a.log(a.ct, a.ctURL)
	if err != nil {
		return nil, err
	}
	rekor, err := a.log(a.rekor, a.rekorURL)
	if err != nil {
		return nil, err
	}
	logs := map[string]*root.TransparencyLog{hex.EncodeToString(rekor.ID): rekor}
	if a.tilesURL != "" {
		tiles, err := a.log(a.tiles, a.tilesURL)
		if err != nil {
			return nil, err
		}
		logs[hex.EncodeToString(tiles.ID)] = tiles
	}
	return root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: a.fulcio, URI: a.fulcioURL, ValidityPeriodStart: a.window.from, ValidityPeriodEnd: a.window.to,
		}},
		map[string]*root.TransparencyLog{hex.EncodeToString(ct.ID): ct},
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Root: a.tsaRoot, Leaf: a.tsaLeaf, URI: a.tsaURL, ValidityPeriodStart: a.window.from, ValidityPeriodEnd: a.window.to,
		}},
		logs,
	)
}

func (a anchors) log(key crypto.PublicKey, url string) (*root.TransparencyLog, error) {
	id, err := logID(key)
	if err != nil {
		return nil, err
	}
	return &root.TransparencyLog{
		BaseURL: url, ID: id[:], HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, PublicKey: key,
		ValidityPeriodStart: a.window.from, ValidityPeriodEnd: a.window.to,
	}, nil
}

// logID is the name of a log: the digest of its key (RFC 6962 §3.2).
func logID(key crypto.PublicKey) ([32]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [32]byte{}, fmt.Errorf("encoding a log's key: %w", err)
	}
	return sha256.Sum256(der), nil
}
