package forgekey

import (
	"bytes"
	"crypto/rsa"
	_ "crypto/sha256" // the hash algorithms that packet.Signature names
	_ "crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// pgpSignature is a signature packet whose form was checked.
type pgpSignature struct {
	*packet.Signature
	// issuer is the key id that it names, fingerprint the whole name if given.
	issuer      uint64
	fingerprint []byte
	// padded is the size of an RSA number that is padded to that size; 0 if it has
	// its shortest form.
	padded int
}

func verifyPGP(keys []Key, payload, armored []byte) (Key, error) {
	// GitHub ends its signatures with an empty line, inside the commit's header.
	text := string(armored)
	if strings.HasSuffix(text, "-----\n\n") {
		text = text[:len(text)-1]
	}
	data, err := unarmor("PGP SIGNATURE", text)
	if err != nil {
		return Key{}, err
	}
	sig, err := parsePGP(data)
	if err != nil {
		return Key{}, err
	}
	found := fmt.Errorf("%w: PGP key %016X", ErrUnknownKey, sig.issuer)
	for _, k := range keys {
		if k.Type != PGP || !sig.names(k.Fingerprint) {
			continue
		}
		public, err := pgpKey(k)
		if err != nil {
			return Key{}, err
		}
		if err := sig.verify(public, payload); err != nil {
			found = fmt.Errorf("%w: PGP key %q", err, k.Name)
			continue
		}
		return k, nil
	}
	return Key{}, found
}

// names says whether the signature claims to be by the key with the fingerprint.
func (s pgpSignature) names(fingerprint string) bool {
	listed, err := hex.DecodeString(fingerprint)
	if err != nil || len(listed) != 20 {
		return false
	}
	if s.fingerprint != nil && !bytes.Equal(s.fingerprint, listed) {
		return false
	}
	return binary.BigEndian.Uint64(listed[12:]) == s.issuer
}

// verify checks the signature proper, and the two octets of the digest that
// nothing signs: were they free, a signed commit could be given other names.
func (s pgpSignature) verify(public *packet.PublicKey, payload []byte) error {
	if public.PubKeyAlgo != s.PubKeyAlgo {
		return ErrBadSignature
	}
	if key, ok := public.PublicKey.(*rsa.PublicKey); s.padded != 0 && (!ok || s.padded != key.Size()) {
		return fmt.Errorf("%w: the number in it is padded, but not to its key's size", ErrMalformed)
	}
	h := s.Hash.New()
	h.Write(payload)
	if err := public.VerifySignature(h, s.Signature); err != nil {
		return ErrBadSignature
	}
	if sum := h.Sum(nil); !bytes.Equal(sum[:2], s.HashTag[:]) {
		return ErrBadSignature
	}
	return nil
}

// parsePGP checks the form of the one signature packet with nothing left over, and
// only then lets go-crypto read it.
func parsePGP(data []byte) (pgpSignature, error) {
	p, rest, err := nextPacket(data)
	if err != nil {
		return pgpSignature{}, err
	}
	if p.tag != packetSignature || len(rest) > 0 || !p.minimal {
		return pgpSignature{}, fmt.Errorf("%w: not exactly one PGP signature packet", ErrMalformed)
	}
	sig, err := splitPGP(p.body)
	if err != nil {
		return pgpSignature{}, err
	}
	read, err := packet.Read(bytes.NewReader(p.whole))
	if err != nil {
		return pgpSignature{}, fmt.Errorf("%w: PGP signature: %w", ErrMalformed, err)
	}
	signature, ok := read.(*packet.Signature)
	if !ok {
		return pgpSignature{}, fmt.Errorf("%w: not a PGP signature packet", ErrMalformed)
	}
	sig.Signature = signature
	return sig, nil
}

// splitPGP walks over all octets of a signature packet (RFC 9580 §5.2.3).
func splitPGP(body []byte) (pgpSignature, error) {
	if len(body) < 6 || body[0] != 4 {
		return pgpSignature{}, fmt.Errorf("%w: not a PGP signature of version 4", ErrMalformed)
	}
	if err := checkPGPAlgorithms(body[1], body[2], body[3]); err != nil {
		return pgpSignature{}, err
	}
	signed, rest, err := takeArea(body[4:])
	if err != nil {
		return pgpSignature{}, err
	}
	unsigned, rest, err := takeArea(rest)
	if err != nil {
		return pgpSignature{}, err
	}
	var sig pgpSignature
	if err := sig.statements(signed, unsigned); err != nil {
		return pgpSignature{}, err
	}
	if len(rest) < 2 {
		return pgpSignature{}, fmt.Errorf("%w: the PGP signature ends too soon", ErrMalformed)
	}
	return sig, sig.numbers(body[2], rest[2:])
}

func checkPGPAlgorithms(kind, algorithm, hash byte) error {
	if kind != byte(packet.SigTypeBinary) {
		return fmt.Errorf("%w: a PGP signature of type %#02x; only 0x00 covers exactly these bytes", ErrMalformed, kind)
	}
	switch packet.PublicKeyAlgorithm(algorithm) {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519:
	default:
		return fmt.Errorf("%w: PGP algorithm %d", ErrAlgorithm, algorithm)
	}
	switch hash {
	case 8, 9, 10: // SHA-256, SHA-384, SHA-512 (RFC 9580 §9.5)
		return nil
	}
	return fmt.Errorf("%w: PGP hash algorithm %d", ErrAlgorithm, hash)
}

// takeArea cuts off the subpackets, which their length precedes.
func takeArea(data []byte) ([]subpacket, []byte, error) {
	if len(data) < 2 || int(binary.BigEndian.Uint16(data)) > len(data)-2 {
		return nil, nil, fmt.Errorf("%w: the PGP signature ends too soon", ErrMalformed)
	}
	end := 2 + int(binary.BigEndian.Uint16(data))
	found, err := subpackets(data[2:end])
	return found, data[end:], err
}

// statements reads the subpackets, those that are signed and those that are not.
func (s *pgpSignature) statements(signed, unsigned []subpacket) error {
	seen := map[byte]bool{}
	for i, sub := range append(signed, unsigned...) {
		if !sub.belongs(i < len(signed), seen[sub.kind]) {
			return fmt.Errorf("%w: PGP subpacket %d is critical, twice, not signed, or does not belong to a signature of data", ErrMalformed, sub.kind)
		}
		seen[sub.kind] = true
		if err := s.issuedBy(sub); err != nil {
			return err
		}
	}
	if !seen[subpacketCreated] || !seen[subpacketIssuer] && !seen[subpacketFingerprint] {
		return fmt.Errorf("%w: the PGP signature does not name its time and its key", ErrMalformed)
	}
	return nil
}

// belongs says whether a subpacket may stand where it does. In the part that
// nothing signs, only the issuer may, and once; gpg writes it there. In the signed
// part, what belongs to keys and not to data is refused, since go-crypto would read
// it, signatures inside signatures included.
func (sub subpacket) belongs(signed, again bool) bool {
	switch sub.kind {
	case subpacketIssuer, subpacketFingerprint:
		return signed || !sub.critical && !again
	case subpacketCreated:
		return signed && !again
	case subpacketNotation, subpacketPolicyURI, subpacketSignerID:
		return signed && !sub.critical
	}
	return false
}

// issuedBy takes in who the signature claims to be by; two claims must agree.
func (s *pgpSignature) issuedBy(sub subpacket) error {
	var id uint64
	switch {
	case sub.kind == subpacketIssuer && len(sub.content) == 8:
		id = binary.BigEndian.Uint64(sub.content)
	case sub.kind == subpacketFingerprint && len(sub.content) == 21 && sub.content[0] == 4:
		id = binary.BigEndian.Uint64(sub.content[13:])
		if s.fingerprint != nil && !bytes.Equal(s.fingerprint, sub.content[1:]) {
			return fmt.Errorf("%w: the PGP signature names two keys", ErrMalformed)
		}
		s.fingerprint = sub.content[1:]
	case sub.kind == subpacketIssuer, sub.kind == subpacketFingerprint:
		return fmt.Errorf("%w: the PGP signature's key has not the name of a version 4 key", ErrMalformed)
	default:
		return nil
	}
	if s.issuer != 0 && s.issuer != id {
		return fmt.Errorf("%w: the PGP signature names two keys", ErrMalformed)
	}
	s.issuer = id
	return nil
}

// numbers sees that the signature's numbers are there, in one form, and last.
func (s *pgpSignature) numbers(algorithm byte, data []byte) error {
	count := 2 // of ECDSA and EdDSA
	switch packet.PublicKeyAlgorithm(algorithm) {
	case packet.PubKeyAlgoEd25519: // 64 octets as they are
		if len(data) != 64 {
			return fmt.Errorf("%w: an Ed25519 signature of %d bytes", ErrMalformed, len(data))
		}
		return nil
	case packet.PubKeyAlgoRSA:
		count = 1
	default:
	}
	for range count {
		number, rest, padded, err := takeMPI(data)
		switch {
		case err != nil:
			return err
		case padded && count > 1:
			return fmt.Errorf("%w: a PGP number that is not in its shortest form", ErrMalformed)
		case padded: // so GitHub writes most of its signatures
			s.padded = len(number)
		}
		data = rest
	}
	if len(data) > 0 {
		return fmt.Errorf("%w: bytes behind the PGP signature", ErrMalformed)
	}
	return nil
}
