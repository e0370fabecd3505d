package gitverify

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A timestamp token is a CMS signature of its own, and stands where nothing
// signs it. What in it the authority has not signed must therefore have one
// form only, or it would give a commit as many names as somebody likes
// (rule T9). The libraries that verify it are lenient about these parts.

// Object identifiers without their headers, and whole algorithm identifiers.
const (
	oidTSTInfo      = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x04" // RFC 3161 §2.4.2
	algorithmSHA384 = "\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02"
	algorithmSHA512 = "\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03"
	ecdsaSHA384     = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"
	ecdsaSHA512     = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04"
)

// stamper is a timestamp authority of the trusted root.
type stamper struct {
	window
	name string
	leaf *x509.Certificate
	// paths are when the leaf leads to the root; none if it may not stamp.
	paths []window
	// certificates are all of it, which a token may carry.
	certificates [][]byte
}

func stamperName(tsa *root.SigstoreTimestampingAuthority) string {
	certs := append(slices.Clip(tsa.Intermediates), tsa.Leaf, tsa.Root)
	return fingerprint("tsa", window{tsa.ValidityPeriodStart, tsa.ValidityPeriodEnd}, rawOf(certs)...)
}

func newStamper(tsa *root.SigstoreTimestampingAuthority) stamper {
	s := stamper{window: window{tsa.ValidityPeriodStart, tsa.ValidityPeriodEnd}, name: stamperName(tsa), leaf: tsa.Leaf}
	s.certificates = rawOf(append(slices.Clip(tsa.Intermediates), tsa.Leaf, tsa.Root))
	if mayStamp(tsa.Leaf) {
		s.paths = paths(tsa.Leaf, tsa.Root, tsa.Intermediates, 0, x509.ExtKeyUsageTimeStamping)
	}
	return s
}

// mayStamp wants a certificate that is for timestamps only, and critically so
// (RFC 3161 §2.3).
func mayStamp(leaf *x509.Certificate) bool {
	critical := slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool {
		return e.Critical && e.Id.Equal([]int{2, 5, 29, 37})
	})
	return critical && !leaf.IsCA && len(leaf.UnknownExtKeyUsage) == 0 &&
		slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping})
}

// token is a timestamp token (RFC 3161 §2.4.2) taken apart.
type token struct {
	signer       signerInfo
	content      cryptobyte.String // TSTInfo
	certificates []cryptobyte.String
	// attributes are the signed ones, imprint and made what the content says.
	attributes []attribute
	imprint    cryptobyte.String
	hash       string
	made       time.Time
}

// readToken reads a token whose unsigned parts say nothing new.
func readToken(der []byte, trusted *anchors) (token, error) {
	t, err := decodeToken(der)
	if err != nil {
		return token{}, err
	}
	if err := t.checkCertificates(trusted); err != nil {
		return token{}, err
	}
	return t, t.readContent()
}

// decodeToken reads SignedData (RFC 5652 §5.1) as an authority writes it.
func decodeToken(message []byte) (token, error) {
	input := readDER(message)
	info := input.enter(asn1.SEQUENCE)
	input.end()
	kind := info.content(asn1.OBJECT_IDENTIFIER)
	wrapped := info.enter(explicit(0))
	info.end()
	body := wrapped.enter(asn1.SEQUENCE)
	wrapped.end()
	version := body.number()
	digests := body.content(asn1.SET)
	content := body.enter(asn1.SEQUENCE)
	contentKind := content.content(asn1.OBJECT_IDENTIFIER)
	outer := content.enter(explicit(0))
	content.end()
	t := token{content: outer.content(asn1.OCTET_STRING)}
	outer.end()
	// Authorities do not sort the certificates, as DER would have it.
	certificates := body.wholeIf(explicit(0))
	signers := body.content(asn1.SET)
	if body.end(); !body.ok() || string(kind) != oidSignedData || version != 3 || string(contentKind) != oidTSTInfo {
		return token{}, refuse(codeTSA, "the timestamp is not signed data that holds a timestamp")
	}
	if certificates != nil {
		t.certificates, _ = elements(readDER(certificates).content(explicit(0))) // none where they cannot be read
		if len(t.certificates) == 0 {
			return token{}, refuse(codeTSA, "the certificates in the timestamp cannot be read")
		}
	}
	return t, t.readSigner(digests, signers)
}

// readSigner wants one signer, and each part of it in its one form.
func (t *token) readSigner(digests, signers cryptobyte.String) error {
	signer, _ := elements(signers) // none where they cannot be read, as below
	if len(signer) != 1 {
		return refuse(codeTSA, "the timestamp has not exactly one signer")
	}
	info, version, err := readSigner(signer[0])
	if err != nil {
		return refuse(codeTSA, "the timestamp's signer cannot be read, or its name holds more than issuer and serial number")
	}
	if version != 1 || len(info.unsignedAttributes) != 0 {
		return refuse(codeTSA, "the timestamp has another version than RFC 3161 gives, or unsigned attributes")
	}
	if !slices.Contains([]string{algorithmSHA256, algorithmSHA384, algorithmSHA512}, string(digests)) || !bytes.Equal(digests, info.digestAlgorithm) {
		return refuse(codeTSA, "the timestamp names its algorithms in an unusual way")
	}
	raws, _ := attributeSet(info.signedAttributes)
	attributes, _ := readAttributes(raws)
	if len(attributes) == 0 {
		return refuse(codeTSA, "the timestamp's attributes are not in canonical order")
	}
	t.signer, t.attributes = info, attributes
	return nil
}

