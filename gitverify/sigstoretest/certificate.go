package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	"github.com/google/certificate-transparency-go/x509util"
)

// Leaf is a signing certificate and its key. In real life the key lives for
// minutes; a test may steal it.
type Leaf struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

type validity struct{ from, to time.Time }

// Leaf issues a signing certificate as [Virtual.SignCommit] would.
func (v *Virtual) Leaf(o SignOptions) (Leaf, error) {
	o = v.defaults(o)
	key, err := ecdsa.GenerateKey(o.Curve, rand.Reader)
	if err != nil {
		return Leaf{}, fmt.Errorf("making a key: %w", err)
	}
	template, err := leafTemplate(o)
	if err != nil {
		return Leaf{}, err
	}
	if o.EditCertificate != nil {
		o.EditCertificate(template)
	}
	ca := v.own
	if o.ForeignCA {
		ca = v.foreign
	}
	var public crypto.PublicKey = &key.PublicKey
	if o.Certified != nil {
		public = o.Certified
	}
	cert, err := ca.issue(template, public)
	if err != nil {
		return Leaf{}, err
	}
	if !o.NoSCT {
		ctKey := v.own.ctKey
		if o.ForeignSCT {
			ctKey = v.foreign.ctKey
		}
		list, err := sctList(cert, ca.caCert, ctKey, o.IssuedAt)
		if err != nil {
			return Leaf{}, fmt.Errorf("making a certificate timestamp: %w", err)
		}
		template.ExtraExtensions = append(template.ExtraExtensions, list)
		if cert, err = ca.issue(template, public); err != nil {
			return Leaf{}, err
		}
	}
	return Leaf{Cert: cert, Key: key}, nil
}

func (a *authority) issue(template *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, a.caCert, pub, a.caKey)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// leafTemplate is the profile of Fulcio's certificates: no subject, the identity
// as the one alternative name, and the issuer in Fulcio's extensions 1 and 8.
func leafTemplate(o SignOptions) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	issuer, err := asn1.MarshalWithParams(o.Issuer, "utf8")
	if err != nil {
		return nil, err
	}
	fulcio := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
	template := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    o.IssuedAt, NotAfter: o.IssuedAt.Add(o.Lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{
			{Id: append(slices.Clip(fulcio), 1), Value: []byte(o.Issuer)},
			{Id: append(slices.Clip(fulcio), 8), Value: issuer},
		},
	}
	if strings.Contains(o.Subject, "://") {
		u, err := url.Parse(o.Subject)
		if err != nil {
			return nil, fmt.Errorf("reading the subject: %w", err)
		}
		template.URIs = []*url.URL{u}
	} else {
		template.EmailAddresses = []string{o.Subject}
	}
	return template, nil
}

// sctList is the extension in which a log promises to include the certificate
// (RFC 6962 §3.3). What the log signs is the certificate without this extension,
// which is how the first draft was issued.
func sctList(draft, ca *x509.Certificate, key *ecdsa.PrivateKey, at time.Time) (pkix.Extension, error) {
	id, err := logID(key.Public())
	if err != nil {
		return pkix.Extension{}, err
	}
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: id}, Timestamp: uint64(at.UnixMilli())}
	signed, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType,
		TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: sct.Timestamp, EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{IssuerKeyHash: sha256.Sum256(ca.RawSubjectPublicKeyInfo), TBSCertificate: draft.RawTBSCertificate},
		},
	}})
	if err != nil {
		return pkix.Extension{}, err
	}
	signature, err := tls.CreateSignature(*key, tls.SHA256, signed)
	if err != nil {
		return pkix.Extension{}, err
	}
	sct.Signature = ct.DigitallySigned(signature)
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	if err != nil {
		return pkix.Extension{}, err
	}
	octets, err := tls.Marshal(*list)
	if err != nil {
		return pkix.Extension{}, err
	}
	value, err := asn1.Marshal(octets)
	if err != nil {
		return pkix.Extension{}, err
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: value}, nil
}

// selfSigned makes the root of an authority.
func selfSigned(name string, key *ecdsa.PrivateKey, window validity) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"millwright test"}, CommonName: name},
		NotBefore: window.from, NotAfter: window.to,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", name, err)
	}
	return x509.ParseCertificate(der)
}

// timestampingCert makes a leaf that may do nothing but stamp times: the usage
// must be the only one and critical (RFC 3161 §2.3).
func timestampingCert(pub *ecdsa.PublicKey, issuer *x509.Certificate, key *ecdsa.PrivateKey, window validity) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"millwright test"}, CommonName: "timestamping"},
		NotBefore: window.from, NotAfter: window.to, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, pub, key)
	if err != nil {
		return nil, fmt.Errorf("making the timestamping certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

// defaults fills in what the options leave open.
func (v *Virtual) defaults(o SignOptions) SignOptions {
	if o.Subject == "" {
		o.Subject = "alice@factory.test"
	}
	if o.Issuer == "" {
		o.Issuer = "https://issuer.virtual.test"
	}
	if o.IssuedAt.IsZero() {
		o.IssuedAt = v.now
	}
	if o.Lifetime == 0 {
		o.Lifetime = 10 * time.Minute
	}
	if o.LoggedAt.IsZero() {
		o.LoggedAt = o.IssuedAt.Add(time.Second)
	}
	if o.StampedAt.IsZero() {
		o.StampedAt = o.LoggedAt
	}
	if o.Curve == nil {
		o.Curve = elliptic.P256()
	}
	if o.PEMType == "" {
		o.PEMType = "SIGNED MESSAGE"
	}
	return o
}
