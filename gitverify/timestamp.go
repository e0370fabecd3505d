package gitverify

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"

	"github.com/github/smimesign/ietf-cms/oid"
	"github.com/github/smimesign/ietf-cms/protocol"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// A timestamp token is a CMS signature of its own, and stands where nothing
// signs it. What in it the authority has not signed must therefore have one
// form only, or it would give a commit as many names as somebody likes
// (rule T9). The libraries that verify it are lenient about these parts.

// tokenData is SignedData (RFC 5652 §5.1) with the certificates as they came:
// authorities do not sort them, as DER would have it.
type tokenData struct {
	Version          int
	DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
	Content          protocol.EncapsulatedContentInfo
	Certificates     asn1.RawValue         `asn1:"optional,tag:0"`
	SignerInfos      []protocol.SignerInfo `asn1:"set"`
}

func tstInfoOID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4} // RFC 3161 §2.4.2
}

// checkToken lets a token through whose unsigned parts say nothing new.
func checkToken(token []byte, trusted *root.TrustedRoot) error {
	data, err := decodeToken(token)
	if err != nil {
		return err
	}
	if len(data.SignerInfos) != 1 || len(data.DigestAlgorithms) != 1 {
		return refuse(codeTSA, "the timestamp has not exactly one signer")
	}
	if err := data.checkSigner(); err != nil {
		return err
	}
	return data.checkCertificates(trusted)
}

// decodeToken decodes a token and makes sure that it encodes to the same bytes.
func decodeToken(token []byte) (tokenData, error) {
	var info protocol.ContentInfo
	var data tokenData
	if rest, err := asn1.Unmarshal(token, &info); err != nil || len(rest) != 0 || !info.ContentType.Equal(oid.ContentTypeSignedData) {
		return data, refuse(codeTSA, "the timestamp is not signed data")
	}
	if rest, err := asn1.Unmarshal(info.Content.Bytes, &data); err != nil || len(rest) != 0 {
		return data, refuse(codeTSA, "the timestamp is not one DER value")
	}
	inner, err := asn1.Marshal(data)
	if err != nil {
		return data, refuse(codeTSA, "the timestamp cannot be encoded")
	}
	info.Content = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner}
	if again, err := asn1.Marshal(info); err != nil || !bytes.Equal(again, token) {
		return data, refuse(codeTSA, "the timestamp is not canonical DER")
	}
	return data, nil
}

func (d tokenData) checkSigner() error {
	s := d.SignerInfos[0]
	digest := s.DigestAlgorithm
	var content []byte
	rest, err := asn1.Unmarshal(d.Content.EContent.Bytes, &content)
	switch {
	case err != nil || len(rest) != 0 || !d.Content.EContentType.Equal(tstInfoOID()):
		return refuse(codeTSA, "the timestamp holds no timestamp")
	case d.Version != 3 || s.Version != 1 || len(s.UnsignedAttrs) != 0:
		return refuse(codeTSA, "the timestamp has another version than RFC 3161 gives, or unsigned attributes")
	case !digest.Algorithm.Equal(d.DigestAlgorithms[0].Algorithm),
		len(digest.Parameters.FullBytes)+len(d.DigestAlgorithms[0].Parameters.FullBytes)+len(s.SignatureAlgorithm.Parameters.FullBytes) != 0:
		return refuse(codeTSA, "the timestamp names its algorithms in an unusual way")
	}
	var sid protocol.IssuerAndSerialNumber
	if rest, err := asn1.Unmarshal(s.SID.FullBytes, &sid); err != nil || len(rest) != 0 {
		return refuse(codeTSA, "the timestamp's signer is not named by issuer and serial number")
	}
	if again, err := asn1.Marshal(sid); err != nil || !bytes.Equal(again, s.SID.FullBytes) {
		return refuse(codeTSA, "the name of the timestamp's signer holds more than issuer and serial number")
	}
	received, err := s.SignedAttrs.MarshaledForVerification()
	if err != nil {
		return refuse(codeTSA, "the timestamp's attributes cannot be encoded")
	}
	if sorted, err := s.SignedAttrs.MarshaledForSigning(); err != nil || !bytes.Equal(sorted, received) {
		return refuse(codeTSA, "the timestamp's attributes are not in canonical order")
	}
	return nil
}

// checkCertificates lets certificates through that the trusted root has too;
// they add nothing, since nothing is verified against what comes along.
func (d tokenData) checkCertificates(trusted *root.TrustedRoot) error {
	known := map[string]bool{}
	for _, authority := range trusted.TimestampingAuthorities() {
		a, ok := authority.(*root.SigstoreTimestampingAuthority)
		if !ok {
			continue
		}
		for _, c := range append(slices.Clip(a.Intermediates), a.Leaf, a.Root) {
			if c != nil {
				known[string(c.Raw)] = true
			}
		}
	}
	for rest := d.Certificates.Bytes; len(rest) > 0; {
		var cert asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &cert); err != nil {
			return refuse(codeTSA, "a certificate in the timestamp cannot be read")
		}
		if !known[string(cert.FullBytes)] {
			return refuse(codeTSA, "the timestamp carries a certificate that is not in the trusted root")
		}
		delete(known, string(cert.FullBytes)) // each at most once
	}
	return nil
}
