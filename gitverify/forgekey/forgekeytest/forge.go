// Package forgekeytest gives tests a forge: a code host with a key of its own, PGP
// or SSH, that signs the merges which it makes. It writes signatures with
// libraries, in the form that GitHub, GitLab and Gitea write them, and needs no
// program.
package forgekeytest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"

	"millwright.dev/millwright/gitverify/forgekey"
)

// Forge is a code host that signs. It may be used by many goroutines at once.
type Forge struct {
	entity *openpgp.Entity // nil for SSH
	signer ssh.AlgorithmSigner
}

// New makes a forge with a new Ed25519 key of the type, "pgp" or "ssh".
func New(kind string) (*Forge, error) {
	if kind == forgekey.PGP {
		return NewPGP(packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	}
	if kind != forgekey.SSH {
		return nil, fmt.Errorf("a forge with a key of type %q", kind)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return NewSSH(key)
}

// NewPGP makes a forge with a new PGP key as the configuration says.
func NewPGP(config packet.Config) (*Forge, error) {
	config.Time = created
	entity, err := openpgp.NewEntity("forge", "", "noreply@forge.test", &config)
	if err != nil {
		return nil, fmt.Errorf("making a PGP key: %w", err)
	}
	return &Forge{entity: entity}, nil
}

// NewSSH makes a forge with a private key.
func NewSSH(key crypto.Signer) (*Forge, error) {
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return nil, fmt.Errorf("making an SSH key: %w", err)
	}
	algorithms, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("an SSH key that cannot choose its algorithm")
	}
	return &Forge{signer: algorithms}, nil
}

// SSHKeys are private keys of all algorithms that are accepted for SSH.
func SSHKeys() (map[string]crypto.Signer, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	keys := map[string]crypto.Signer{"Ed25519": ed}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		if keys[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			return nil, err
		}
	}
	keys["RSA"], err = rsa.GenerateKey(rand.Reader, 2048)
	return keys, err
}

// created is when PGP keys and signatures claim to be made. It is a claim only, so
// that one time serves for all.
func created() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// Key is the forge's key, as a policy lists it.
func (f *Forge) Key(name string) forgekey.Key {
	if f.entity == nil {
		public := f.signer.PublicKey()
		return forgekey.Key{
			Name: name, Type: forgekey.SSH, Fingerprint: ssh.FingerprintSHA256(public),
			PublicKey: string(ssh.MarshalAuthorizedKey(public)),
		}
	}
	return forgekey.Key{
		Name: name, Type: forgekey.PGP, PublicKey: f.publicBlock(),
		Fingerprint: fmt.Sprintf("%X", f.entity.PrimaryKey.Fingerprint),
	}
}

// publicBlock cannot fail on a key that was made here; if it did, the empty block
// would be refused wherever it is used.
func (f *Forge) publicBlock() string {
	var block bytes.Buffer
	w, err := armor.Encode(&block, "PGP PUBLIC KEY BLOCK", nil)
	if err != nil {
		return ""
	}
	if err := errors.Join(f.entity.Serialize(w), w.Close()); err != nil {
		return ""
	}
	return block.String() + "\n"
}

// Entity is the PGP key with its private half, for forgeries; nil for SSH.
func (f *Forge) Entity() *openpgp.Entity { return f.entity }

// SignCommit signs the bytes of a commit object and puts the signature where git
// does, after the other headers. PGP signatures end with an empty line, as
// GitHub's do.
func (f *Forge) SignCommit(unsigned []byte) ([]byte, error) {
	end := bytes.Index(unsigned, []byte("\n\n"))
	if end < 0 {
		return nil, errors.New("a commit has an empty line after its headers; this has none")
	}
	armored, err := f.Sign(unsigned)
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(armored), "\n")
	if f.entity != nil {
		text += "\n"
	}
	header := "gpgsig " + strings.ReplaceAll(text, "\n", "\n ") + "\n"
	return slices.Concat(unsigned[:end+1], []byte(header), unsigned[end+1:]), nil
}

// SignTag signs the bytes of a tag object and puts the signature at their end.
func (f *Forge) SignTag(unsigned []byte) ([]byte, error) {
	armored, err := f.Sign(unsigned)
	if err != nil {
		return nil, err
	}
	return slices.Concat(unsigned, armored), nil
}

// Sign makes the armored signature over content.
func (f *Forge) Sign(content []byte) ([]byte, error) {
	if f.entity == nil {
		return f.signSSH(content)
	}
	var signature bytes.Buffer
	config := packet.Config{Time: created}
	if err := openpgp.ArmoredDetachSign(&signature, f.entity, bytes.NewReader(content), &config); err != nil {
		return nil, fmt.Errorf("signing with PGP: %w", err)
	}
	return append(signature.Bytes(), '\n'), nil
}

func (f *Forge) signSSH(content []byte) ([]byte, error) {
	public := f.signer.PublicKey()
	algorithm := public.Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA512
	}
	blob, err := f.BlobSSH(SSHFields{Namespace: "git", Hash: "sha512", Algorithm: algorithm}, content)
	if err != nil {
		return nil, err
	}
	return ArmorSSH(blob), nil
}

// SSHFields are what an SSH signature says besides key and signature
// (PROTOCOL.sshsig).
type SSHFields struct {
	Namespace, Reserved, Hash string
	// Algorithm is that of the signature inside.
	Algorithm string
}

// BlobSSH makes the bytes inside the armor; the digest is SHA-512 whatever the
// fields say.
func (f *Forge) BlobSSH(fields SSHFields, content []byte) ([]byte, error) {
	digest := sha512.Sum512(content)
	head := []string{fields.Namespace, fields.Reserved, fields.Hash}
	signature, err := f.signer.SignWithAlgorithm(rand.Reader, Strings("SSHSIG", append(head, string(digest[:]))...), fields.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("signing with SSH: %w", err)
	}
	inner := Strings("", signature.Format, string(signature.Blob))
	all := append([]string{string(f.signer.PublicKey().Marshal())}, head...)
	return Strings("SSHSIG\x00\x00\x00\x01", append(all, string(inner))...), nil
}

// Strings appends strings with their lengths to the magic (RFC 4251 §5).
func Strings(magic string, fields ...string) []byte {
	blob := []byte(magic)
	for _, field := range fields {
		blob = append(blob, ssh.Marshal(struct{ Field string }{field})...)
	}
	return blob
}

// ArmorSSH armors the bytes of an SSH signature.
func ArmorSSH(blob []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob})
}

// ArmorPGP armors packets without a checksum.
func ArmorPGP(label string, packets []byte) []byte {
	text := base64.StdEncoding.EncodeToString(packets)
	var b strings.Builder
	b.WriteString("-----BEGIN " + label + "-----\n\n")
	for line := range slices.Chunk([]byte(text), 64) {
		b.Write(append(line, '\n'))
	}
	b.WriteString("-----END " + label + "-----\n")
	return []byte(b.String())
}
