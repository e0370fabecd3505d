package gitverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"

	"github.com/github/smimesign/ietf-cms/oid"
	"github.com/github/smimesign/ietf-cms/protocol"
)

// Bounds on what one signature may carry (row B30). gitsign writes one
// certificate and about four kilobytes.
const (
	maxSignature    = 64 << 10
	maxCertificates = 8
)

const pemType = "SIGNED MESSAGE"

// The evidence beside a signature, both in unsigned attributes.
func logEntryOID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 3, 1}
}

func timestampOID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14} // RFC 3161 appendix A
}

// cmsSignature is one signature over a commit, taken apart but not verified.
type cmsSignature struct {
	leaf *x509.Certificate
	// signed is the DER of the signed attributes as a SET (RFC 5652 §5.4): the
	// bytes that the key signed and that the log recorded.
	signed    []byte
	signature []byte
	// entry is the encoded log entry, nil when there is none; timestamps are
	// RFC 3161 tokens.
	entry      []byte
	timestamps [][]byte
}

// parseSignature takes the armored signature of a payload apart and refuses
// every form but the one that gitsign writes, so that nobody can give the same
// signed content another name (rule T9), and so that no two readers can take
// different parts of it for the signature.
func parseSignature(armored, payload []byte) (cmsSignature, error) {
	der, err := decodePEM(armored)
	if err != nil {
		return cmsSignature{}, err
	}
	data, err := decodeSignedData(der)
	if err != nil {
		return cmsSignature{}, err
	}
	info := data.SignerInfos[0]
	if err := checkAlgorithms(data, info); err != nil {
		return cmsSignature{}, err
	}
	leaf, err := signerCertificate(data, info)
	if err != nil {
		return cmsSignature{}, err
	}
	signed, err := signedBytes(info, payload)
	if err != nil {
		return cmsSignature{}, err
	}
	sig := cmsSignature{leaf: leaf, signed: signed, signature: info.Signature}
	return sig, sig.takeEvidence(info.UnsignedAttrs)
}

// decodePEM accepts exactly what pem.Encode writes.
func decodePEM(armored []byte) ([]byte, error) {
	if len(armored) > maxSignature {
		return nil, refuse(codeSignatureSize, "the signature has %d bytes, more than %d", len(armored), maxSignature)
	}
	begin, _, _ := bytes.Cut(armored, []byte("\n"))
	if bytes.HasPrefix(begin, []byte("-----BEGIN ")) && string(begin) != "-----BEGIN "+pemType+"-----" {
		return nil, refuse(codeType, "the signature begins with %q", string(begin))
	}
	block, _ := pem.Decode(armored)
	if block == nil {
		return nil, refuse(codeEncoding, "the signature is not a PEM block")
	}
	if len(block.Headers) != 0 || !bytes.Equal(pem.EncodeToMemory(block), armored) {
		return nil, refuse(codeEncoding, "the signature is not one canonical PEM block")
	}
	return block.Bytes, nil
}

// decodeSignedData parses a detached CMS SignedData with one signer. Whatever
// the standard decoder lets pass shows up as a difference when it is encoded
// again.
func decodeSignedData(der []byte) (*protocol.SignedData, error) {
	var info protocol.ContentInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) != 0 {
		return nil, refuse(codeEncoding, "the signature is not one DER value")
	}
	if !info.ContentType.Equal(oid.ContentTypeSignedData) {
		return nil, refuse(codeType, "the signature is CMS, but not signed data")
	}
	data := new(protocol.SignedData)
	if rest, err := asn1.Unmarshal(info.Content.Bytes, data); err != nil || len(rest) != 0 {
		return nil, refuse(codeEncoding, "the signed data is not one DER value")
	}
	if len(data.EncapContentInfo.EContent.FullBytes) != 0 {
		return nil, refuse(codeNotDetached, "the signature carries content of its own")
	}
	if again, err := data.ContentInfoDER(); err != nil || !bytes.Equal(again, der) {
		return nil, refuse(codeEncoding, "the signature is not canonical DER")
	}
	return data, checkShape(data)
}

// checkShape wants one signer, and the version and content that gitsign writes.
func checkShape(data *protocol.SignedData) error {
	if n := len(data.SignerInfos); n != 1 {
		return refuse(codeAmbiguous, "%d signers, where one is wanted", n)
	}
	if data.Version != 1 || data.SignerInfos[0].Version != 1 || !data.EncapContentInfo.IsTypeData() || len(data.CRLs) != 0 {
		return refuse(codeEncoding, "not the version and content type that gitsign writes")
	}
	return nil
}

// checkAlgorithms lets through what gitsign uses and nothing else (row A18).
func checkAlgorithms(data *protocol.SignedData, info protocol.SignerInfo) error {
	is := func(a pkix.AlgorithmIdentifier, want asn1.ObjectIdentifier) bool {
		return a.Algorithm.Equal(want) && len(a.Parameters.FullBytes) == 0
	}
	if len(data.DigestAlgorithms) != 1 || !is(data.DigestAlgorithms[0], oid.DigestAlgorithmSHA256) ||
		!is(info.DigestAlgorithm, oid.DigestAlgorithmSHA256) ||
		!is(info.SignatureAlgorithm, oid.SignatureAlgorithmECDSAWithSHA256) {
		return refuse(codeAlgorithm, "the signature does not use ECDSA with SHA-256")
	}
	return nil
}

