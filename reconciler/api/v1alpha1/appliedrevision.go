package v1alpha1

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Types of records.
const (
	RecordApplied  = "Applied"
	RecordEnforced = "Enforced"
	// RecordVerdict and RecordRefused are no records of the chain: what was decided
	// of a revision before its first write, and of a commit that was refused.
	RecordVerdict = "Verdict"
	RecordRefused = "Refused"
)

// LabelFactory marks an AppliedRevision with the Factory it belongs to.
const LabelFactory = "millwright.dev/factory"

// AppliedRevision is a record of the chain: of one applied revision, or of how
// it was enforced since the record before. Its spec holds the
// signed attestation and is immutable; its status is the outbox that says
// where else the evidence is stored.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=millwright
// +kubebuilder:printcolumn:name="Factory",type=string,JSONPath=`.spec.factory`
// +kubebuilder:printcolumn:name="Sequence",type=integer,JSONPath=`.spec.sequence`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
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
	// Type says what the record is about: a revision that was Applied, or how it
	// was Enforced since the record before; or, beside the chain, the Verdict on a
	// revision before its first write, or on a commit that was Refused.
	// +kubebuilder:validation:Enum=Applied;Enforced;Verdict;Refused
	// +kubebuilder:default=Applied
	Type string `json:"type,omitempty"`
	// Factory is the name of the Factory in the same namespace.
	// +kubebuilder:validation:MinLength=1
	Factory string `json:"factory"`
	// Sequence numbers the chain from 1 without a gap.
	// +kubebuilder:validation:Minimum=1
	Sequence int64 `json:"sequence"`
	// Commit that was applied.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{40}$`
	Commit string `json:"commit"`
	// Rendered is the digest of the manifests; a refused commit may have none.
	// +optional
	Rendered string `json:"rendered,omitempty"`
	// Digest is sha256:<hex> of the bundle's bytes.
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest"`
	// Previous is the digest of the record before; empty for the first.
	// +optional
	Previous string `json:"previous,omitempty"`
	// Bundle is the Sigstore bundle (v0.3 JSON) with the signed in-toto statement.
	// +kubebuilder:validation:MaxLength=1048576
	Bundle string `json:"bundle"`
	// SourceVerification and Provenance are the bundles that a verdict names.
	// +optional
	// +kubebuilder:validation:MaxLength=524288
	SourceVerification string `json:"sourceVerification,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=524288
	Provenance string `json:"provenance,omitempty"`
}

// InChain says whether a record is one of the numbered chain.
func (s AppliedRevisionSpec) InChain() bool {
	return s.Type == RecordApplied || s.Type == RecordEnforced || s.Type == ""
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
