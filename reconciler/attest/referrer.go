package attest

import (
	"encoding/json"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// referrer is a manifest that attaches something to an artifact; for bundles
// it has the shape that cosign writes and looks for. Its bytes depend on
// nothing but what is attached to what, so attaching twice is attaching once.
type referrer struct {
	v1.Manifest
	// ArtifactType stands on the manifest too: registries of OCI 1.1 list by it.
	ArtifactType string `json:"artifactType,omitempty"`
}

func (r referrer) RawManifest() ([]byte, error)        { return json.Marshal(r) }
func (r referrer) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

const (
	bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	emptyConfig     = types.MediaType("application/vnd.oci.empty.v1+json")
)

func newReferrer(artifactType string, config v1.Descriptor, layers []v1.Descriptor, subject v1.Descriptor, annotations map[string]string) referrer {
	return referrer{ArtifactType: artifactType, Manifest: v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: config, Layers: layers, Subject: &subject, Annotations: annotations,
	}}
}
