package attest

import (
	"bytes"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ManifestsFile is the name of the one file in the artifact.
const ManifestsFile = "manifests.yaml"

// maxManifests bounds what is put into an artifact.
const maxManifests = 128 << 20

// Media types of Flux's OCI artifacts, so that the field's tools can pull ours.
const (
	fluxConfig  = types.MediaType("application/vnd.cncf.flux.config.v1+json")
	fluxContent = types.MediaType("application/vnd.cncf.flux.content.v1.tar+gzip")
)

// Artifact is an OCI artifact with the rendered manifests in one file. Same
// documents and same origin, same bytes and same digests.
type Artifact struct {
	image           v1.Image
	file            []byte
	digest          string
	manifestsDigest string
}

// Origin says where the manifests come from; it becomes annotations.
type Origin struct {
	// Repository is the source's URL, Ref its full ref name.
	Repository, Ref, Commit string
}

// Digest is the artifact's name in a registry, "sha256:<hex>" of its manifest.
func (a Artifact) Digest() string { return a.digest }

// ManifestsDigest is "sha256:<hex>" of the file: unlike Digest it depends on
// no compressor, so anyone who renders the commit again can compare it.
func (a Artifact) ManifestsDigest() string { return a.manifestsDigest }

// File is the content of [ManifestsFile].
func (a Artifact) File() []byte { return bytes.Clone(a.file) }

// NewArtifact packs documents, each the canonical JSON of one object, in the
// given order as a YAML stream. A Secret with values is a refusal: the
// registry is no place for it, and digests of it would give it away.
func NewArtifact(documents [][]byte, origin Origin) (Artifact, error) {
	texts := make([]Document, 0, len(documents))
	for _, doc := range documents {
		texts = append(texts, text(doc))
	}
	return new(Packer).Pack(texts, origin)
}

// Pack is [NewArtifact]; documents that the pack before had are not looked at and
// compressed again.
func (p *Packer) Pack(documents []Document, origin Origin) (Artifact, error) {
	layer, err := p.layer(documents)
	if err != nil {
		return Artifact{}, err
	}
	image, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), fluxConfig),
		mutate.Addendum{Layer: layer, MediaType: fluxContent})
	if err != nil {
		return Artifact{}, fmt.Errorf("making the artifact: %w", err)
	}
	annotated, ok := mutate.Annotations(image, map[string]string{
		"org.opencontainers.image.source":   origin.Repository,
		"org.opencontainers.image.revision": origin.Ref + "@sha1:" + origin.Commit,
	}).(v1.Image)
	if !ok {
		return Artifact{}, fmt.Errorf("making the artifact: annotations are not supported")
	}
	digest, err := annotated.Digest()
	if err != nil {
		return Artifact{}, fmt.Errorf("hashing the artifact: %w", err)
	}
	return Artifact{image: annotated, file: layer.file, digest: digest.String(), manifestsDigest: Digest(layer.file)}, nil
}

// ManifestsDigest is what [Artifact.ManifestsDigest] is of these documents,
// without packing them.
func ManifestsDigest(documents [][]byte) (string, error) {
	file, err := stream(documents)
	if err != nil {
		return "", err
	}
	return Digest(file), nil
}

// stream joins the documents; JSON on one line is YAML.
func stream(documents [][]byte) ([]byte, error) {
	var out bytes.Buffer
	for i, doc := range documents {
		if err := mayPack(i, doc); err != nil {
			return nil, err
		}
		if err := add(&out, doc); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

const separator = "---\n"

func add(out *bytes.Buffer, doc []byte) error {
	out.WriteString(separator)
	out.Write(doc)
	out.WriteByte('\n')
	if out.Len() > maxManifests {
		return tooLarge()
	}
	return nil
}

func tooLarge() error {
	return refuse(CodeArtifactInvalid, "split the factory", "manifests are larger than %d bytes", maxManifests)
}

func mayPack(i int, doc []byte) error {
	if bytes.ContainsAny(doc, "\n\r") {
		return refuse(CodeArtifactInvalid, "documents are canonical JSON", "document %d spans lines", i)
	}
	return refuseSecret(i, doc)
}

func refuseSecret(i int, doc []byte) error {
	var o struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"metadata"`
		Data       map[string]json.RawMessage `json:"data"`
		StringData map[string]json.RawMessage `json:"stringData"`
	}
	head := struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}{}
	if err := json.Unmarshal(doc, &head); err != nil {
		return refuse(CodeArtifactInvalid, "documents are canonical JSON", "document %d is not a JSON object", i)
	}
	if head.Kind != "Secret" || head.APIVersion != "v1" {
		return nil
	}
	if err := json.Unmarshal(doc, &o); err != nil {
		return refuse(CodeArtifactInvalid, "documents are canonical JSON", "document %d is not a Secret's JSON", i)
	}
	if len(o.Data)+len(o.StringData) > 0 {
		return refuse(CodeArtifactSecret, "keep values in a secret store and commit a reference to it",
			"Secret %s/%s has values", o.Metadata.Namespace, o.Metadata.Name)
	}
	return nil
}
