package sigstoretest

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/github/smimesign/ietf-cms/oid"
	"github.com/github/smimesign/ietf-cms/protocol"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"
)

// SignOptions say how to sign. The zero value is an honest signature of
// alice@factory.test; each field makes it another's, or wrong in one way.
type SignOptions struct {
	// Subject is an e-mail address or, with "://" in it, a URI.
	Subject string
	// Issuer is who vouched for the subject.
	Issuer string
	// IssuedAt begins the certificate's validity, Lifetime is its length.
	IssuedAt time.Time
	Lifetime time.Duration
	// LoggedAt is the log's integrated time; a second after IssuedAt if zero.
	LoggedAt time.Time
	// Curve is the key's; P-256 if nil.
	Curve elliptic.Curve
	// Certified is the key that the certificate names instead of the signer's.
	Certified crypto.PublicKey
	// Leaf signs with this certificate and key instead of new ones.
	Leaf *Leaf
	// EditCertificate changes the template before it is issued.
	EditCertificate func(*x509.Certificate)

	// ForeignCA, ForeignSCT, ForeignLog and ForeignStamp take that part from
	// the Sigstore that the trusted root does not know.
	ForeignCA, ForeignSCT, ForeignLog, ForeignStamp bool
	// NoSCT leaves out the certificate transparency log's promise.
	NoSCT bool
	// NoLogEntry leaves out the transparency log's entry.
	NoLogEntry bool
	// NoPromise and NoProof leave out one of the two kinds of evidence in it.
	NoPromise, NoProof bool
	// LogEntryOf puts in the (valid) entry of another artifact.
	LogEntryOf []byte
	// EditEntry changes the entry before it is stored; its body is there to
	// look at, and is dropped afterwards, as gitsign does.
	EditEntry func(*rekorpb.TransparencyLogEntry)

	// Stamp adds a timestamp of the timestamp authority, made at StampedAt
	// (LoggedAt if zero).
	Stamp     bool
	StampedAt time.Time

	// Attached leaves the signed bytes inside the signature.
	Attached bool
	// NoCertificate leaves the certificate out.
	NoCertificate bool
	// MoreCertificates go in before the signer's own.
	MoreCertificates []*x509.Certificate
	// Digest is the digest that is claimed instead of the bytes' own.
	Digest []byte
	// EditSignedAttrs changes the signed attributes before they are signed.
	EditSignedAttrs func(protocol.Attributes) protocol.Attributes
	// EditSignedData changes the whole before it is encoded.
	EditSignedData func(*protocol.SignedData)
	// PEMType is what stands after BEGIN; "SIGNED MESSAGE" if empty.
	PEMType string
}

// The attributes that carry evidence beside the signature, both unsigned.
func logEntryOID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 3, 1} // Sigstore
}

func timestampOID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14} // RFC 3161 appendix A
}

// SignCommit signs the bytes of a commit object (without its loose header) and
// puts the signature where git does: a gpgsig header, after the other headers.
func (v *Virtual) SignCommit(unsigned []byte, o SignOptions) ([]byte, error) {
	end := bytes.Index(unsigned, []byte("\n\n"))
	if end < 0 {
		return nil, errors.New("a commit has an empty line after its headers; this has none")
	}
	armored, err := v.Sign(unsigned, o)
	if err != nil {
		return nil, err
	}
	return insertSignature(unsigned, end+1, armored), nil
}

// insertSignature writes the header at the offset, with continuation lines.
func insertSignature(unsigned []byte, at int, armored []byte) []byte {
	header := "gpgsig " + strings.ReplaceAll(strings.TrimRight(string(armored), "\n"), "\n", "\n ") + "\n"
	return []byte(string(unsigned[:at]) + header + string(unsigned[at:]))
}

// SignTag signs the bytes of a tag object and puts the signature at their end.
func (v *Virtual) SignTag(unsigned []byte, o SignOptions) ([]byte, error) {
	armored, err := v.Sign(unsigned, o)
	if err != nil {
		return nil, err
	}
	return append(slices.Clip(unsigned), armored...), nil
}

