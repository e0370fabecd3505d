package reconciler

import (
	"cmp"
	"context"
	"time"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
)

const (
	// defaultHeartbeat and defaultBatch stand for what a Factory does not say.
	defaultHeartbeat = 6 * time.Hour
	defaultBatch     = time.Minute
)

// due says why a record of enforcement is due, or "" if none is.
func (p *pass) due() string {
	s, now := p.follow(), p.plant.setup.Clock()
	if p.head.sequence == 0 || !s.frozen.IsZero() {
		return ""
	}
	if !now.Before(s.from.Add(p.heartbeat())) {
		return attest.TriggerSchedule
	}
	if !s.since.IsZero() && s.last.at.After(s.from) && !now.Before(s.since.Add(p.batch())) {
		return attest.TriggerDrift
	}
	return ""
}

func (p *pass) heartbeat() time.Duration {
	return positive(p.factory.Spec.Attest.Heartbeat.Duration, defaultHeartbeat)
}

func (p *pass) batch() time.Duration {
	return positive(p.factory.Spec.Attest.DriftBatch.Duration, defaultBatch)
}

func positive(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// wake is when the next record of enforcement is due.
func (p *pass) wake() time.Time {
	s := p.follow()
	if p.head.sequence == 0 || !s.frozen.IsZero() {
		return time.Time{}
	}
	at := s.from.Add(p.heartbeat())
	if batch := s.since.Add(p.batch()); !s.since.IsZero() && batch.Before(at) {
		at = batch
	}
	return at
}

// tell leaves a record of how the revision in force was kept, if one is due: of
// drift, or because the newest record is too old to prove anything.
func (p *pass) tell(ctx context.Context, revision accepted) {
	if !p.attested(revision) {
		return
	}
	trigger := p.due()
	if trigger != "" {
		if err := p.recordEnforcement(ctx, revision, trigger); err != nil && p.out.Failed == nil {
			p.failed(v1alpha1.ConditionAttested, at(v1alpha1.ConditionAttested, report.ReasonAttestationFailed, err))
		}
	}
	// What is overdue is tried again as any failure is.
	if at := p.wake(); at.After(p.plant.setup.Clock()) {
		p.plant.record = at
	}
}

func (p *pass) recordEnforcement(ctx context.Context, revision accepted, trigger string) error {
	defer p.plant.time("attest")()
	artifact, err := p.artifact(revision)
	if err != nil {
		return err
	}
	s := p.follow()
	held, err := inventoryList(s.inventory)
	if err != nil {
		return err
	}
	// A pass that could not look at everything does not keep the chain from saying
	// that somebody is there: what it cannot claim is a gap.
	to := s.last.at
	if trigger == attest.TriggerSchedule {
		to = latest(to, moment(p.started))
	}
	statement, err := attest.NewEnforcement(attest.Subjects{
		Artifact: artifact.Digest(), Manifests: artifact.ManifestsDigest(), Inventory: held.Digest(),
	}, attest.Enforcement{
		Reconciler: p.reconciler(), Factory: p.factoryName(), Target: p.target(),
		Sequence: p.head.sequence + 1, Trigger: trigger, Bootstrap: p.bootstrap(), Previous: *p.previous(),
		Revision: attest.Enforced{
			Sequence: p.head.revision, Repository: revision.verification.Repository(), Ref: revision.verification.Ref(),
			Commit: string(revision.commit()), Rendered: revision.manifests.Digest(),
		},
		Enforced: s.until(to, cmp.Or(s.missed, attest.GapUnobserved)),
		State:    p.stateAt(s, to), Health: p.healthNow(),
	})
	if err != nil {
		return err
	}
	// What is still not as declared goes on in the next record, which begins with
	// the look that this one ends with.
	next := stretch{open: s.open, inventory: s.inventory, last: look{at: to}, missed: cmp.Or(s.missed, attest.GapUnobserved)}
	if !to.After(s.last.at) {
		next.last, next.missed = s.last, ""
	}
	if err := p.create(ctx, statement, v1alpha1.RecordEnforced, artifact, held); err != nil {
		return err
	}
	next.after, next.from = p.head.digest, p.head.until
	p.plant.stretch = next
	if p.out.Applied != nil {
		p.out.Applied.Sequence, p.out.Applied.Attestation = p.head.sequence, p.head.digest
	}
	p.plant.calm = nil // the next pass reads the records again
	if err := p.store(ctx); err != nil {
		return err
	}
	p.trim(ctx)
	return nil
}

// stateAt is the state of the newest look, if the record ends with it.
func (p *pass) stateAt(s *stretch, to time.Time) string {
	if to.After(s.last.at) {
		return ""
	}
	return s.last.state
}

func (p *pass) healthNow() attest.Health {
	if !p.out.Health.Known {
		return attest.Health{Status: "Unknown", Reason: "it was not judged in this pass"}
	}
	return attest.Health{Status: string(p.out.Health.Status), Reason: p.out.Health.Reason}
}
