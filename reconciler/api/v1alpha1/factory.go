package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Condition types of a Factory. Ready is computed from the five that follow
// it; Drifted, Stale, Revoked, Stalled and Reconciling exist only while they
// are true.
const (
	ConditionReady          = "Ready"
	ConditionSourceVerified = "SourceVerified"
	ConditionPolicyPassed   = "PolicyPassed"
	ConditionApplied        = "Applied"
	ConditionHealthy        = "Healthy"
	ConditionAttested       = "Attested"
	ConditionDrifted        = "Drifted"
	ConditionStale          = "Stale"
	ConditionRevoked        = "Revoked"
	ConditionStalled        = "Stalled"
	ConditionReconciling    = "Reconciling"
)

// Factory is one secure software factory: a repository, the people who may
// change it, and the cluster state that follows from it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=millwright
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.applied.revision`
// +kubebuilder:printcolumn:name="Signer",type=string,JSONPath=`.status.applied.signer`
// +kubebuilder:printcolumn:name="Drift",type=integer,JSONPath=`.status.drift.corrected`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Factory struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   FactorySpec   `json:"spec"`
	Status FactoryStatus `json:"status,omitempty"`
}

// FactorySpec is what the factory should be.
type FactorySpec struct {
	// Source is the repository that is followed.
	Source SourceSpec `json:"source"`
	// Verify pins where trust begins.
	Verify VerifySpec `json:"verify"`
	// Environment names the entry of environments in factory-config/factory.yaml
	// whose overlay is applied to this cluster.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Environment string `json:"environment"`
	// Attest says how applied revisions are signed and where the evidence goes.
	Attest AttestSpec `json:"attest"`
	// Apply says with whose rights objects are written.
	// +optional
	Apply ApplySpec `json:"apply,omitempty"`
	// Prune bounds what one revision may delete.
	// +optional
	// +kubebuilder:default={}
	Prune PruneSpec `json:"prune,omitempty"`
	// Drift says how often the watches are checked.
	// +optional
	// +kubebuilder:default={}
	Drift DriftSpec `json:"drift,omitempty"`
	// Suspend pauses everything: no fetch, no apply, no drift correction.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// SourceSpec names a ref of a Git repository.
type SourceSpec struct {
	// URL of the repository: https, http, ssh or file.
	// +kubebuilder:validation:Pattern=`^(https?|ssh|file)://[^\s]+$`
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url"`
	// Ref is the full name of the one ref that is followed: a branch, or a
	// signed tag.
	// +kubebuilder:validation:Pattern=`^refs/(heads|tags)/[A-Za-z0-9._/-]+$`
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:default=refs/heads/main
	Ref string `json:"ref,omitempty"`
	// Mainline is the branch whose history the commit of a followed tag has to be
	// part of: approvals that name it count. Of no meaning where ref is a branch.
	// +optional
	// +kubebuilder:validation:Pattern=`^refs/heads/[A-Za-z0-9._/-]+$`
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:default=refs/heads/main
	Mainline string `json:"mainline,omitempty"`
	// Interval between two polls.
	// +kubebuilder:default="1m"
	Interval metav1.Duration `json:"interval,omitempty"`
	// Timeout of one fetch.
	// +kubebuilder:default="1m"
	Timeout metav1.Duration `json:"timeout,omitempty"`
	// SecretRef names a Secret in the Factory's namespace with the credentials:
	// username and password, bearerToken, or identity and known_hosts.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
}

// LocalReference names an object in the same namespace.
type LocalReference struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// VerifySpec pins the beginning of trust.
type VerifySpec struct {
	// Anchor is the full id of the one commit that is trusted by its id alone;
	// everything applied descends from it and is judged by the policy in its tree.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{40}$`
	Anchor string `json:"anchor"`
	// ApplyAccepted permits to apply the newest accepted commit where the tip is
	// refused and commits before it were accepted. Without it the last applied
	// revision stays until the tip itself is accepted.
	// +optional
	ApplyAccepted bool `json:"applyAccepted,omitempty"`
}

