package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AttestSpec says who signs and where evidence is stored.
//
// +kubebuilder:validation:XValidation:rule="!has(self.rekorVersion) || self.rekorVersion != 2 || has(self.timestampAuthority)",message="version 2 of Rekor says no time: a timestampAuthority is needed"
type AttestSpec struct {
	// Signer is Keyless (a Fulcio certificate for the controller's identity
	// token) or Key (the key file that the controller was started with).
	// +kubebuilder:validation:Enum=Keyless;Key
	// +kubebuilder:default=Keyless
	Signer string `json:"signer,omitempty"`
	// Fulcio is the URL of the certificate authority. Required for Keyless.
	// +optional
	Fulcio string `json:"fulcio,omitempty"`
	// Rekor is the URL of the transparency log. Required for Keyless.
	// +optional
	Rekor string `json:"rekor,omitempty"`
	// RekorVersion is that of its interface. Version 2 answers when its next
	// checkpoint has the entry, which may be seconds, and says no time itself.
	// +optional
	// +kubebuilder:validation:Enum=1;2
	// +kubebuilder:default=1
	RekorVersion int32 `json:"rekorVersion,omitempty"`
	// TimestampAuthority is the URL of an RFC 3161 authority.
	// +optional
	TimestampAuthority string `json:"timestampAuthority,omitempty"`
	// Issuer and Subject of the controller's own identity: what it signs must
	// verify as them before it is stored. Required for Keyless.
	// +optional
	Issuer string `json:"issuer,omitempty"`
	// +optional
	Subject string `json:"subject,omitempty"`
	// Repository is the OCI repository that rendered manifests and their
	// attestations are pushed to, for example registry.example.org/factory/rendered.
	// +optional
	Repository string `json:"repository,omitempty"`
	// WhenUnavailable says what becomes of a new revision while its verdict cannot
	// be signed and stored: Hold it, or Queue the evidence and go on. Drift of the
	// revision in force is put back in either case. By default it is Hold, but in
	// the environment "local".
	// +optional
	// +kubebuilder:validation:Enum=Hold;Queue
	WhenUnavailable string `json:"whenUnavailable,omitempty"`
	// Former are the signers of older records: a chain goes on where its signer is
	// replaced.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Former []FormerSigner `json:"former,omitempty"`
	// Heartbeat is the longest time between two records: where nothing else is to
	// be told for so long, one says that the revision was kept.
	// +kubebuilder:default="6h"
	Heartbeat metav1.Duration `json:"heartbeat,omitempty"`
	// DriftBatch is how long drift that was put back waits for more of it before
	// one record tells of all.
	// +kubebuilder:default="1m"
	DriftBatch metav1.Duration `json:"driftBatch,omitempty"`
	// Keep is how many records of the chain stay in the cluster. Older ones are
	// removed once the registry has them; without a repository all stay.
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=5000
	// +kubebuilder:default=200
	Keep int32 `json:"keep,omitempty"`
}

// FormerSigner signed the records up to one of them. Key, or Issuer and Subject.
//
// +kubebuilder:validation:XValidation:rule="has(self.key) != (has(self.issuer) && has(self.subject))",message="a former signer is a key, or an issuer and a subject"
type FormerSigner struct {
	// Until is the last sequence number that it counts for.
	// +kubebuilder:validation:Minimum=1
	Until int64 `json:"until"`
	// Key is the PEM public key.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Key string `json:"key,omitempty"`
	// UnsafeWithoutLog accepts signatures by the key that are in no log.
	// +optional
	UnsafeWithoutLog bool `json:"unsafeWithoutLog,omitempty"`
	// +optional
	Issuer string `json:"issuer,omitempty"`
	// +optional
	Subject string `json:"subject,omitempty"`
}
