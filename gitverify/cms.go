package gitverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds on what one signature may carry (row B30). gitsign writes one
// certificate and about four kilobytes.
const (
	maxSignature    = 64 << 10
	maxCertificates = 8
)

// The parts of a signature that can only be what gitsign writes, as DER: object
// identifiers without their headers, and whole values.
const (
	oidData         = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	oidSignedData   = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
	oidContentType  = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"
	oidDigest       = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04"
	oidSigningTime  = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05"
	oidTimestamp    = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x0e" // RFC 3161 appendix A
	oidLogEntry     = "\x2b\x06\x01\x04\x01\x83\xbf\x30\x03\x01"     // 1.3.6.1.4.1.57264.3.1, Sigstore
	algorithmSHA256 = "\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01"
	algorithmECDSA  = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02" // with SHA-256
)

// cmsSignature is one signature over a commit, taken apart but not verified.
type cmsSignature struct {
	leaf *x509.Certificate
	key  *ecdsa.PublicKey
	// signed is the DER of the signed attributes as a SET (RFC 5652 §5.4): the
	// bytes that the key signed and that the log recorded. digest is of them.
	signed    []byte
	digest    [sha256.Size]byte
	signature []byte
	// entry is the encoded log entry, token an RFC 3161 timestamp; nil if absent.
	entry, token []byte
}

// parseSignature takes the armored signature of a payload apart and refuses
// every form but the one that gitsign writes, so that nobody can give the same
// signed content another name (rule T9), and so that no two readers can take
// different parts of it for the signature. cryptobyte reads DER and nothing
// else; what it does not look into is compared or signed.
func parseSignature(armored []byte, payload [sha256.Size]byte) (cmsSignature, error) {
	der, err := decodePEM(armored)
	if err != nil {
		return cmsSignature{}, err
	}
	data, err := readSignedData(der)
	if err != nil {
		return cmsSignature{}, err
	}
	info, err := data.onlySigner()
	if err != nil {
		return cmsSignature{}, err
	}
	leaf, err := signerCertificate(data.certificates, info)
	if err != nil {
		return cmsSignature{}, err
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return cmsSignature{}, refuse(codeAlgorithm, "the signer's key is not on P-256")
	}
	if err := checkSignedAttributes(info.signedAttributes, payload); err != nil {
		return cmsSignature{}, err
	}
	sig := cmsSignature{leaf: leaf, key: key, signed: signedForm(info.signedAttributes), signature: info.signature}
	sig.digest = sha256.Sum256(sig.signed)
	return sig, sig.takeEvidence(info.unsignedAttributes)
}

// signedData is SignedData (RFC 5652 §5.1): detached, with one list of
// certificates and one of signers.
type signedData struct {
	digests, certificates, signers cryptobyte.String
}

// readSignedData reads a whole signature as detached signed data.
func readSignedData(message []byte) (signedData, error) {
	input := readDER(message)
	info := input.enter(asn1.SEQUENCE)
	input.end()
	if kind := info.content(asn1.OBJECT_IDENTIFIER); !info.ok() {
		return signedData{}, refuse(codeEncoding, "the signature is not one DER value")
	} else if string(kind) != oidSignedData {
		return signedData{}, refuse(codeType, "the signature is CMS, but not signed data")
	}
	wrapped := info.enter(explicit(0))
	info.end()
	body := wrapped.enter(asn1.SEQUENCE)
	wrapped.end()
	version := body.number()
	data := signedData{digests: body.content(asn1.SET)}
	content := body.enter(asn1.SEQUENCE)
	kind := content.content(asn1.OBJECT_IDENTIFIER)
	if !content.rest.Empty() { // nothing is left of what cannot be read
		return signedData{}, refuse(codeNotDetached, "the signature carries content of its own")
	}
	if certificates := body.wholeIf(explicit(0)); certificates != nil {
		data.certificates = readDER(certificates).content(explicit(0))
	}
	// Revocation lists, which gitsign never writes, would stand where the list
	// of signers is read.
	data.signers = body.content(asn1.SET)
	if body.end(); !body.ok() || version != 1 || string(kind) != oidData {
		return signedData{}, refuse(codeEncoding, "not the version, content type and parts that gitsign writes")
	}
	return data, nil
}

// signerInfo is SignerInfo (RFC 5652 §5.3). The attributes are whole values
// with the header they came with.
type signerInfo struct {
	issuer                               cryptobyte.String
	serial                               *big.Int
	digestAlgorithm, signatureAlgorithm  cryptobyte.String
	signedAttributes, unsignedAttributes cryptobyte.String
	signature                            cryptobyte.String
}

