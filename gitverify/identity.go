package gitverify

import (
	"crypto/x509"
	"encoding/asn1"
	"strings"
)

// certified is the identity that a certificate names: what Fulcio was told,
// and by whom.
type certified struct {
	issuer, subject string
	isURI           bool
}

// The extensions in which Fulcio writes the issuer: bare text (old), DER (new).
func issuerOID() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1} }
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
	var c certified
	var v1, v2 *string
	for _, ext := range cert.Extensions {
		switch {
		case ext.Id.Equal(sanOID()):
			if err := c.takeSAN(ext.Value); err != nil {
				return certified{}, err
			}
		case ext.Id.Equal(issuerOID()) && v1 == nil:
			text := string(ext.Value)
			v1 = &text
		case ext.Id.Equal(issuerV2OID()) && v2 == nil:
			var text string
			if rest, err := asn1.UnmarshalWithParams(ext.Value, &text, "utf8"); err != nil || len(rest) != 0 {
				return certified{}, refuse(codeIssuer, "the certificate's issuer cannot be read")
			}
			v2 = &text
		}
	}
	switch {
	case v1 != nil && v2 != nil && *v1 != *v2: // GHSA-59jp-pj84-45mr
		return certified{}, refuse(codeIssuer, "the certificate names two issuers, %q and %q", *v1, *v2)
	case v2 != nil:
		c.issuer = *v2
	case v1 != nil:
		c.issuer = *v1
	}
	if c.issuer == "" {
		return certified{}, refuse(codeIssuer, "the certificate names no issuer")
	}
	if c.subject == "" {
		return certified{}, refuse(codeSANType, "the certificate names no subject")
	}
	return c, nil
}

func (c *certified) takeSAN(der []byte) error {
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) != 0 || c.subject != "" {
		return refuse(codeSANType, "the certificate's alternative names cannot be read")
	}
	if len(names) != 1 || names[0].Class != asn1.ClassContextSpecific || (names[0].Tag != tagEmail && names[0].Tag != tagURI) {
		return refuse(codeSANType, "the certificate has not exactly one e-mail address or URI as its name")
	}
	c.subject, c.isURI = string(names[0].Bytes), names[0].Tag == tagURI
	return nil
}

// match finds the listed identity with exactly this issuer, subject and kind of
// subject.
func (p Policy) match(c certified) (Identity, bool) {
	for _, id := range p.Identities {
		if id.Issuer == c.issuer && id.Subject == c.subject && subjectIsURI(id.Subject) == c.isURI {
			return Identity{Name: id.Name, Person: id.Person, Issuer: id.Issuer, Subject: id.Subject}, true
		}
	}
	return Identity{}, false
}

// unknown refuses a proven identity that the policy does not list, and says
// which half of it is wrong.
func (p Policy) unknown(c certified) error {
	for _, id := range p.Identities {
		switch {
		case id.Subject != c.subject:
		case id.Issuer == c.issuer:
			return refuse(codeSANType, "%q is listed, but the certificate has it as another kind of name", c.subject)
		default:
			return refuse(codeIssuer, "signed by %q of %s; the policy lists that subject of %s only", c.subject, c.issuer, id.Issuer)
		}
	}
	return refuse(codeSubject, "signed by %q of %s, whom the policy in force does not list", c.subject, c.issuer)
}

// subjectIsURI tells the two kinds of subject apart: a URI has a scheme.
func subjectIsURI(subject string) bool { return strings.Contains(subject, "://") }
