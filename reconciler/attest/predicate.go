package attest

import "time"

// PredicateType names the meaning of the predicate. A change that an auditor
// of today could misread gets another version.
const PredicateType = "https://millwright.dev/attestation/applied-revision/v1"

// Triggers: what woke the reconciler for this record.
const (
	TriggerCommit    = "commit"
	TriggerDrift     = "drift"
	TriggerSchedule  = "schedule"
	TriggerBootstrap = "bootstrap"
)

// Results of one pass.
const (
	ResultApplied          = "Applied"
	ResultPartiallyApplied = "PartiallyApplied"
	ResultFailed           = "Failed"
)

// Predicate says what was applied, where, why, and what came of it. It has no
// field that could hold an object or a value of one: paths, names, counts and
// digests only.
type Predicate struct {
	Reconciler Reconciler `json:"reconciler"`
	Factory    Factory    `json:"factory"`
	Target     Target     `json:"target"`
	// Sequence numbers the chain of this factory from 1 without a gap.
	Sequence int64  `json:"sequence"`
	Trigger  string `json:"trigger"`
	// Bootstrap is true while the factory's own Sigstore was not yet there.
	Bootstrap  bool      `json:"bootstrap"`
	StartedOn  time.Time `json:"startedOn"`
	FinishedOn time.Time `json:"finishedOn"`
	Result     string    `json:"result"`
	// Previous is the record before; nil for the first only.
	Previous *Previous `json:"previous,omitempty"`
	// Enforced says how the revision before was kept from its record to StartedOn;
	// nil in the first record.
	Enforced *Stretch `json:"enforced,omitempty"`
	// Inputs are the statements that were made of the revision before its first
	// write: verification of the source, provenance, verdict.
	Inputs     []Input    `json:"inputs,omitempty"`
	Source     Source     `json:"source"`
	Rendered   Rendered   `json:"rendered"`
	PolicyTest PolicyTest `json:"policyTest"`
	Changes    Changes    `json:"changes"`
	Drift      Drift      `json:"drift"`
	// State is the digest of the versions of all objects after the pass: the
	// record after is joined to this one, across a restart too, if the first look
	// found them again.
	State  string `json:"state,omitempty"`
	Health Health `json:"health"`
}

// Reconciler is who made the record.
type Reconciler struct {
	// ID is the identity's subject (spiffe://…), or the key's fingerprint.
	ID      string `json:"id"`
	Version string `json:"version"`
}

// Factory names the Factory object.
type Factory struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Target is the cluster that was written to.
type Target struct {
	Environment string `json:"environment"`
	// ClusterUID is the UID of the kube-system namespace: a record of one
	// cluster proves nothing about another.
	ClusterUID        string `json:"clusterUID"`
	KubernetesVersion string `json:"kubernetesVersion"`
	// APIServerCAHash is the digest of the certificate authority that the API
	// server was authenticated with, "sha256:<hex>".
	APIServerCAHash string `json:"apiServerCAHash,omitempty"`
}

// Previous links to the record before.
type Previous struct {
	Sequence  int64  `json:"sequence"`
	GitCommit string `json:"gitCommit"`
	// Attestation is the digest of that record's bundle, "sha256:<hex>".
	Attestation string `json:"attestation"`
}

// Source is the verified revision.
type Source struct {
	// Repository is the URL, or the id that the policy gives the repository.
	Repository    string `json:"repository"`
	Ref           string `json:"ref"`
	Commit        string `json:"commit"`
	Anchor        string `json:"anchor"`
	PolicyDigest  string `json:"policyDigest"`
	PolicyVersion int64  `json:"policyVersion"`
	Range         Range  `json:"range"`
	// Rulings are the rules of the trust policy that the range had to meet.
	Rulings Rulings `json:"rulings"`
}

// Range is the commits that were verified for this record, oldest first. When
// there are more than [MaxRange], Commits holds the newest, and Digest still
// covers all of them.
type Range struct {
	Total   int      `json:"total"`
	Digest  string   `json:"digest"`
	Commits []Commit `json:"commits"`
}

// Commit is one verified commit.
type Commit struct {
	Commit string `json:"commit"`
	// Kind is content, merge, approval or mechanical.
	Kind string `json:"kind"`
	// Signer is who signed it, or Forge the key of the forge that made a merge.
	Signer Signed `json:"signer,omitzero"`
	Forge  string `json:"forge,omitempty"`
	// SignedAt is the proven time, of the transparency log or the timestamp
	// authority; absent for a forge, whose signatures prove none.
	SignedAt time.Time `json:"signedAt,omitzero"`
	// LogIndex in the transparency log, -1 when unknown.
	LogIndex int64 `json:"logIndex"`
}

// Signed is the identity that signed a commit.
type Signed struct {
	Name    string `json:"name,omitempty"`
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// Rulings lists at most [MaxRulings] rules, of the newest steps; Total counts
// all.
type Rulings struct {
	Total   int      `json:"total"`
	Entries []Ruling `json:"entries"`
}

// Ruling is a rule that a step of the range met, and the persons who stand
// behind it.
type Ruling struct {
	// Commit is the step: a commit of the line that is followed.
	Commit    string `json:"commit"`
	Rule      string `json:"rule"`
	Role      string `json:"role"`
	Threshold int    `json:"threshold"`
	// Vouchers are persons, at most [MaxVouchers].
	Vouchers []string `json:"vouchers"`
}

// Rendered is the digest of the manifests, as render gives it, their number,
// and the OCI artifact that holds them.
type Rendered struct {
	Digest   string `json:"digest"`
	Objects  int    `json:"objects"`
	Artifact string `json:"artifact"`
}

// PolicyTest lists the policies that the manifests were tested with.
type PolicyTest struct {
	Policies []TestedPolicy `json:"policies"`
}

// TestedPolicy is one policy of the factory and how many objects it matched: a
// policy that matches nothing proves nothing.
type TestedPolicy struct {
	Name    string `json:"name"`
	Digest  string `json:"digest"`
	Matched int    `json:"matched"`
}

// Changes counts what was done to the cluster.
type Changes struct {
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Corrected int `json:"corrected"`
	Pruned    int `json:"pruned"`
	Unchanged int `json:"unchanged"`
	Failed    int `json:"failed"`
	// Objects is the digest of the list of changed objects ([NewList]), Root that
	// of the Merkle tree over its lines ([List.Prove]).
	Objects string `json:"objects"`
	Root    string `json:"root"`
}

// Drift is what was found different from the declaration without a commit
// that says so. Entries holds at most [MaxDrift]; Total counts all.
type Drift struct {
	Total   int          `json:"total"`
	Entries []DriftEntry `json:"entries"`
}

// DriftEntry is one object that had drifted. Values are not recorded.
type DriftEntry struct {
	// Object is group/version/kind/namespace/name as the reconciler prints it.
	Object string `json:"object"`
	// Paths of the differing fields, at most [MaxPaths].
	Paths []string `json:"paths"`
	// Managers that the API server named as writers of these fields.
	Managers []string `json:"managers"`
	// Action is corrected or reported.
	Action string `json:"action"`
}

// Health after the pass.
type Health struct {
	Status string `json:"status"`
	Reason string `json:"reason"`
}
