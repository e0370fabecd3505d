package v1alpha1

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LabelFactory marks an AppliedRevision with the Factory it belongs to.
const LabelFactory = "millwright.dev/factory"

// AppliedRevision is the record of one applied revision. Its spec holds the
// signed attestation and is immutable; its status is the outbox that says
// where else the evidence is stored.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=millwright
// +kubebuilder:printcolumn:name="Factory",type=string,JSONPath=`.spec.factory`
// +kubebuilder:printcolumn:name="Sequence",type=integer,JSONPath=`.spec.sequence`
// +kubebuilder:printcolumn:name="Commit",type=string,JSONPath=`.spec.commit`
// +kubebuilder:printcolumn:name="Stored",type=boolean,JSONPath=`.status.stored`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AppliedRevision struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AppliedRevisionSpec   `json:"spec"`
	Status AppliedRevisionStatus `json:"status,omitempty"`
}

// AppliedRevisionSpec is written once, by the controller.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an applied revision is a record: it never changes"
type AppliedRevisionSpec struct {
	// Factory is the name of the Factory in the same namespace.
	// +kubebuilder:validation:MinLength=1
	Factory string `json:"factory"`
	// Sequence numbers the chain from 1 without a gap.
	// +kubebuilder:validation:Minimum=1
	Sequence int64 `json:"sequence"`
	// Commit that was applied.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{40}$`
	Commit string `json:"commit"`
	// Rendered is the digest of the manifests.
	Rendered string `json:"rendered"`
	// Digest is sha256:<hex> of the bundle's bytes.
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest"`
	// Previous is the digest of the record before; empty for the first.
	// +optional
	Previous string `json:"previous,omitempty"`
	// Bundle is the Sigstore bundle (v0.3 JSON) with the signed in-toto statement.
	// +kubebuilder:validation:MaxLength=1048576
	Bundle string `json:"bundle"`
}

// AppliedRevisionStatus is the outbox.
type AppliedRevisionStatus struct {
	// Stored is true when the registry has the evidence too.
	// +optional
	Stored bool `json:"stored,omitempty"`
	// Reference is the OCI artifact that the attestation refers to.
	// +optional
	Reference string `json:"reference,omitempty"`
}

// AppliedRevisionName is the one name that a sequence number may have: two
// leaders cannot both create it.
func AppliedRevisionName(factory string, sequence int64) string {
	return fmt.Sprintf("%s-%010d", factory, sequence)
}

// AppliedRevisionList is a list of AppliedRevisions.
//
// +kubebuilder:object:root=true
type AppliedRevisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AppliedRevision `json:"items"`
}
