package gitverify

import (
	"crypto/x509"
	"encoding/asn1"
)

// certified is the identity that a certificate names: what Fulcio was told,
// and by whom.
type certified struct {
	issuer, subject string
	isURI           bool
}

// The extensions in which Fulcio writes the issuer: bare text (old), DER (new).
func issuerOID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
}

func issuerV2OID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
}

func sanOID() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

// GeneralName's tags (RFC 5280 §4.2.1.6).
const (
	tagEmail = 1
	tagURI   = 6
)

// claimedIdentity reads the certificate's own bytes: parsed forms fold case and
// escapes (row B04). It is a claim until the certificate is verified.
func claimedIdentity(cert *x509.Certificate) (certified, error) {
	issuer, err := issuerOf(cert)
	if err != nil {
		return certified{}, err
	}
	san, ok := extension(cert, sanOID())
	if !ok {
		return certified{}, refuse(codeSANType, "the certificate names no subject")
	}
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(san, &names); err != nil || len(rest) != 0 {
		return certified{}, refuse(codeSANType, "the certificate's alternative names cannot be read")
	}
	if len(names) != 1 || names[0].Class != asn1.ClassContextSpecific || (names[0].Tag != tagEmail && names[0].Tag != tagURI) {
		return certified{}, refuse(codeSANType, "the certificate has not exactly one e-mail address or URI as its name")
	}
	return certified{issuer: issuer, subject: string(names[0].Bytes), isURI: names[0].Tag == tagURI}, nil
}

// issuerOf reads the identity provider from both places where Fulcio writes it.
func issuerOf(cert *x509.Certificate) (string, error) {
	old, hasOld := extension(cert, issuerOID())
	der, hasNew := extension(cert, issuerV2OID())
	issuer := string(old)
	if hasNew {
		if rest, err := asn1.UnmarshalWithParams(der, &issuer, "utf8"); err != nil || len(rest) != 0 {
			return "", refuse(codeIssuer, "the certificate's issuer cannot be read")
		}
	}
	if hasOld && issuer != string(old) { // GHSA-59jp-pj84-45mr
		return "", refuse(codeIssuer, "the certificate names two issuers, %q and %q", string(old), issuer)
	}
	if issuer == "" {
		return "", refuse(codeIssuer, "the certificate names no issuer")
	}
	return issuer, nil
}

// extension finds an extension; crypto/x509 has refused certificates that have
// one twice.
func extension(cert *x509.Certificate, id asn1.ObjectIdentifier) ([]byte, bool) {
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(id) {
			return ext.Value, true
		}
	}
	return nil, false
}
