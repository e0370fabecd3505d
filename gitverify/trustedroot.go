package gitverify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// ErrTrustedRoot is wrapped when there is no usable trusted root. Without one
// nothing can be told; it is not a refusal of any commit.
var ErrTrustedRoot = errors.New("no usable trusted root")

// maxTrustedRoot bounds the file; the public one has about 7 KB.
const maxTrustedRoot = 1 << 20

// TrustedRoot is what signatures are verified against: the certificate
// authorities, certificate logs, transparency logs and timestamp authorities
// of a Sigstore trusted_root.json. It is given, never asked for: not from the
// servers being checked and not from a TUF repository behind our back.
type TrustedRoot struct {
	material *root.TrustedRoot
	digest   string
	anchors  *anchors
}

// Digest is "sha256:<hex>" of the file.
func (t TrustedRoot) Digest() string { return t.digest }

// LoadTrustedRootFile reads a trusted_root.json.
func LoadTrustedRootFile(path string) (TrustedRoot, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return TrustedRoot{}, fmt.Errorf("%w: %w", ErrTrustedRoot, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTrustedRoot+1))
	if err != nil {
		return TrustedRoot{}, fmt.Errorf("%w: reading %s: %w", ErrTrustedRoot, path, err)
	}
	t, err := ParseTrustedRoot(data)
	if err != nil {
		return TrustedRoot{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return t, nil
}

// ParseTrustedRoot reads the content of a trusted_root.json. It must name at
// least one certificate authority, certificate log and transparency log, since
// without each of them no signature can ever be verified.
func ParseTrustedRoot(data []byte) (TrustedRoot, error) {
	if len(data) > maxTrustedRoot {
		return TrustedRoot{}, fmt.Errorf("%w: larger than %d bytes", ErrTrustedRoot, maxTrustedRoot)
	}
	material, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return TrustedRoot{}, fmt.Errorf("%w: %s", ErrTrustedRoot, printable(err.Error()))
	}
	switch {
	case len(material.FulcioCertificateAuthorities()) == 0:
		return TrustedRoot{}, fmt.Errorf("%w: it names no certificate authority", ErrTrustedRoot)
	case len(material.CTLogs()) == 0:
		return TrustedRoot{}, fmt.Errorf("%w: it names no certificate transparency log", ErrTrustedRoot)
	case len(material.RekorLogs()) == 0:
		return TrustedRoot{}, fmt.Errorf("%w: it names no transparency log", ErrTrustedRoot)
	}
	sum := sha256.Sum256(data)
	return TrustedRoot{material: material, digest: "sha256:" + hex.EncodeToString(sum[:]), anchors: newAnchors(material)}, nil
}
