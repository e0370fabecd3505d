package forgekey

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

// maxLine is the longest line of armor (RFC 9580 §6.2, PROTOCOL.sshsig).
const maxLine = 76

// unarmor returns the bytes in the one block with the label, which must be all
// that there is.
func unarmor(label, text string) ([]byte, error) {
	body, ok := strings.CutPrefix(text, "-----BEGIN "+label+"-----\n")
	if !ok {
		return nil, fmt.Errorf("%w: not an armored %s", ErrMalformed, label)
	}
	if body, ok = strings.CutSuffix(body, "\n-----END "+label+"-----\n"); !ok {
		return nil, fmt.Errorf("%w: the armor does not end, or something stands behind its end", ErrMalformed)
	}
	if !strings.HasPrefix(label, "PGP") {
		return decodeLines(body)
	}
	// PGP armor may begin with headers, which nothing signs; only the empty line
	// after them is taken.
	if body, ok = strings.CutPrefix(body, "\n"); !ok {
		return nil, fmt.Errorf("%w: the armor has headers, or no empty line before its content", ErrMalformed)
	}
	return decodeSummed(body)
}

// decodeSummed decodes lines that may end with a checksum, which RFC 9580 §6.1
// leaves to the writer. One that is there must be right.
func decodeSummed(body string) ([]byte, error) {
	lines, sum, summed := body, "", false
	if i := strings.LastIndexByte(body, '\n'); i >= 0 && strings.HasPrefix(body[i+1:], "=") {
		lines, sum, summed = body[:i], body[i+2:], true
	}
	data, err := decodeLines(lines)
	if err != nil || !summed {
		return data, err
	}
	crc := binary.BigEndian.AppendUint32(nil, crc24(data))
	if sum != base64.StdEncoding.EncodeToString(crc[1:]) {
		return nil, fmt.Errorf("%w: the checksum of the armor is wrong", ErrMalformed)
	}
	return data, nil
}

// decodeLines decodes base64 in lines that are all as long as the first one,
// except for the last one. Programs differ in the length (64, 70, 76).
func decodeLines(body string) ([]byte, error) {
	lines := strings.Split(body, "\n")
	width := len(lines[0])
	for i, line := range lines {
		last := i == len(lines)-1
		if line == "" || len(line) > min(width, maxLine) || len(line) < width && !last || strings.Contains(line, "\r") {
			return nil, fmt.Errorf("%w: line %d of the armor is not as an armor's lines are", ErrMalformed, i+1)
		}
	}
	data, err := base64.StdEncoding.Strict().DecodeString(strings.Join(lines, ""))
	if err != nil {
		return nil, fmt.Errorf("%w: the armor is not base64", ErrMalformed)
	}
	return data, nil
}

// crc24 is the checksum of PGP armor (RFC 9580 §6.1.1).
func crc24(data []byte) uint32 {
	crc := uint32(0xb704ce)
	for _, b := range data {
		crc ^= uint32(b) << 16
		for range 8 {
			if crc <<= 1; crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	return crc
}
