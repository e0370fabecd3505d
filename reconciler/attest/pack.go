package attest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Packer packs one revision of a factory after the other. It remembers the
// documents of the newest, by their digests, and works out only what is new. What
// comes out is the same as if it remembered nothing: each document is a member of
// the gzip file by itself (RFC 1952, section 2.2), and a member depends on nothing
// but its document. Its zero value remembers nothing. Not for concurrent use.
type Packer struct {
	members map[string][]byte
	size    int // of the newest file
}

// Document is one object as it goes into an artifact: its canonical JSON, and the
// digest of that ("sha256:<hex>"), by which a [Packer] knows it again.
type Document interface {
	Digest() string
	// AppendJSON appends the JSON to b.
	AppendJSON(b []byte) []byte
}

// text is a document of which nothing is known but its bytes.
type text []byte

func (t text) Digest() string             { return Digest(t) }
func (t text) AppendJSON(b []byte) []byte { return append(b, t...) }

// layer is a gzipped tar of one file that depends on nothing but its bytes: no
// time, no owner, no name in the headers.
type layer struct {
	file, packed   []byte
	digest, diffID v1.Hash
}

func (p *Packer) layer(documents []Document) (*layer, error) {
	file := make([]byte, 0, p.size+p.size/8)
	members := make([][]byte, 0, len(documents))
	known := make(map[string][]byte, len(documents))
	for i, doc := range documents {
		file = append(file, separator...)
		begin := len(file)
		file = append(doc.AppendJSON(file), '\n')
		if len(file) > maxManifests {
			return nil, tooLarge()
		}
		digest := doc.Digest()
		member, ok := p.members[digest]
		if !ok {
			written := file[begin : len(file)-1]
			if err := mayPack(i, written); err != nil {
				return nil, err
			}
			var err error
			if member, err = compress([]byte(separator), written, []byte("\n")); err != nil {
				return nil, err
			}
		}
		known[digest] = member
		members = append(members, member)
	}
	p.members, p.size = known, len(file)
	return pack(file, members)
}

// pack puts the members of a file between a tar's header and its end.
func pack(file []byte, members [][]byte) (*layer, error) {
	var frame bytes.Buffer
	tw := tar.NewWriter(&frame)
	err := tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: ManifestsFile, Size: int64(len(file)), Mode: 0o644,
		ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	})
	if err != nil {
		return nil, fmt.Errorf("packing the manifests: %w", err)
	}
	// The end of a tar: the file is filled up to a whole block, two empty ones follow
	// (POSIX.1-2001, ustar interchange format).
	const block = 512
	end := make([]byte, (block-len(file)%block)%block+2*block)
	head, err := compress(frame.Bytes())
	if err != nil {
		return nil, err
	}
	tail, err := compress(end)
	if err != nil {
		return nil, err
	}
	l := &layer{file: file, packed: bytes.Join([][]byte{head, bytes.Join(members, nil), tail}, nil)}
	whole := sha256.New()
	for _, part := range [][]byte{frame.Bytes(), file, end} {
		whole.Write(part)
	}
	packed := sha256.Sum256(l.packed)
	l.diffID = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(whole.Sum(nil))}
	l.digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(packed[:])}
	return l, nil
}

func compress(parts ...[]byte) ([]byte, error) {
	var out bytes.Buffer
	zw, err := gzip.NewWriterLevel(&out, gzip.DefaultCompression)
	if err != nil {
		return nil, fmt.Errorf("packing the manifests: %w", err)
	}
	for _, part := range parts {
		if _, err := zw.Write(part); err != nil {
			return nil, fmt.Errorf("packing the manifests: %w", err)
		}
	}
	if err := zw.Close(); err != nil {
		return nil, fmt.Errorf("packing the manifests: %w", err)
	}
	return out.Bytes(), nil
}

// What go-containerregistry wants of a layer.

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return int64(len(l.packed)), nil }
func (l *layer) MediaType() (types.MediaType, error) { return fluxContent, nil }
func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.packed)), nil
}

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	return gzip.NewReader(bytes.NewReader(l.packed))
}
