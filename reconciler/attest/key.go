package attest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
)

// Key is an ECDSA P-256 signing key, from a file ([ParseKey]) or in a key
// management service ([OpenKMS]). Its zero value signs nothing.
type Key struct {
	private *ecdsa.PrivateKey
	kept    *kept
}

func (k Key) public() *ecdsa.PublicKey {
	switch {
	case k.kept != nil:
		return k.kept.public
	case k.private != nil:
		return &k.private.PublicKey
	}
	return nil
}

// maxPEM bounds a key file.
const maxPEM = 64 << 10

// ParseKey reads a PEM private key: PKCS #8 (PRIVATE KEY), or encrypted as
// cosign writes it (ENCRYPTED SIGSTORE PRIVATE KEY, ENCRYPTED COSIGN PRIVATE
// KEY) with its password. Errors never quote the file.
func ParseKey(data, password []byte) (Key, error) {
	if len(data) > maxPEM {
		return Key{}, errors.New("reading the signing key: the file is too large")
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return Key{}, errors.New("reading the signing key: no PEM block")
	}
	der := block.Bytes
	switch block.Type {
	case "PRIVATE KEY":
	case "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		plain, err := encrypted.Decrypt(der, password)
		if err != nil {
			return Key{}, errors.New("reading the signing key: the password does not open it")
		}
		der = plain
	default:
		return Key{}, fmt.Errorf("reading the signing key: PEM block is %q", clean(block.Type, 64))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return Key{}, errors.New("reading the signing key: not PKCS #8")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return Key{}, errors.New("reading the signing key: only ECDSA P-256 is accepted")
	}
	return Key{private: private}, nil
}

// ParsePublicKey reads the PEM public key that an auditor was given.
func ParsePublicKey(data []byte) (crypto.PublicKey, error) {
	if len(data) > maxPEM {
		return nil, errors.New("reading the public key: the file is too large")
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("reading the public key: no PEM block PUBLIC KEY")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("reading the public key: not a PKIX public key")
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("reading the public key: only ECDSA P-256 is accepted")
	}
	return public, nil
}

// Public is the public half; nil for the zero value.
func (k Key) Public() crypto.PublicKey {
	if public := k.public(); public != nil {
		return public
	}
	return nil
}

// PublicPEM is the public half as an auditor needs it.
func (k Key) PublicPEM() ([]byte, error) {
	public := k.public()
	if public == nil {
		return nil, errors.New("there is no key")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// Fingerprint is "sha256:<hex>" of the public key: what a statement names as
// its reconciler when a key signs.
func (k Key) Fingerprint() (string, error) {
	public := k.public()
	if public == nil {
		return "", errors.New("there is no key")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encoding the public key: %w", err)
	}
	return Digest(der), nil
}

func (k Key) keypair() (fileKeypair, error) {
	pub, err := k.PublicPEM()
	if err != nil {
		return fileKeypair{}, fmt.Errorf("signing with a key file: %w", err)
	}
	block, _ := pem.Decode(pub)
	sum := sha256.Sum256(block.Bytes)
	return fileKeypair{key: k, pem: string(pub), hint: base64.StdEncoding.EncodeToString(sum[:])}, nil
}

// fileKeypair makes a key a sign.Keypair.
type fileKeypair struct {
	key       Key
	pem, hint string
}

func (f fileKeypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (f fileKeypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
}

func (f fileKeypair) GetHint() []byte                  { return []byte(f.hint) }
func (f fileKeypair) GetKeyAlgorithm() string          { return "ECDSA" }
func (f fileKeypair) GetPublicKey() crypto.PublicKey   { return f.key.Public() }
func (f fileKeypair) GetPublicKeyPem() (string, error) { return f.pem, nil }

func (f fileKeypair) SignData(ctx context.Context, data []byte) ([]byte, []byte, error) {
	if f.key.kept != nil {
		return f.key.kept.sign(ctx, data)
	}
	sum := sha256.Sum256(data)
	sig, err := ecdsa.SignASN1(rand.Reader, f.key.private, sum[:])
	if err != nil {
		return nil, nil, fmt.Errorf("signing: %w", err)
	}
	return sig, sum[:], nil
}