// signerCertificate finds the certificate that the signer's identifier names.
// The first certificate of the set may be anybody's: gitsign before 0.17.1
// reported that one (row A14).
func signerCertificate(data *protocol.SignedData, info protocol.SignerInfo) (*x509.Certificate, error) {
	switch n := len(data.Certificates); {
	case n == 0: // GHSA-7c37-gx6w-8vc5
		return nil, refuse(codeNoCert, "the signature carries no certificate")
	case n > maxCertificates:
		return nil, refuse(codeSignatureSize, "%d certificates, more than %d", n, maxCertificates)
	}
	var sid protocol.IssuerAndSerialNumber
	if rest, err := asn1.Unmarshal(info.SID.FullBytes, &sid); err != nil || len(rest) != 0 {
		return nil, refuse(codeNoCert, "the signer is not named by issuer and serial number")
	}
	// The name of the signer is not signed, and the decoder does not look at what
	// follows a serial number.
	if again, err := asn1.Marshal(sid); err != nil || !bytes.Equal(again, info.SID.FullBytes) {
		return nil, refuse(codeEncoding, "the signer's name holds more than issuer and serial number")
	}
	certs, err := data.X509Certificates()
	if err != nil {
		return nil, refuse(codeEncoding, "a certificate cannot be read: %v", err)
	}
	var found *x509.Certificate
	for _, c := range certs {
		if !bytes.Equal(c.RawIssuer, sid.Issuer.FullBytes) || c.SerialNumber.Cmp(sid.SerialNumber) != 0 {
			continue
		}
		if found != nil {
			return nil, refuse(codeAmbiguous, "two certificates fit the signer")
		}
		found = c
	}
	if found == nil {
		return nil, refuse(codeNoCert, "none of the certificates is the signer's")
	}
	return found, checkKeyType(found)
}

func checkKeyType(cert *x509.Certificate) error {
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return refuse(codeAlgorithm, "the signer's key is not on P-256")
	}
	return nil
}

// signedBytes are the signed attributes in the form that was signed. They must
// be the three that gitsign writes, each once, and name the payload's digest.
func signedBytes(info protocol.SignerInfo, payload []byte) ([]byte, error) {
	if len(info.SignedAttrs) != 3 {
		return nil, refuse(codeAttributes, "%d signed attributes, where 3 are wanted", len(info.SignedAttrs))
	}
	if t, err := info.GetSigningTimeAttribute(); err != nil || t.IsZero() {
		return nil, refuse(codeAttributes, "not exactly one signing time")
	}
	if kind, err := info.GetContentTypeAttribute(); err != nil || !kind.Equal(oid.ContentTypeData) {
		return nil, refuse(codeAttributes, "not exactly one content type, which is data")
	}
	digest, err := info.GetMessageDigestAttribute()
	if err != nil {
		return nil, refuse(codeAttributes, "not exactly one message digest")
	}
	if want := sha256.Sum256(payload); !bytes.Equal(digest, want[:]) {
		return nil, refuse(codeDigest, "the signature is for other content than this commit")
	}
	received, err := info.SignedAttrs.MarshaledForVerification()
	if err != nil {
		return nil, refuse(codeAttributes, "the signed attributes cannot be encoded")
	}
	sorted, err := info.SignedAttrs.MarshaledForSigning()
	if err != nil || !bytes.Equal(sorted, received) {
		return nil, refuse(codeEncoding, "the signed attributes are not in canonical order")
	}
	return received, nil
}

// takeEvidence reads the unsigned attributes. Nothing signs them, so that
// nothing but evidence that proves itself may stand there.
func (s *cmsSignature) takeEvidence(attrs protocol.Attributes) error {
	for _, a := range attrs {
		values, err := a.Value()
		if err != nil || len(values.Elements) != 1 || !a.RawValue.IsCompound {
			return refuse(codeEncoding, "an unsigned attribute without exactly one value")
		}
		value := values.Elements[0]
		switch {
		case a.Type.Equal(logEntryOID()) && s.entry == nil:
			if rest, err := asn1.Unmarshal(value.FullBytes, &s.entry); err != nil || len(rest) != 0 {
				return refuse(codeEntry, "the log entry is not an octet string")
			}
		case a.Type.Equal(timestampOID()) && s.timestamps == nil:
			s.timestamps = append(s.timestamps, value.FullBytes)
		default:
			return refuse(codeEncoding, "unsigned attribute %s is unknown or there twice", a.Type)
		}
	}
	return nil
}

// checkKey verifies the signature itself, so that a wrong one is called that,
// and not the lack of a log entry that would fit it. sigstore-go does it again.
func (s cmsSignature) checkKey() error {
	digest := sha256.Sum256(s.signed)
	key, ok := s.leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(key, digest[:], s.signature) {
		return refuse(codeSigInvalid, "the certificate's key did not make this signature")
	}
	return nil
}