// checkCertificates lets certificates through that the trusted root has too;
// they add nothing, since nothing is verified against what comes along.
func (t *token) checkCertificates(trusted *anchors) error {
	for i, c := range t.certificates {
		if !slices.ContainsFunc(trusted.stamping, func(known *x509.Certificate) bool { return bytes.Equal(known.Raw, c) }) {
			return refuse(codeTSA, "the timestamp carries a certificate that is not in the trusted root")
		}
		if slices.ContainsFunc(t.certificates[:i], func(other cryptobyte.String) bool { return bytes.Equal(other, c) }) {
			return refuse(codeTSA, "the timestamp carries a certificate twice")
		}
	}
	return nil
}

// readContent reads TSTInfo (RFC 3161 §2.4.2) as far as it counts: the digest
// of what was stamped, and when.
func (t *token) readContent() error {
	outer := readDER(t.content)
	info := outer.enter(asn1.SEQUENCE)
	outer.end()
	version := info.number()
	info.content(asn1.OBJECT_IDENTIFIER) // the policy
	imprint := info.enter(asn1.SEQUENCE)
	algorithm := imprint.enter(asn1.SEQUENCE)
	// An authority may write a NULL behind the algorithm or leave it out.
	t.hash = "\x30\x0b" + string(algorithm.whole(asn1.OBJECT_IDENTIFIER))
	t.imprint = imprint.content(asn1.OCTET_STRING)
	imprint.end()
	info.content(asn1.INTEGER) // the serial number
	moment := info.whole(asn1.GeneralizedTime)
	if !info.ok() || version != 1 {
		return refuse(codeTSA, "the timestamp cannot be read")
	}
	var ok bool
	if t.made, ok = readTime(moment); !ok {
		return refuse(codeTSA, "the timestamp's time cannot be read")
	}
	return nil
}

// stamped finds the authority of the trusted root that made the token for the
// signature, and says when. It returns errBeyond where only an authority that
// the trusted root does not fully name could have made it.
func (a *anchors) stamped(t token, signature []byte) (at time.Time, relied string, err error) {
	if digest := digestBy(t.hash, signature); digest == nil || !bytes.Equal(digest, t.imprint) {
		return at, "", refuse(codeTSA, "the timestamp is for something else")
	}
	for i := range a.stampers {
		s := &a.stampers[i]
		if bytes.Equal(s.leaf.RawIssuer, t.signer.issuer) && s.leaf.SerialNumber.Cmp(t.signer.serial) == 0 && s.made(t) {
			return t.made.UTC(), s.name, nil
		}
	}
	if a.strayStampers {
		return at, "", errBeyond
	}
	return at, "", refuse(codeTSA, "the timestamp beside the signature does not verify")
}

// made says whether the authority made the token, while it might.
func (s *stamper) made(t token) bool {
	if !s.contains(t.made) || !containsTime(s.paths, t.made) || !s.fits(t.certificates) {
		return false
	}
	var kind, digest, inner cryptobyte.String
	for _, a := range t.attributes {
		switch a.kind {
		case oidContentType:
			kind = a.value
		case oidDigest:
			digest = a.value
		case oidSigningTime:
			// The authority's own clock must agree that its certificate was valid.
			if at, ok := readTime(a.value); !ok || at.Before(s.leaf.NotBefore) || at.After(s.leaf.NotAfter) {
				return false
			}
		}
	}
	if !kind.ReadASN1(&inner, asn1.OBJECT_IDENTIFIER) || string(inner) != oidTSTInfo ||
		!digest.ReadASN1(&inner, asn1.OCTET_STRING) || !bytes.Equal(inner, digestBy(string(t.signer.digestAlgorithm), t.content)) {
		return false
	}
	algorithm := stampAlgorithm(string(t.signer.signatureAlgorithm))
	return s.leaf.CheckSignature(algorithm, signedForm(t.signer.signedAttributes), t.signer.signature) == nil
}

// stampAlgorithm is ECDSA, with any digest that is not broken; or one that no
// signature is by.
func stampAlgorithm(identifier string) x509.SignatureAlgorithm {
	switch identifier {
	case algorithmECDSA:
		return x509.ECDSAWithSHA256
	case ecdsaSHA384:
		return x509.ECDSAWithSHA384
	case ecdsaSHA512:
		return x509.ECDSAWithSHA512
	}
	return x509.UnknownSignatureAlgorithm
}

// fits says whether the certificates in a token are this authority's own, its
// leaf among them, or none.
func (s *stamper) fits(certificates []cryptobyte.String) bool {
	own, leaf := true, len(certificates) == 0
	for _, c := range certificates {
		own = own && slices.ContainsFunc(s.certificates, func(raw []byte) bool { return bytes.Equal(raw, c) })
		leaf = leaf || bytes.Equal(c, s.leaf.Raw)
	}
	return own && leaf
}

// digestBy is the digest by a named algorithm, nil for one that is not used.
func digestBy(algorithm string, content []byte) []byte {
	switch algorithm {
	case algorithmSHA256:
		sum := sha256.Sum256(content)
		return sum[:]
	case algorithmSHA384:
		sum := sha512.Sum384(content)
		return sum[:]
	case algorithmSHA512:
		sum := sha512.Sum512(content)
		return sum[:]
	}
	return nil
}
