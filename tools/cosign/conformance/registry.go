package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Bounds of what a registry may make us read; provenance and lists of contents of a
// program have some ten thousand bytes.
const (
	maxAttestations = 64
	maxAnswer       = 4 << 20
	askTimeout      = 10 * time.Second
)

const typeEnvelope = "application/vnd.dsse.envelope.v1+json"

// attestation is one as it is stored: a signed envelope, and what is needed to verify
// it beside that.
type attestation struct {
	envelope    []byte
	annotations map[string]string
}

// registry reads attestations.
type registry struct{ options []remote.Option }

func newRegistry() registry {
	return registry{options: []remote.Option{
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(bounded{http.DefaultTransport}),
		// The next pass asks again.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
	}}
}

// attestations are all that is stored about an image, none if the registry says so.
// An error means that it did not say.
func (r registry) attestations(ctx context.Context, i image) ([]attestation, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	options := append([]remote.Option{remote.WithContext(ctx)}, r.options...)
	tag, err := name.NewTag(i.repository+":sha256-"+i.hex+".att", name.StrictValidation)
	if err != nil {
		return nil, err
	}
	stored, err := remote.Image(tag, options...)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the attestations: %w", err)
	}
	manifest, err := stored.Manifest()
	if err != nil {
		return nil, fmt.Errorf("reading the list of attestations: %w", err)
	}
	if n := len(manifest.Layers); n > maxAttestations {
		return nil, fmt.Errorf("there are %d attestations, which is more than %d", n, maxAttestations)
	}
	var all []attestation
	for _, layer := range manifest.Layers {
		if string(layer.MediaType) != typeEnvelope {
			continue
		}
		envelope, err := blob(stored, layer)
		if err != nil {
			return nil, fmt.Errorf("reading the attestation %s: %w", layer.Digest, err)
		}
		all = append(all, attestation{envelope: envelope, annotations: layer.Annotations})
	}
	return all, nil
}

func blob(stored v1.Image, d v1.Descriptor) ([]byte, error) {
	layer, err := stored.LayerByDigest(d.Digest)
	if err != nil {
		return nil, err
	}
	content, err := layer.Compressed() // compared with its digest while it is read
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(content)
}

func missing(err error) bool {
	var answered *transport.Error
	return errors.As(err, &answered) && answered.StatusCode == http.StatusNotFound
}

// bounded ends answers that are too large.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	return answer, nil
}
