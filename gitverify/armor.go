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
	joined := make([]byte, 0, len(body))
	for len(body) > 0 {
		line, rest, found := bytes.Cut(body, []byte("\n"))
		if !found || len(line) == 0 || len(line) > pemLine || len(line) < pemLine && len(rest) > 0 {
			return nil, refuse(codeEncoding, "the signature is not one canonical PEM block")
		}
		joined, body = append(joined, line...), rest
	}
	der := make([]byte, base64.StdEncoding.DecodedLen(len(joined)))
	n, err := base64.StdEncoding.Strict().Decode(der, joined)
	// The decoder skips line ends that our lines cannot have but for CR.
	if err != nil || bytes.IndexByte(joined, '\r') >= 0 {
		return nil, refuse(codeEncoding, "the signature is not canonical base64")
	}
	return der[:n], nil
}
