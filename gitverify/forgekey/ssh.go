package forgekey

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/ssh"
)

const (
	sshMagic     = "SSHSIG"
	sshNamespace = "git"
)

// sshBlob is what an armored SSH signature holds (PROTOCOL.sshsig).
type sshBlob struct {
	key                            []byte
	namespace, reserved, algorithm string
	signature                      []byte
}

func verifySSH(keys []Key, payload, armored []byte) (Key, error) {
	data, err := unarmor("SSH SIGNATURE", string(armored))
	if err != nil {
		return Key{}, err
	}
	blob, err := splitSSH(data)
	if err != nil {
		return Key{}, err
	}
	// The fingerprint is a SHA-256 of the key, so the key in the signature is the
	// listed one; a stranger's key is not even read.
	claimed := fingerprintSSH(blob.key)
	for _, k := range keys {
		if k.Type != SSH || k.Fingerprint != claimed {
			continue
		}
		public, err := publicSSH(blob.key)
		if err != nil {
			return Key{}, keyError(k, "%w", err)
		}
		if err := blob.verify(public, payload); err != nil {
			return Key{}, fmt.Errorf("%w: SSH key %q", err, k.Name)
		}
		return k, nil
	}
	return Key{}, fmt.Errorf("%w: SSH key %s", ErrUnknownKey, claimed)
}

func fingerprintSSH(key []byte) string {
	sum := sha256.Sum256(key)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// splitSSH reads the fields, which must be all that there is.
func splitSSH(data []byte) (sshBlob, error) {
	rest, ok := bytes.CutPrefix(data, []byte(sshMagic+"\x00\x00\x00\x01"))
	if !ok {
		return sshBlob{}, fmt.Errorf("%w: not an SSH signature of version 1", ErrMalformed)
	}
	var fields [5][]byte
	for i := range fields {
		if fields[i], rest, ok = takeString(rest); !ok {
			return sshBlob{}, fmt.Errorf("%w: the SSH signature ends too soon", ErrMalformed)
		}
	}
	b := sshBlob{
		key: fields[0], namespace: string(fields[1]), reserved: string(fields[2]),
		algorithm: string(fields[3]), signature: fields[4],
	}
	switch {
	case len(rest) > 0:
		return sshBlob{}, fmt.Errorf("%w: bytes behind the SSH signature", ErrMalformed)
	case b.namespace != sshNamespace: // a file's or a mail's signature is none of a commit
		return sshBlob{}, fmt.Errorf("%w: an SSH signature for %q, not for %q", ErrMalformed, b.namespace, sshNamespace)
	case b.reserved != "":
		return sshBlob{}, fmt.Errorf("%w: an SSH signature with reserved bytes", ErrMalformed)
	}
	return b, nil
}

// takeString cuts a length and that many bytes off (RFC 4251 §5).
func takeString(data []byte) (value, rest []byte, ok bool) {
	if len(data) < 4 || int64(binary.BigEndian.Uint32(data)) > int64(len(data)-4) {
		return nil, nil, false
	}
	end := 4 + int(binary.BigEndian.Uint32(data))
	return data[4:end], data[end:], true
}

// publicSSH reads a key of an accepted algorithm from its only encoding.
func publicSSH(blob []byte) (ssh.PublicKey, error) {
	name, _, ok := takeString(blob)
	if !ok {
		return nil, fmt.Errorf("%w: an SSH key that cannot be read", ErrMalformed)
	}
	switch string(name) {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA:
	default:
		return nil, fmt.Errorf("%w: an SSH key of type %q", ErrAlgorithm, name)
	}
	public, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, fmt.Errorf("%w: SSH key: %w", ErrMalformed, err)
	}
	if !bytes.Equal(public.Marshal(), blob) {
		return nil, fmt.Errorf("%w: an SSH key in another than its usual form", ErrMalformed)
	}
	if key, ok := rsaOf(public); ok {
		return public, checkRSA(key)
	}
	return public, nil
}

func rsaOf(public ssh.PublicKey) (*rsa.PublicKey, bool) {
	wrapped, ok := public.(ssh.CryptoPublicKey)
	if !ok {
		return nil, false
	}
	key, ok := wrapped.CryptoPublicKey().(*rsa.PublicKey)
	return key, ok
}

func (b sshBlob) verify(public ssh.PublicKey, payload []byte) error {
	var digest []byte
	switch b.algorithm {
	case "sha256":
		sum := sha256.Sum256(payload)
		digest = sum[:]
	case "sha512":
		sum := sha512.Sum512(payload)
		digest = sum[:]
	default:
		return fmt.Errorf("%w: SSH hash algorithm %q", ErrAlgorithm, b.algorithm)
	}
	sig, err := b.split(public)
	if err != nil {
		return err
	}
	signed := ssh.Marshal(struct {
		Namespace, Reserved, Algorithm string
		Digest                         []byte
	}{b.namespace, b.reserved, b.algorithm, digest})
	if err := public.Verify(append([]byte(sshMagic), signed...), sig); err != nil {
		return ErrBadSignature
	}
	return nil
}

// split reads the innermost signature, in the one form that its key's algorithm
// has.
func (b sshBlob) split(public ssh.PublicKey) (*ssh.Signature, error) {
	format, rest, _ := takeString(b.signature) // without a first string there is no second
	value, rest, ok := takeString(rest)
	if !ok || len(rest) > 0 {
		return nil, fmt.Errorf("%w: the innermost SSH signature cannot be read", ErrMalformed)
	}
	sig := &ssh.Signature{Format: string(format), Blob: value}
	want, canonical := public.Type(), true
	switch key, isRSA := rsaOf(public); {
	case isRSA:
		// "ssh-rsa" as the name of a signature would mean SHA-1 (RFC 8332 §3).
		want, canonical = ssh.KeyAlgoRSASHA512, len(value) == key.Size()
		if sig.Format == ssh.KeyAlgoRSASHA256 {
			want = ssh.KeyAlgoRSASHA256
		}
	case strings.HasPrefix(want, "ecdsa-"):
		var rs struct{ R, S *big.Int }
		canonical = ssh.Unmarshal(value, &rs) == nil && bytes.Equal(ssh.Marshal(rs), value)
	}
	if sig.Format != want {
		return nil, fmt.Errorf("%w: an SSH signature of format %q by a key of type %q", ErrAlgorithm, sig.Format, public.Type())
	}
	if !canonical {
		return nil, fmt.Errorf("%w: the innermost SSH signature is not in its usual form", ErrMalformed)
	}
	return sig, nil
}

// checkSSH is Check for SSH keys. Where the material is not listed, the
// fingerprint says all.
func checkSSH(k Key) error {
	sum, ok := strings.CutPrefix(k.Fingerprint, "SHA256:")
	if _, err := base64.RawStdEncoding.Strict().DecodeString(sum); !ok || err != nil || len(sum) != 43 || strings.ContainsAny(sum, "\r\n") {
		return keyError(k, `the fingerprint of an SSH key is "SHA256:" with 43 characters after it, as ssh-keygen -l prints it`)
	}
	if k.PublicKey == "" {
		return nil
	}
	line := strings.TrimSuffix(k.PublicKey, "\n")
	public, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 || strings.Contains(line, "\n") {
		return keyError(k, "an SSH key is one line: its type, its base64, and perhaps a comment")
	}
	if _, err := publicSSH(public.Marshal()); err != nil {
		return keyError(k, "%w", err)
	}
	if got := fingerprintSSH(public.Marshal()); got != k.Fingerprint {
		return keyError(k, "the key's fingerprint is %s, not %s", got, k.Fingerprint)
	}
	return nil
}
