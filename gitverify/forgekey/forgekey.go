// Package forgekey verifies the signatures that code hosts make with keys of
// their own: PGP (RFC 9580, version 4) and SSH (OpenSSH's PROTOCOL.sshsig).
// A forge may make mechanical merges with such a key, and nothing else (rule
// T6); who may do what is not decided here.
//
// [Verify] answers one question: did one of these listed keys sign exactly these
// bytes? The listing is the whole trust. A key's own statements about itself,
// such as user ids, expiry, revocation, usage flags or bindings of subkeys, count
// for nothing: the trust policy names a key by its fingerprint, and a key leaves
// by leaving the policy. A fingerprint may be that of a subkey; then that subkey
// alone is listed, and its primary key is not.
//
// PGP and SSH signatures carry no trusted time. The creation time in a PGP
// signature is the signer's claim, and an SSH signature has none, so nothing here
// returns a time, and revoking a key refuses all of its merges that were not
// accepted yet (rule T6).
//
// What it refuses, so that a signature has few forms and a parser few surprises:
//
//   - anything but one armored block: armor headers, carriage returns, a wrong
//     checksum, ragged lines, text before or after. GitHub ends its blocks with an
//     empty line, and pads RSA signatures to the size of the key; both are allowed.
//   - blocks over 64 KiB, trailing bytes, partial and non-minimal lengths
//   - algorithms other than Ed25519, ECDSA on P-256, P-384, P-521, and RSA of 2048
//     to 8192 bits, with SHA-256, SHA-384 or SHA-512
//   - PGP: more than one packet, versions other than 4, types other than 0x00
//     (a 0x01 text signature does not cover line ends), subpackets that do not
//     belong to a signature of data, and outside the signed part anything but the
//     issuer
//   - SSH: namespaces other than "git", certificates, hardware-backed keys,
//     reserved bytes
//
// It makes no attempt to find keys: no keyring, no key server, no agent.
package forgekey

import (
	"errors"
	"fmt"
	"strings"
)

// MaxSize bounds an armored signature, and an armored key.
const MaxSize = 64 << 10

// The kinds of armored signatures that git knows.
const (
	PGP  = "pgp"
	SSH  = "ssh"
	X509 = "x509"
)

var (
	// ErrMalformed says that a signature or a key is not of the one accepted form.
	ErrMalformed = errors.New("malformed")
	// ErrAlgorithm says that a signature or a key is of a kind that is not
	// accepted. It is an [ErrMalformed] too.
	ErrAlgorithm = fmt.Errorf("%w: algorithm not accepted", ErrMalformed)
	// ErrUnknownKey says that no listed key made the signature.
	ErrUnknownKey = errors.New("not a listed key")
	// ErrBadSignature says that the named key did not sign these bytes.
	ErrBadSignature = errors.New("the key did not sign these bytes")
	// ErrKey says that a listed key itself cannot be used; [Check] finds these.
	ErrKey = errors.New("unusable key")
)

// Key is one listed key.
type Key struct {
	// Name is how the policy calls it.
	Name string
	// Type is "pgp" or "ssh".
	Type string
	// Fingerprint is 40 hex digits for PGP, "SHA256:…" as ssh-keygen -l prints it
	// for SSH.
	Fingerprint string
	// PublicKey is the armored public key block for PGP. For SSH it may be empty,
	// since a signature carries its key, or a line as in authorized_keys.
	PublicKey string
}

// Kind tells from the first line what kind of signature this claims to be: "pgp",
// "ssh", "x509", or "" for none of them.
func Kind(armored []byte) string {
	line, _, _ := strings.Cut(string(armored[:min(len(armored), 64)]), "\n")
	switch line {
	case "-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP MESSAGE-----":
		return PGP
	case "-----BEGIN SSH SIGNATURE-----":
		return SSH
	case "-----BEGIN SIGNED MESSAGE-----":
		return X509
	}
	return ""
}

// Verify finds the listed key that signed the payload. An error wraps
// [ErrMalformed], [ErrUnknownKey], [ErrBadSignature] or [ErrKey].
func Verify(keys []Key, payload, armored []byte) (found Key, err error) {
	defer isolate(&found, &err)
	if len(armored) > MaxSize {
		return Key{}, fmt.Errorf("%w: a signature of more than %d bytes", ErrMalformed, MaxSize)
	}
	switch Kind(armored) {
	case PGP:
		return verifyPGP(keys, payload, armored)
	case SSH:
		return verifySSH(keys, payload, armored)
	}
	return Key{}, fmt.Errorf("%w: neither a PGP nor an SSH signature", ErrMalformed)
}

// isolate turns a panic in the parsers below into a no (row B33): they are not all
// ours, and read what strangers wrote.
func isolate(found *Key, err *error) {
	if cause := recover(); cause != nil {
		*found, *err = Key{}, fmt.Errorf("%w: a parser failed on it: %v", ErrMalformed, cause)
	}
}

// Check says whether a key can be listed: its fingerprint is of the right form and
// is that of the key material. The error wraps [ErrKey].
func Check(k Key) (err error) {
	defer isolate(&k, &err)
	if len(k.PublicKey) > MaxSize {
		return keyError(k, "a public key of more than %d bytes", MaxSize)
	}
	switch k.Type {
	case PGP:
		_, err := pgpKey(k)
		return err
	case SSH:
		return checkSSH(k)
	}
	return keyError(k, "type %q is neither pgp nor ssh", k.Type)
}

func keyError(k Key, format string, args ...any) error {
	return fmt.Errorf("forge key %q: %w: %w", k.Name, ErrKey, fmt.Errorf(format, args...))
}