// onlySigner reads the one signer and lets through the algorithms that gitsign
// uses and nothing else (row A18).
func (d signedData) onlySigner() (signerInfo, error) {
	raws, _ := elements(d.signers) // none where they cannot be read
	if len(raws) != 1 {
		return signerInfo{}, refuse(codeAmbiguous, "%d signers, where one is wanted", len(raws))
	}
	info, version, err := readSigner(raws[0])
	if err != nil {
		return signerInfo{}, err
	}
	if version != 1 {
		return signerInfo{}, refuse(codeEncoding, "not the version of signer that gitsign writes")
	}
	if string(d.digests) != algorithmSHA256 || string(info.digestAlgorithm) != algorithmSHA256 || string(info.signatureAlgorithm) != algorithmECDSA {
		return signerInfo{}, refuse(codeAlgorithm, "the signature does not use ECDSA with SHA-256")
	}
	return info, nil
}

// readSigner reads a SignerInfo.
func readSigner(raw cryptobyte.String) (info signerInfo, version int, err error) {
	outer := readDER(raw)
	d := outer.enter(asn1.SEQUENCE)
	outer.end()
	version = d.number()
	named := readDER(d.any())
	info.digestAlgorithm = d.whole(asn1.SEQUENCE)
	info.signedAttributes = d.wholeIf(explicit(0))
	info.signatureAlgorithm = d.whole(asn1.SEQUENCE)
	info.signature = d.content(asn1.OCTET_STRING)
	info.unsignedAttributes = d.wholeIf(explicit(1))
	if d.end(); !d.ok() {
		return info, 0, refuse(codeEncoding, "the signer cannot be read")
	}
	info.serial = new(big.Int)
	sid := named.enter(asn1.SEQUENCE)
	info.issuer = sid.whole(asn1.SEQUENCE)
	if sid.want(sid.rest.ReadASN1Integer(info.serial)); !sid.ok() {
		return info, 0, refuse(codeNoCert, "the signer is not named by issuer and serial number")
	}
	// The name of the signer is not signed: nothing may follow the serial number.
	if sid.end(); !sid.ok() {
		return info, 0, refuse(codeEncoding, "the signer's name holds more than issuer and serial number")
	}
	return info, version, nil
}

// signerCertificate finds the certificate that the signer's identifier names.
// The first certificate of the set may be anybody's: gitsign before 0.17.1
// reported that one (row A14).
func signerCertificate(set cryptobyte.String, info signerInfo) (*x509.Certificate, error) {
	raws, ok := elements(set)
	switch {
	case ok && len(raws) == 0: // GHSA-7c37-gx6w-8vc5
		return nil, refuse(codeNoCert, "the signature carries no certificate")
	case len(raws) > maxCertificates:
		return nil, refuse(codeSignatureSize, "%d certificates, more than %d", len(raws), maxCertificates)
	case !ok || !ordered(raws):
		return nil, refuse(codeEncoding, "the certificates are no canonical set")
	}
	var found *x509.Certificate
	for _, raw := range raws {
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, refuse(codeEncoding, "a certificate cannot be read: %v", err)
		}
		if !bytes.Equal(c.RawIssuer, info.issuer) || c.SerialNumber.Cmp(info.serial) != 0 {
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
	return found, nil
}

// elements splits the content of a SET OF.
func elements(set cryptobyte.String) ([]cryptobyte.String, bool) {
	var all []cryptobyte.String
	for !set.Empty() {
		var e cryptobyte.String
		var tag asn1.Tag
		if !set.ReadAnyASN1Element(&e, &tag) {
			return nil, false
		}
		all = append(all, e)
	}
	return all, true
}

// ordered says whether the elements of a SET OF stand in the order of DER
// (X.690 §11.6).
func ordered(all []cryptobyte.String) bool {
	return slices.IsSortedFunc(all, func(a, b cryptobyte.String) int { return bytes.Compare(a, b) })
}

// checkKey verifies the signature itself, before anything else is looked at, so
// that a wrong one is called that, and not the lack of a log entry that would
// fit it.
func (s cmsSignature) checkKey() error {
	if !ecdsa.VerifyASN1(s.key, s.digest[:], s.signature) {
		return refuse(codeSigInvalid, "the certificate's key did not make this signature")
	}
	return nil
}
