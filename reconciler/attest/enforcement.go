package attest

import (
	"errors"
	"fmt"
	"slices"
)

// EnforcementType names the predicate of the records between two revisions.
const EnforcementType = "https://millwright.dev/attestation/enforcement/v1"

// Enforcement says how the revision in force was kept since the record before:
// what was looked at, what had drifted and was put back, and for which time
// nothing can be said. One is made for a batch of drift, and when the newest
// record has become too old to prove that anybody is still there.
type Enforcement struct {
	Reconciler Reconciler `json:"reconciler"`
	Factory    Factory    `json:"factory"`
	Target     Target     `json:"target"`
	// Sequence is the place in the chain, which revisions and enforcement share.
	Sequence int64 `json:"sequence"`
	// Trigger is drift, or schedule for a heartbeat.
	Trigger   string   `json:"trigger"`
	Bootstrap bool     `json:"bootstrap"`
	Previous  Previous `json:"previous"`
	Revision  Enforced `json:"revision"`
	// Enforced is the stretch since the record before.
	Enforced Stretch `json:"enforced"`
	// State is as in the record of a revision.
	State  string `json:"state,omitempty"`
	Health Health `json:"health"`
}

// Enforced is the revision that was in force, and its own record.
type Enforced struct {
	Sequence   int64  `json:"sequence"`
	Repository string `json:"repository"`
	Ref        string `json:"ref"`
	Commit     string `json:"commit"`
	Rendered   string `json:"rendered"`
	Artifact   string `json:"artifact"`
}

// NewEnforcement makes the statement of a stretch of enforcement. What strangers
// can choose is cut and cleaned, as [NewStatement] does.
func NewEnforcement(s Subjects, e Enforcement) (Statement, error) {
	e.Enforced = e.Enforced.tidy()
	e.Health.Status, e.Health.Reason = clean(e.Health.Status, maxText), clean(e.Health.Reason, maxText)
	e.Target.KubernetesVersion = clean(e.Target.KubernetesVersion, maxText)
	e.Revision.Artifact = s.Artifact
	st := Statement{
		Type: statementType, PredicateType: EnforcementType, Enforcement: &e,
		Subject: []Subject{
			{Name: subjectArtifact, Digest: DigestSet{SHA256: bare(s.Artifact)}},
			{Name: subjectManifests, Digest: DigestSet{SHA256: bare(s.Manifests)}},
			{Name: "git+" + e.Revision.Repository, Digest: DigestSet{GitCommit: e.Revision.Commit}},
			{Name: subjectInventory, Digest: DigestSet{SHA256: bare(s.Inventory)}},
		},
	}
	if _, err := st.Encode(); err != nil {
		return Statement{}, err
	}
	return st, nil
}

func (e Enforcement) validate() error {
	return errors.Join(e.place().validate(), e.validateRevision(), e.Enforced.validate(), requireText("health.status", e.Health.Status))
}

func (e Enforcement) validateRevision() error {
	r := e.Revision
	if err := errors.Join(requireText("revision.repository", r.Repository), requireText("revision.ref", r.Ref)); err != nil {
		return err
	}
	if !isHex(r.Commit, 40) || !isDigest(r.Rendered) || !isDigest(r.Artifact) {
		return errors.New("revision.commit, rendered or artifact is invalid")
	}
	if r.Sequence < 1 || r.Sequence >= e.Sequence {
		return errors.New("revision.sequence is not that of a record before")
	}
	if e.Previous.GitCommit != r.Commit {
		return errors.New("what is enforced is the commit of the record before")
	}
	if !slices.Contains([]string{TriggerDrift, TriggerSchedule}, e.Trigger) {
		return fmt.Errorf("trigger is %q", clean(e.Trigger, maxText))
	}
	return nil
}

func (e Enforcement) place() Place {
	previous := e.Previous
	return Place{
		Reconciler: e.Reconciler, Factory: e.Factory, Target: e.Target, Sequence: e.Sequence, Previous: &previous,
		Trigger: e.Trigger, Bootstrap: e.Bootstrap,
		Commit: e.Revision.Commit, Rendered: e.Revision.Rendered, Artifact: e.Revision.Artifact,
		Begun: e.Enforced.From, Until: e.Enforced.To, State: e.State,
	}
}
