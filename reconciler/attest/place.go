package attest

import (
	"errors"
	"time"
)

// Place is what every record of the chain says of itself, whichever its
// predicate: who made it, for which factory and cluster, where in the chain it
// is, and which revision is in force after it.
type Place struct {
	Reconciler Reconciler
	Factory    Factory
	Target     Target
	Sequence   int64
	// Previous is nil for the first record only.
	Previous  *Previous
	Trigger   string
	Bootstrap bool
	// Commit, Rendered and Artifact are the revision in force.
	Commit, Rendered, Artifact string
	// Begun and Until are the stretch of time that the record is about; the next
	// one begins at Until.
	Begun, Until time.Time
	// State is the digest of the versions of all objects at Until.
	State string
}

// Place is the statement's place in the chain.
func (s Statement) Place() Place {
	if s.Enforcement != nil {
		return s.Enforcement.place()
	}
	return s.Predicate.place()
}

func (p Predicate) place() Place {
	out := Place{
		Reconciler: p.Reconciler, Factory: p.Factory, Target: p.Target, Sequence: p.Sequence, Previous: p.Previous,
		Trigger: p.Trigger, Bootstrap: p.Bootstrap,
		Commit: p.Source.Commit, Rendered: p.Rendered.Digest, Artifact: p.Rendered.Artifact,
		Begun: p.StartedOn, Until: p.FinishedOn, State: p.State,
	}
	if p.Enforced != nil {
		out.Begun = p.Enforced.From
	}
	return out
}

func (p Place) validate() error {
	return errors.Join(p.validateNames(), p.validateChain())
}

func (p Place) validateNames() error {
	for _, f := range []struct{ what, value string }{
		{"reconciler.id", p.Reconciler.ID},
		{"reconciler.version", p.Reconciler.Version},
		{"factory.namespace", p.Factory.Namespace},
		{"factory.name", p.Factory.Name},
		{"target.environment", p.Target.Environment},
		{"target.clusterUID", p.Target.ClusterUID},
		{"target.kubernetesVersion", p.Target.KubernetesVersion},
	} {
		if err := requireText(f.what, f.value); err != nil {
			return err
		}
	}
	if p.Target.APIServerCAHash != "" && !isDigest(p.Target.APIServerCAHash) {
		return errors.New("target.apiServerCAHash is not a sha256 digest")
	}
	return nil
}

func (p Place) validateChain() error {
	if p.State != "" && !isDigest(p.State) {
		return errors.New("state is not a sha256 digest")
	}
	if p.Sequence < 1 {
		return errors.New("sequence is below 1, which is the first")
	}
	if (p.Previous == nil) != (p.Sequence == 1) {
		return errors.New("every record but the first names the one before")
	}
	if prev := p.Previous; prev != nil {
		if prev.Sequence != p.Sequence-1 || !isHex(prev.GitCommit, 40) || !isDigest(prev.Attestation) {
			return errors.New("previous is not the record before")
		}
	}
	return nil
}
