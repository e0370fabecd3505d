package gitverify

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	stdasn1 "encoding/asn1"
	"encoding/binary"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxSCTs bounds how many promises of certificate logs are looked at; Fulcio
// has one put into a certificate.
const maxSCTs = 8

// oidSCTs is the extension in which a certificate carries the promises of
// certificate logs (RFC 6962 §3.3), without its header.
const oidSCTs = "\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x02"

func sctsOID() stdasn1.ObjectIdentifier {
	return stdasn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
}

// sct is a signed certificate timestamp (RFC 6962 §3.2).
type sct struct {
	log        string
	timestamp  uint64
	extensions cryptobyte.String
	hash       uint8
	algorithm  uint8
	signature  cryptobyte.String
}

// recorded finds a certificate log of the trusted root that promised to record
// the certificate, as its issuer announced it.
func (a *anchors) recorded(leaf *x509.Certificate, issuerKey [sha256.Size]byte) (relied string, err error) {
	list, ok := extension(leaf, sctsOID())
	if !ok {
		return "", refuse(codeSCT, "the certificate carries no promise of a certificate log")
	}
	scts, ok := readSCTs(list)
	announced, whole := withoutSCTs(leaf.RawTBSCertificate)
	if !ok || !whole {
		return "", refuse(codeSCT, "the promises of certificate logs in the certificate cannot be read")
	}
	beyond := false
	for _, s := range scts {
		log, known := a.certificateLogs[s.log]
		if !known || !log.contains(time.UnixMilli(int64(s.timestamp))) { //nolint:gosec // beyond an int64 it is before every window
			continue
		}
		if log.key == nil {
			beyond = true
			continue
		}
		if s.verify(log.key, s.covers(announced, issuerKey)) {
			return log.name, nil
		}
	}
	if beyond {
		return "", errBeyond
	}
	return "", refuse(codeSCT, "no certificate log of the trusted root recorded the certificate")
}

// readSCTs reads the extension: an octet string that holds a list in TLS's
// encoding.
func readSCTs(value []byte) ([]sct, bool) {
	outer := readDER(value)
	octets := outer.content(asn1.OCTET_STRING)
	outer.end()
	var list cryptobyte.String
	if !outer.ok() || !octets.ReadUint16LengthPrefixed(&list) || !octets.Empty() {
		return nil, false
	}
	var scts []sct
	for !list.Empty() {
		var one cryptobyte.String
		if len(scts) == maxSCTs || !list.ReadUint16LengthPrefixed(&one) {
			return nil, false
		}
		s, ok := readSCT(one)
		if !ok {
			return nil, false
		}
		scts = append(scts, s)
	}
	return scts, true
}

func readSCT(from cryptobyte.String) (s sct, ok bool) {
	var version uint8
	var log []byte
	ok = from.ReadUint8(&version) && version == 0 && from.ReadBytes(&log, sha256.Size) && from.ReadUint64(&s.timestamp) &&
		from.ReadUint16LengthPrefixed(&s.extensions) && from.ReadUint8(&s.hash) && from.ReadUint8(&s.algorithm) &&
		from.ReadUint16LengthPrefixed(&s.signature) && from.Empty()
	s.log = string(log)
	return s, ok
}

// covers is what the log signed (RFC 6962 §3.2): the certificate without the
// promises, and the hash of its issuer's key.
func (s sct) covers(announced []byte, issuerKey [sha256.Size]byte) []byte {
	b := make([]byte, 0, len(announced)+len(s.extensions)+64)
	b = append(b, 0, 0) // v1, certificate_timestamp
	b = binary.BigEndian.AppendUint64(b, s.timestamp)
	b = append(b, 0, 1) // precert_entry
	b = append(b, issuerKey[:]...)
	b = append(b, byte(len(announced)>>16), byte(len(announced)>>8), byte(len(announced))) //nolint:gosec // bytes of a length
	b = append(b, announced...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.extensions))) //nolint:gosec // it came with a length of 16 bits
	return append(b, s.extensions...)
}

// verify verifies the signature, which names its own algorithms (RFC 5246
// §7.4.1.4.1): ECDSA, with any digest that is not broken.
func (s sct) verify(key *ecdsa.PublicKey, signed []byte) bool {
	if s.algorithm != 3 {
		return false
	}
	var digest []byte
	switch s.hash {
	case 4:
		sum := sha256.Sum256(signed)
		digest = sum[:]
	case 5:
		sum := sha512.Sum384(signed)
		digest = sum[:]
	case 6:
		sum := sha512.Sum512(signed)
		digest = sum[:]
	default:
		return false
	}
	return ecdsa.VerifyASN1(key, digest, s.signature)
}

// withoutSCTs takes the extension with the promises out of a certificate's
// signed part: what is left is what the logs saw (RFC 6962 §3.3).
func withoutSCTs(tbs []byte) ([]byte, bool) {
	outer := readDER(tbs)
	body := outer.enter(asn1.SEQUENCE)
	outer.end()
	var before []byte // all fields but the extensions, which are the last
	for !body.rest.Empty() && !body.rest.PeekASN1Tag(explicit(3)) {
		before = append(before, body.any()...)
	}
	wrapped := body.enter(explicit(3))
	body.end()
	extensions := wrapped.enter(asn1.SEQUENCE)
	wrapped.end()
	kept := make([]byte, 0, len(extensions.rest))
	for !extensions.rest.Empty() {
		whole := extensions.whole(asn1.SEQUENCE)
		if id := readDER(whole).enter(asn1.SEQUENCE).content(asn1.OBJECT_IDENTIFIER); string(id) != oidSCTs {
			kept = append(kept, whole...)
		}
	}
	list := encodeDER(asn1.SEQUENCE, kept)
	return encodeDER(asn1.SEQUENCE, before, encodeDER(explicit(3), list)), outer.ok()
}