// Sign makes the armored signature over content.
func (v *Virtual) Sign(content []byte, o SignOptions) ([]byte, error) {
	o = v.defaults(o)
	if o.Leaf == nil {
		leaf, err := v.Leaf(o)
		if err != nil {
			return nil, err
		}
		o.Leaf = &leaf
	}
	info, artifact, err := signerInfo(content, o)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if o.Stamp {
		if err := v.stamp(info, o); err != nil {
			return nil, fmt.Errorf("timestamping: %w", err)
		}
	}
	if !o.NoLogEntry {
		if err := v.record(info, artifact, o); err != nil {
			return nil, fmt.Errorf("logging: %w", err)
		}
	}
	der, err := encode(content, *info, o)
	if err != nil {
		return nil, fmt.Errorf("encoding the signature: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: o.PEMType, Bytes: der}), nil
}

// signerInfo signs (RFC 5652 §5.4): the signature is over the DER of the signed
// attributes as a SET, which is also the artifact that gitsign logs.
func signerInfo(content []byte, o SignOptions) (*protocol.SignerInfo, []byte, error) {
	sid, err := protocol.NewIssuerAndSerialNumber(o.Leaf.Cert)
	if err != nil {
		return nil, nil, err
	}
	digest := sha256.Sum256(content)
	if o.Digest == nil {
		o.Digest = digest[:]
	}
	var attrs protocol.Attributes
	for _, a := range []struct {
		id    asn1.ObjectIdentifier
		value any
	}{{oid.AttributeContentType, oid.ContentTypeData}, {oid.AttributeSigningTime, o.IssuedAt.UTC()}, {oid.AttributeMessageDigest, o.Digest}} {
		attr, err := protocol.NewAttribute(a.id, a.value)
		if err != nil {
			return nil, nil, err
		}
		attrs = append(attrs, attr)
	}
	sort.Slice(attrs, func(i, j int) bool { // DER: a SET OF is sorted (X.690 §11.6)
		return bytes.Compare(attrs[i].RawValue.FullBytes, attrs[j].RawValue.FullBytes) < 0
	})
	if o.EditSignedAttrs != nil {
		attrs = o.EditSignedAttrs(attrs)
	}
	artifact, err := attrs.MarshaledForSigning()
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(artifact)
	sig, err := o.Leaf.Key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, nil, err
	}
	return &protocol.SignerInfo{
		Version: 1, SID: sid, SignedAttrs: attrs, Signature: sig,
		DigestAlgorithm:    pkix.AlgorithmIdentifier{Algorithm: oid.DigestAlgorithmSHA256},
		SignatureAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oid.SignatureAlgorithmECDSAWithSHA256},
	}, artifact, nil
}

// record logs the signature and stores the entry without its body, which a
// verifier makes again from the signature itself.
func (v *Virtual) record(info *protocol.SignerInfo, artifact []byte, o SignOptions) error {
	if o.LogEntryOf != nil {
		artifact = o.LogEntryOf
	}
	body, err := HashedRekord(artifact, info.Signature, o.Leaf.Cert)
	if err != nil {
		return err
	}
	entry, err := v.Log(body, o)
	if err != nil {
		return err
	}
	entry.CanonicalizedBody = nil
	encoded, err := proto.Marshal(entry)
	if err != nil {
		return err
	}
	attr, err := protocol.NewAttribute(logEntryOID(), encoded)
	if err != nil {
		return err
	}
	info.UnsignedAttrs = append(info.UnsignedAttrs, attr)
	return nil
}

// Log logs any body by the options about the log, and gives the whole entry. With
// rekorMode=online gitsign logs a [HashedRekord] of the object's name, which is
// not in the signature: sign with NoLogEntry, and log that.
func (v *Virtual) Log(body []byte, o SignOptions) (*rekorpb.TransparencyLogEntry, error) {
	o = v.defaults(o)
	log := v.own.log
	if o.ForeignLog {
		log = v.foreign.log
	}
	entry, err := log.add(body, o.LoggedAt)
	if err != nil {
		return nil, err
	}
	if o.NoPromise {
		entry.InclusionPromise = nil
	}
	if o.NoProof {
		entry.InclusionProof = nil
	}
	if o.EditEntry != nil {
		o.EditEntry(entry)
	}
	return entry, nil
}

// stamp adds an RFC 3161 token over the signature.
func (v *Virtual) stamp(info *protocol.SignerInfo, o SignOptions) error {
	response, err := v.stampOf(info.Signature, o)
	if err != nil {
		return err
	}
	parsed, err := timestamp.ParseResponse(response)
	if err != nil {
		return err
	}
	attr, err := protocol.NewAttribute(timestampOID(), asn1.RawValue{FullBytes: parsed.RawToken})
	if err != nil {
		return err
	}
	info.UnsignedAttrs = append(info.UnsignedAttrs, attr)
	return nil
}

// stampOf is what a timestamp authority answers about a signature (RFC 3161 §2.4.2).
func (v *Virtual) stampOf(signature []byte, o SignOptions) ([]byte, error) {
	tsa := v.own
	if o.ForeignStamp {
		tsa = v.foreign
	}
	digest := sha256.Sum256(signature)
	token := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Time: o.StampedAt,
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: true,
	}
	return token.CreateResponseWithOpts(tsa.tsaCert, tsa.tsaKey, crypto.SHA256)
}

func encode(content []byte, info protocol.SignerInfo, o SignOptions) ([]byte, error) {
	inner, err := protocol.NewDataEncapsulatedContentInfo(content)
	if err != nil {
		return nil, err
	}
	data, err := protocol.NewSignedData(inner)
	if err != nil {
		return nil, err
	}
	data.DigestAlgorithms = []pkix.AlgorithmIdentifier{info.DigestAlgorithm}
	data.SignerInfos = []protocol.SignerInfo{info}
	if !o.Attached {
		data.EncapContentInfo.EContent = asn1.RawValue{}
	}
	certs := o.MoreCertificates
	if !o.NoCertificate {
		certs = append(slices.Clip(certs), o.Leaf.Cert)
	}
	for _, cert := range certs {
		if err := data.AddCertificate(cert); err != nil {
			return nil, err
		}
	}
	if o.EditSignedData != nil {
		o.EditSignedData(data)
	}
	return data.ContentInfoDER()
}
