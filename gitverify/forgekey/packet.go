package forgekey

import (
	"encoding/binary"
	"fmt"
)

// The packets that matter here (RFC 9580 §5).
const (
	packetSignature     = 2
	packetPublicKey     = 6
	packetUserID        = 13
	packetPublicSubkey  = 14
	packetUserAttribute = 17
)

// framed is one packet: its tag, its body, and its bytes with the header.
type framed struct {
	tag         byte
	body, whole []byte
	// minimal says that the length has its shortest form.
	minimal bool
}

// nextPacket cuts the first packet off. Lengths that are partial or left open are
// not followed: nothing that is signed or listed needs them.
func nextPacket(data []byte) (framed, []byte, error) {
	if len(data) < 2 || data[0]&0x80 == 0 {
		return framed{}, nil, fmt.Errorf("%w: not a PGP packet", ErrMalformed)
	}
	p := framed{tag: data[0] & 0x3f}
	decode := newLength
	if data[0]&0x40 == 0 {
		p.tag = data[0] >> 2 & 0x0f
		decode = func(b []byte) (int, int) { return oldLength(data[0]&3, b) }
	}
	size, used := decode(data[1:])
	if used == 0 || size > len(data)-1-used {
		return framed{}, nil, fmt.Errorf("%w: a PGP packet without an end", ErrMalformed)
	}
	p.minimal = used == 1 || used == 2 && size >= minimum(data[0]) || used > 2 && size > 0xffff
	end := 1 + used + size
	p.body, p.whole = data[1+used:end], data[:end]
	return p, data[end:], nil
}

// minimum is the smallest length that takes two octets.
func minimum(first byte) int {
	if first&0x40 == 0 {
		return 256
	}
	return 192
}

// newLength reads a length of today's form (RFC 9580 §4.2.1): the length, and the
// octets that it took; none if it cannot be read.
func newLength(b []byte) (size, used int) {
	switch {
	case b[0] < 192:
		return int(b[0]), 1
	case b[0] < 224 && len(b) > 1:
		return int(b[0]-192)<<8 + int(b[1]) + 192, 2
	case b[0] == 255 && len(b) > 4:
		return int(binary.BigEndian.Uint32(b[1:])), 5
	}
	return 0, 0
}

// oldLength reads a length of the old form (RFC 9580 §4.2.2), which gpg writes.
func oldLength(kind byte, b []byte) (size, used int) {
	switch {
	case kind == 0:
		return int(b[0]), 1
	case kind == 1 && len(b) > 1:
		return int(binary.BigEndian.Uint16(b)), 2
	case kind == 2 && len(b) > 3:
		return int(binary.BigEndian.Uint32(b)), 4
	}
	return 0, 0
}

// subpacketLength is newLength with all two-octet forms: in signatures there are
// no partial lengths (RFC 9580 §5.2.3.7).
func subpacketLength(b []byte) (size, used int) {
	if b[0] >= 192 && b[0] < 255 && len(b) > 1 {
		return int(b[0]-192)<<8 + int(b[1]) + 192, 2
	}
	return newLength(b)
}

// The subpackets that are read or judged (RFC 9580 §5.2.3.7).
const (
	subpacketCreated     = 2
	subpacketIssuer      = 16
	subpacketNotation    = 20
	subpacketPolicyURI   = 26
	subpacketSignerID    = 28
	subpacketFingerprint = 33
)

// subpacket is one statement in a signature.
type subpacket struct {
	kind     byte
	critical bool
	content  []byte
}

func subpackets(area []byte) ([]subpacket, error) {
	var found []subpacket
	for len(area) > 0 {
		size, used := subpacketLength(area)
		// A size that cannot be read is 0, too.
		if size == 0 || size > len(area)-used || used == 5 && size < 16_320 {
			return nil, fmt.Errorf("%w: a PGP subpacket that cannot be read", ErrMalformed)
		}
		body := area[used : used+size]
		found = append(found, subpacket{kind: body[0] & 0x7f, critical: body[0]&0x80 != 0, content: body[1:]})
		area = area[used+size:]
	}
	return found, nil
}

// takeMPI cuts a big number off: its bits as a count, then no more octets than
// they need (RFC 9580 §3.2). It is padded when the count is not that of its bits
// but of whole octets.
func takeMPI(data []byte) (number, rest []byte, padded bool, err error) {
	if len(data) < 3 {
		return nil, nil, false, fmt.Errorf("%w: a PGP number is missing", ErrMalformed)
	}
	bits := int(binary.BigEndian.Uint16(data))
	size := (bits + 7) / 8
	if bits == 0 || size > len(data)-2 {
		return nil, nil, false, fmt.Errorf("%w: a PGP number ends too soon", ErrMalformed)
	}
	padded = int(data[2])>>((bits-1)%8) != 1
	if padded && bits%8 != 0 {
		return nil, nil, false, fmt.Errorf("%w: a PGP number does not have the bits that it counts", ErrMalformed)
	}
	return data[2 : 2+size], data[2+size:], padded, nil
}
