package gitverify

import (
	"bytes"
	"crypto/sha256"
	stdasn1 "encoding/asn1"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// attribute is one Attribute (RFC 5652 §5.3) with its one value.
type attribute struct {
	kind  string
	value cryptobyte.String
}

// attributeSet is a list of attributes, given as a whole value, split.
func attributeSet(list cryptobyte.String) ([]cryptobyte.String, bool) {
	if len(list) == 0 {
		return nil, true
	}
	var set cryptobyte.String
	var tag asn1.Tag
	if !list.ReadAnyASN1(&set, &tag) {
		return nil, false
	}
	raws, _ := elements(set) // none where they cannot be read
	return raws, len(raws) > 0
}

// readAttributes reads attributes, each with exactly one value. They must be in
// order.
func readAttributes(raws []cryptobyte.String) ([]attribute, bool) {
	if !ordered(raws) {
		return nil, false
	}
	attributes := make([]attribute, 0, len(raws))
	for _, raw := range raws {
		outer := readDER(raw)
		inner := outer.enter(asn1.SEQUENCE)
		kind := inner.content(asn1.OBJECT_IDENTIFIER)
		values := inner.enter(asn1.SET)
		inner.end()
		a := attribute{string(kind), values.any()}
		if values.end(); !outer.ok() {
			return nil, false
		}
		attributes = append(attributes, a)
	}
	return attributes, true
}

// checkSignedAttributes wants the three attributes that gitsign writes, each
// once, with the payload's digest among them.
func checkSignedAttributes(list cryptobyte.String, payload [sha256.Size]byte) error {
	raws, _ := attributeSet(list)
	if len(raws) != 3 {
		return refuse(codeAttributes, "%d signed attributes, where 3 are wanted", len(raws))
	}
	attributes, ok := readAttributes(raws)
	if !ok {
		return refuse(codeEncoding, "the signed attributes are not in canonical order, or have other than one value")
	}
	var content, digest, moment cryptobyte.String
	for _, a := range attributes {
		switch a.kind {
		case oidContentType:
			content = a.value
		case oidDigest:
			digest = a.value
		case oidSigningTime:
			moment = a.value
		}
	}
	var kind, sum cryptobyte.String
	if !content.ReadASN1(&kind, asn1.OBJECT_IDENTIFIER) || string(kind) != oidData {
		return refuse(codeAttributes, "not exactly one content type, which is data")
	}
	if !digest.ReadASN1(&sum, asn1.OCTET_STRING) {
		return refuse(codeAttributes, "not exactly one message digest")
	}
	if _, ok := readTime(moment); !ok {
		return refuse(codeAttributes, "not exactly one signing time")
	}
	if !bytes.Equal(sum, payload[:]) {
		return refuse(codeDigest, "the signature is for other content than this commit")
	}
	return nil
}

// readTime reads a UTCTime or a GeneralizedTime, with a fraction of a second if
// there is one (RFC 3161 §2.4.2).
func readTime(value cryptobyte.String) (time.Time, bool) {
	var t time.Time
	rest, err := stdasn1.Unmarshal(value, &t)
	return t, err == nil && len(rest) == 0
}

// signedForm is a list of attributes in the form that was signed: not as part of a
// message, but as a SET (RFC 5652 §5.4).
func signedForm(list cryptobyte.String) []byte {
	set := bytes.Clone(list)
	if len(set) > 0 {
		set[0] = byte(asn1.SET)
	}
	return set
}

// takeEvidence reads the unsigned attributes. Nothing signs them, so that
// nothing but evidence that proves itself may stand there.
func (s *cmsSignature) takeEvidence(list cryptobyte.String) error {
	raws, whole := attributeSet(list)
	attributes, ok := readAttributes(raws)
	if !whole || !ok {
		return refuse(codeEncoding, "the unsigned attributes are not in canonical order, or have other than one value")
	}
	for _, a := range attributes {
		switch {
		case a.kind == oidLogEntry && s.entry == nil:
			var entry cryptobyte.String
			if !a.value.ReadASN1(&entry, asn1.OCTET_STRING) {
				return refuse(codeEntry, "the log entry is not an octet string")
			}
			s.entry = entry
		case a.kind == oidTimestamp && s.token == nil:
			s.token = a.value
		default:
			return refuse(codeEncoding, "unsigned attribute %s is unknown or there twice", nameOf(a.kind))
		}
	}
	return nil
}

// nameOf writes an object identifier with dots.
func nameOf(kind string) string {
	id := stdasn1.ObjectIdentifier{}
	der := append([]byte{byte(asn1.OBJECT_IDENTIFIER), byte(min(len(kind), 127))}, kind...)
	if _, err := stdasn1.Unmarshal(der, &id); err != nil {
		return strings.ToValidUTF8(kind, "?")
	}
	return id.String()
}
