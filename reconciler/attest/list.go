package attest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// MaxList bounds a list that is read.
const MaxList = 64 << 20

const listMediaType = "application/vnd.millwright.list.v1+json-lines"

// ListEntry is one line of an inventory or of a list of changed objects.
type ListEntry struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
	// Op is what was done to it, in a list of changes.
	Op string `json:"op,omitempty"`
	// Declared is the digest of what was declared, never of a live object.
	Declared string `json:"declared,omitempty"`
}

// List is a file with one JSON object a line, sorted. The statement holds its
// digest, the registry the file: too large for an object of the API server.
type List struct{ content []byte }

// NewList makes a list; the order in which the entries come does not matter.
func NewList(entries []ListEntry) (List, error) {
	lines := make([][]byte, 0, len(entries))
	for _, e := range entries {
		line, err := encode(e)
		if err != nil {
			return List{}, fmt.Errorf("encoding a list: %w", err)
		}
		lines = append(lines, append(line, '\n'))
	}
	slices.SortFunc(lines, bytes.Compare)
	return List{content: bytes.Join(lines, nil)}, nil
}

// Content is the file; Digest is "sha256:<hex>" of it.
func (l List) Content() []byte { return bytes.Clone(l.content) }

// Digest is "sha256:<hex>" of the content.
func (l List) Digest() string { return Digest(l.content) }

// ListDigest is the digest of the list of these entries.
func ListDigest(entries []ListEntry) (string, error) {
	l, err := NewList(entries)
	if err != nil {
		return "", err
	}
	return l.Digest(), nil
}

// AttachLists stores the lists that a verified statement names by digest,
// beside it: one referrer of the artifact with one layer a list.
func (r *Repository) AttachLists(ctx context.Context, v Verified, lists ...List) (string, error) {
	s, opts := v.Statement, r.options(ctx, r.transport)
	if v.bundle.JSON == nil || len(lists) == 0 {
		return "", errors.New("attaching lists: nothing was verified, or there are none")
	}
	// Equal lists are one blob, and a manifest names it once.
	layers := []v1.Layer{static.NewLayer([]byte("{}"), types.MediaType(listMediaType))}
	var seen []string
	for _, l := range lists {
		if d := l.Digest(); d != s.Predicate.Changes.Objects && bare(d) != s.Subject[3].Digest.SHA256 {
			return "", fmt.Errorf("attaching lists: %s is not in the statement", d)
		}
		if !slices.Contains(seen, l.Digest()) {
			seen = append(seen, l.Digest())
			layers = append(layers, static.NewLayer(l.content, types.MediaType(listMediaType)))
		}
	}
	subject, err := remote.Head(r.repo.Digest(s.Artifact()), opts...)
	if err != nil {
		return "", fmt.Errorf("looking for the artifact: %w", err)
	}
	described, err := r.blobs(opts, layers...)
	if err != nil {
		return "", fmt.Errorf("pushing lists: %w", err)
	}
	return r.put(newReferrer(listMediaType, described[0], described[1:],
		v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		map[string]string{
			"org.opencontainers.image.created": s.Place().Until.Format(time.RFC3339),
			"dev.millwright.sequence":          fmt.Sprint(s.Place().Sequence),
		}), opts)
}

// List fetches a list by the digest that a statement gives.
func (r *Repository) List(ctx context.Context, digest string) (List, error) {
	layer, err := remote.Layer(r.repo.Digest(digest), r.options(ctx, limited{r.transport, MaxList + 1})...)
	if err != nil {
		return List{}, fmt.Errorf("fetching list %s: %w", digest, err)
	}
	rc, err := layer.Compressed()
	if err != nil {
		return List{}, fmt.Errorf("fetching list %s: %w", digest, err)
	}
	data, err := io.ReadAll(io.LimitReader(rc, MaxList+1))
	if err := errors.Join(err, rc.Close()); err != nil {
		return List{}, fmt.Errorf("reading list %s: %w", digest, err)
	}
	if len(data) > MaxList || Digest(data) != digest {
		return List{}, fmt.Errorf("list %s is too large or has another digest", digest)
	}
	return List{content: data}, nil
}
