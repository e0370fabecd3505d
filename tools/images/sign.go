package images

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// Predicate types of what is said of an image: that it is signed (as cosign says
// it in a bundle), and what is in it (SPDX 2.3 as JSON).
const (
	Signature = "https://sigstore.dev/cosign/sign/v1"
	Contents  = "https://spdx.dev/Document"
)

// bundleType is the type of a Sigstore bundle, and of the artifact that it is in a
// registry.
const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// Signer says something of images, keyless, and stores it beside them.
type Signer struct {
	Fulcio, Rekor, TimestampAuthority string
	// Token is the identity token, with Fulcio's audience.
	Token string
}

// Attest signs one statement about the image and attaches it to it as a referrer
// (OCI distribution spec 1.1), where cosign --new-bundle-format finds it. A nil
// predicate is an empty one.
func (s Signer) Attest(ctx context.Context, image name.Digest, predicateType string, predicate []byte) error {
	if predicate == nil {
		predicate = []byte("{}")
	}
	algorithm, hex, _ := strings.Cut(image.DigestStr(), ":")
	statement, err := json.Marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"name": image.Context().RepositoryStr(), "digest": map[string]string{algorithm: hex}}},
		"predicateType": predicateType, "predicate": json.RawMessage(predicate),
	})
	if err != nil {
		return err
	}
	bundle, err := s.sign(ctx, statement)
	if err != nil {
		return fmt.Errorf("signing what %s is: %w", image, err)
	}
	return attach(ctx, image, predicateType, bundle)
}

func (s Signer) sign(ctx context.Context, statement []byte) ([]byte, error) {
	const within = 20 * time.Second
	key, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, err
	}
	pb, err := sign.Bundle(&sign.DSSEData{Data: statement, PayloadType: "application/vnd.in-toto+json"}, key, sign.BundleOptions{
		Context:                    ctx,
		CertificateProvider:        sign.NewFulcio(&sign.FulcioOptions{BaseURL: s.Fulcio, Timeout: within}),
		CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: s.Token},
		TransparencyLogs:           []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: s.Rekor, Timeout: within})},
		TimestampAuthorities:       []*sign.TimestampAuthority{sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: s.TimestampAuthority, Timeout: within})},
	})
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(pb)
}

func attach(ctx context.Context, image name.Digest, predicateType string, bundle []byte) error {
	subject, err := remote.Head(image, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("looking for %s: %w", image, err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), bundleType)
	layered, err := mutate.Append(base, mutate.Addendum{Layer: static.NewLayer(bundle, bundleType)})
	if err != nil {
		return err
	}
	annotated, isImage := mutate.Annotations(layered, map[string]string{
		"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicateType,
	}).(v1.Image)
	if !isImage {
		return fmt.Errorf("%T is no image", annotated)
	}
	referrer, isImage := mutate.Subject(annotated, *subject).(v1.Image)
	if !isImage {
		return fmt.Errorf("%T is no image", referrer)
	}
	digest, err := referrer.Digest()
	if err != nil {
		return err
	}
	if err := remote.Write(image.Context().Digest(digest.String()), referrer, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("attaching a statement to %s: %w", image, err)
	}
	return nil
}
