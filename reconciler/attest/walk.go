package attest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Walk follows a chain back from the record whose bundle has this digest, by
// what each record says of the one before, and returns what it found, oldest
// first. Nothing is verified: an audit does that. Bundles are asked for by their
// own digests, so that it does not matter what else hangs on an artifact: nobody
// can bury one under referrers of their own. An error says why the walk ended
// early; what was found until then is returned with it.
func (r *Repository) Walk(ctx context.Context, newest string) (found []Record, err error) {
	defer func() { slices.Reverse(found) }()
	for digest := newest; digest != ""; {
		if len(found) == MaxRecords {
			return found, fmt.Errorf("following the chain: more than %d records", MaxRecords)
		}
		record, err := r.record(ctx, digest)
		if err != nil {
			return found, fmt.Errorf("following the chain after %d records: %w", len(found), err)
		}
		if n := len(found); n > 0 && record.Sequence >= found[n-1].Sequence {
			return found, fmt.Errorf("following the chain: record %d names record %d as the one before", found[n-1].Sequence, record.Sequence)
		}
		found = append(found, record)
		digest = record.Previous
	}
	return found, nil
}

// record fetches a bundle by its digest, and takes its own word for its place.
func (r *Repository) record(ctx context.Context, digest string) (Record, error) {
	data, err := r.Bundle(ctx, digest)
	if err != nil {
		return Record{}, err
	}
	s, err := UnsafeStatement(data.JSON)
	if err != nil {
		return Record{}, err
	}
	place := s.Place()
	out := Record{Sequence: place.Sequence, Commit: place.Commit, Digest: digest, Bundle: string(data.JSON)}
	if place.Previous != nil {
		out.Previous = place.Previous.Attestation
	}
	return out, nil
}

// UnsafeStatement is the statement in a bundle that nobody has verified: good for
// finding what belongs to it, and for nothing else.
func UnsafeStatement(bundle []byte) (Statement, error) {
	b, err := parseBundle(bundle)
	if err != nil {
		return Statement{}, err
	}
	payload, err := payloadOf(b)
	if err != nil {
		return Statement{}, err
	}
	return DecodeStatement(payload)
}

// Bundle fetches a bundle by its digest, unverified: one that a record names.
func (r *Repository) Bundle(ctx context.Context, digest string) (Bundle, error) {
	if !isDigest(digest) {
		return Bundle{}, fmt.Errorf("%q is no digest", clean(digest, 80))
	}
	data, err := r.blob(ctx, digest, MaxBundle)
	if err != nil {
		return Bundle{}, fmt.Errorf("fetching bundle %s: %w", digest, err)
	}
	return NewBundle(data), nil
}

// blob fetches a blob of at most so many bytes.
func (r *Repository) blob(ctx context.Context, digest string, limit int64) ([]byte, error) {
	layer, err := remote.Layer(r.repo.Digest(digest), r.options(ctx, limited{r.transport, limit + 1<<20})...)
	if err != nil {
		return nil, err
	}
	rc, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(rc, limit+1))
	if int64(len(data)) > limit {
		_ = rc.Close()
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	}
	if err := errors.Join(err, rc.Close()); err != nil {
		return nil, err
	}
	if Digest(data) != digest {
		return nil, errors.New("the registry gave another content")
	}
	return data, nil
}

// Manifests fetches the file with the manifests out of an artifact. Whether it is
// what was signed for, its digest says.
func (r *Repository) Manifests(ctx context.Context, artifact string) ([]byte, error) {
	image, err := remote.Image(r.repo.Digest(artifact), r.options(ctx, limited{r.transport, maxManifests})...)
	if err != nil {
		return nil, fmt.Errorf("fetching the artifact: %w", err)
	}
	m, err := image.Manifest()
	if err != nil {
		return nil, fmt.Errorf("reading the artifact: %w", err)
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != fluxContent || m.Layers[0].Size > maxManifests {
		return nil, fmt.Errorf("artifact %s is not of manifests", artifact)
	}
	packed, err := r.blob(ctx, m.Layers[0].Digest.String(), maxManifests)
	if err != nil {
		return nil, fmt.Errorf("fetching the manifests: %w", err)
	}
	zipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpacking the manifests: %w", err)
	}
	in := tar.NewReader(zipped)
	if h, err := in.Next(); err != nil || h.Name != ManifestsFile || h.Size > maxManifests {
		return nil, fmt.Errorf("artifact %s does not hold %s", artifact, ManifestsFile)
	}
	data, err := io.ReadAll(io.LimitReader(in, maxManifests))
	if err != nil {
		return nil, fmt.Errorf("unpacking the manifests: %w", err)
	}
	return data, nil
}