// ApplySpec says with whose rights objects are read and written.
type ApplySpec struct {
	// ServiceAccountPrefix and the name of a component are the name of the service
	// account, in the Factory's namespace, that the controller impersonates for the
	// objects of that component. millwright rbac prints the accounts with the rights
	// that they need. Without a prefix the controller uses its own rights.
	// +optional
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?-$`
	// +kubebuilder:validation:MaxLength=64
	ServiceAccountPrefix string `json:"serviceAccountPrefix,omitempty"`
}

// PruneSpec bounds deletion.
type PruneSpec struct {
	// MaxObjects that one revision may delete.
	// +kubebuilder:default=25
	// +kubebuilder:validation:Minimum=0
	MaxObjects int32 `json:"maxObjects,omitempty"`
	// MaxPercent of the inventory that one revision may delete.
	// +kubebuilder:default=25
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxPercent int32 `json:"maxPercent,omitempty"`
	// AllowProtected permits deletion of namespaces and resource definitions.
	// +optional
	AllowProtected bool `json:"allowProtected,omitempty"`
}

// DriftSpec bounds how long drift could stay unseen if the watches failed.
type DriftSpec struct {
	// SweepInterval is the time between two sweeps: every object is looked at by
	// consistent lists of its kind, and what is known to be out of our hands is
	// looked at again.
	// +kubebuilder:default="10m"
	SweepInterval metav1.Duration `json:"sweepInterval,omitempty"`
}

// FactoryStatus is what was last seen and done.
type FactoryStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Attempted is the newest revision that was seen, applied or not.
	// +optional
	Attempted string `json:"attempted,omitempty"`
	// Accepted is the newest commit whose signatures and rules were accepted,
	// whatever became of it later.
	// +optional
	Accepted string `json:"accepted,omitempty"`
	// Fresh is the proven time of the newest evidence that what is served is
	// current: of the newest accepted commit or of a heartbeat.
	// +optional
	Fresh *metav1.Time `json:"fresh,omitempty"`
	// Refused is the newest definite no; absent when the newest revision passed.
	// +optional
	Refused *Refused `json:"refused,omitempty"`
	// Intent is set when a revision is begun and cleared by its attestation: an intent
	// that is found at the start was interrupted.
	// +optional
	Intent *Intent `json:"intent,omitempty"`
	// Applied is the last revision that was applied completely.
	// +optional
	Applied *Applied `json:"applied,omitempty"`
	// +optional
	Drift Drift `json:"drift,omitempty"`
}

// Refused records a definite no.
type Refused struct {
	Reason string `json:"reason"`
	Code   string `json:"code"`
	// +optional
	Commit string `json:"commit,omitempty"`
	// +optional
	Path   string `json:"path,omitempty"`
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
	// Needs are the rules that are not met yet, and who could meet them.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Needs []Need `json:"needs,omitempty"`
}

// Need is one rule of the trust policy that a refused change does not meet yet.
type Need struct {
	// Rule is its name, Role whose holders count for it.
	Rule string `json:"rule"`
	Role string `json:"role"`
	// Threshold is the number of persons that it asks for, Missing how many of
	// them are still missing.
	Threshold int32 `json:"threshold"`
	Missing   int32 `json:"missing"`
	// Vouched are the persons that count already, Candidates those who could.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Vouched []string `json:"vouched,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Candidates []string `json:"candidates,omitempty"`
}

// Intent is what is being applied.
type Intent struct {
	Commit   string `json:"commit"`
	Sequence int64  `json:"sequence"`
	// Rendered is the digest of the manifests.
	Rendered string      `json:"rendered"`
	Started  metav1.Time `json:"started"`
}

// Applied is the last applied revision.
type Applied struct {
	// Revision is ref@sha1:commit, shortened for people.
	Revision string `json:"revision"`
	Commit   string `json:"commit"`
	// Signer is the identity that signed the commit.
	// +optional
	Signer string `json:"signer,omitempty"`
	// Rendered is the digest of the manifests, sha256:<hex>.
	Rendered string `json:"rendered"`
	Objects  int32  `json:"objects"`
	// Sequence and Attestation name the record in the chain.
	// +optional
	Sequence int64 `json:"sequence,omitempty"`
	// +optional
	Attestation string      `json:"attestation,omitempty"`
	Time        metav1.Time `json:"time"`
}

// Drift counts what was put back, says who did the newest ones, and what is not
// kept as it is declared.
type Drift struct {
	// Corrected counts corrections since the Factory was created.
	// +optional
	Corrected int64 `json:"corrected,omitempty"`
	// Last holds the newest corrections, newest first, at most ten.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	Last []DriftRecord `json:"last,omitempty"`
	// OpenTotal is the number of objects that are not kept as they are declared
	// right now; Open describes the first ten of them.
	// +optional
	OpenTotal int32 `json:"openTotal,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=10
	Open []OpenDrift `json:"open,omitempty"`
	// Swept is the newest complete sweep.
	// +optional
	Swept *Sweep `json:"swept,omitempty"`
}

// Sweep is one look at everything: consistent lists of all kinds, not what the
// watches told.
type Sweep struct {
	Time metav1.Time `json:"time"`
	// Objects that were looked at; Unobserved is how many of them could not be.
	Objects int32 `json:"objects"`
	// +optional
	Unobserved int32 `json:"unobserved,omitempty"`
}

// DriftRecord is one object that was put back. It names fields, never values.
type DriftRecord struct {
	Object string `json:"object"`
	// +optional
	Component string `json:"component,omitempty"`
	// +optional
	Paths []string `json:"paths,omitempty"`
	// Manager and Operation are those of the write that was undone, Changed is
	// when it was made, as far as the object tells.
	// +optional
	Manager string `json:"manager,omitempty"`
	// +optional
	Operation string `json:"operation,omitempty"`
	// +optional
	Changed *metav1.Time `json:"changed,omitempty"`
	Time    metav1.Time  `json:"time"`
}

// OpenDrift is one object that is not kept as it is declared. Its time is when
// that was first seen.
type OpenDrift struct {
	DriftRecord `json:",inline"`
	// Reason is ResourceFight, AdmissionMutated, DriftReported, ExtraFields or
	// AdmissionUnstable.
	Reason string `json:"reason"`
	// Repairs in a row, and when the next one may be made.
	// +optional
	Repairs int32 `json:"repairs,omitempty"`
	// +optional
	Next *metav1.Time `json:"next,omitempty"`
}

// GetConditions and SetConditions let the condition tools of fluxcd/pkg work.
func (f *Factory) GetConditions() []metav1.Condition { return f.Status.Conditions }

// SetConditions replaces the conditions.
func (f *Factory) SetConditions(c []metav1.Condition) { f.Status.Conditions = c }

// FactoryList is a list of Factories.
//
// +kubebuilder:object:root=true
type FactoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Factory `json:"items"`
}
