package gitverify

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// The armour of a signature, with lines of 64 characters (RFC 7468).
const (
	pemBegin = "-----BEGIN SIGNED MESSAGE-----\n"
	pemEnd   = "-----END SIGNED MESSAGE-----\n"
	pemLine  = 64
)

// decodePEM accepts exactly what pem.Encode writes: one block, no headers, full
// lines, and nothing around it.
func decodePEM(armored []byte) ([]byte, error) {
	if len(armored) > maxSignature {
		return nil, refuse(codeSignatureSize, "the signature has %d bytes, more than %d", len(armored), maxSignature)
	}
	body, ok := bytes.CutPrefix(armored, []byte(pemBegin))
	if first, _, _ := bytes.Cut(armored, []byte("\n")); bytes.HasPrefix(first, []byte("-----BEGIN ")) && string(first) != strings.TrimSuffix(pemBegin, "\n") {
		return nil, refuse(codeType, "the signature begins with %q", string(first))
	}
	body, ended := bytes.CutSuffix(body, []byte(pemEnd))
	if !ok || !ended {
		return nil, refuse(codeEncoding, "the signature is not one PEM block")
	}
	der := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n := 0
	for len(body) > 0 {
		line, rest, found := bytes.Cut(body, []byte("\n"))
		if !found || len(line) == 0 || len(line) > pemLine || len(line) < pemLine && len(rest) > 0 {
			return nil, refuse(codeEncoding, "the signature is not one canonical PEM block")
		}
		// The decoder skips CR, and takes padding for the end.
		decoded, err := base64.StdEncoding.Strict().Decode(der[n:], line)
		if err != nil || bytes.IndexByte(line, '\r') >= 0 || len(rest) > 0 && decoded != pemLine/4*3 {
			return nil, refuse(codeEncoding, "the signature is not canonical base64")
		}
		n, body = n+decoded, rest
	}
	return der[:n], nil
}
