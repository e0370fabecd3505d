package audittest

import (
	"context"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
)

// Apply records the newest commit as applied: verified and rendered as the
// reconciler does it, and signed for.
func (f *Factory) Apply(ctx context.Context) error {
	store, err := f.Store()
	if err != nil {
		return err
	}
	v, err := f.verifier.Verify(ctx, store, gitverify.Request{Ref: Ref, Candidate: f.head, Anchor: f.Anchor, Floor: f.floor})
	if err != nil {
		return err
	}
	predicate, err := f.predicate(v)
	if err != nil {
		return err
	}
	tree, err := gitverify.OpenTree(ctx, store, v)
	if err != nil {
		return err
	}
	out, documents, err := f.rendered(tree)
	if err != nil {
		return err
	}
	manifests, err := attest.ManifestsDigest(documents)
	if err != nil {
		return err
	}
	predicate.Rendered = attest.Rendered{Digest: out.Manifests.Digest(), Objects: len(documents)}
	if f.Edit != nil {
		f.Edit(&predicate)
	}
	empty := attest.Digest(nil)
	statement, err := attest.NewStatement(attest.Subjects{Artifact: attest.Digest(documents[0]), Manifests: manifests, Inventory: empty}, predicate)
	if err != nil {
		return err
	}
	if err := f.Append(statement); err != nil {
		return err
	}
	f.floor, f.applied = f.head, statement
	return nil
}

// Keep records a stretch of enforcement of the newest revision, from where the
// record before ends; a stretch without an end ends a minute later.
func (f *Factory) Keep(trigger string, s attest.Stretch) error {
	last := f.Records[len(f.Records)-1]
	p := f.applied.Predicate
	if s.From.IsZero() {
		s.From = f.until
	}
	if s.To.IsZero() {
		s.To = f.tick()
	}
	statement, err := attest.NewEnforcement(attest.Subjects{Artifact: f.applied.Artifact(), Manifests: f.applied.Manifests(), Inventory: f.applied.Inventory()},
		attest.Enforcement{
			Reconciler: p.Reconciler, Factory: f.Place, Target: f.Target, Sequence: last.Sequence + 1, Trigger: trigger,
			Previous: attest.Previous{Sequence: last.Sequence, GitCommit: last.Commit, Attestation: last.Digest},
			Revision: attest.Enforced{Sequence: p.Sequence, Repository: p.Source.Repository, Ref: Ref, Commit: p.Source.Commit, Rendered: p.Rendered.Digest},
			Enforced: s, Health: p.Health,
		})
	if err != nil {
		return err
	}
	return f.Append(statement)
}

// Until is where the newest record ends.
func (f *Factory) Until() time.Time { return f.until }

// Append signs a statement and puts it at the end of the chain.
func (f *Factory) Append(s attest.Statement) error {
	f.until = s.Place().Until
	payload, err := s.Encode()
	if err != nil {
		return err
	}
	bundle, err := f.Sign(payload)
	if err != nil {
		return err
	}
	place := s.Place()
	r := attest.Record{Sequence: place.Sequence, Commit: place.Commit, Digest: attest.Digest(bundle), Bundle: string(bundle)}
	if place.Previous != nil {
		r.Previous = place.Previous.Attestation
	}
	f.Records = append(f.Records, r)
	return nil
}

// predicate is all of a record but what is rendered.
func (f *Factory) predicate(v gitverify.Verification) (attest.Predicate, error) {
	var (
		commits []attest.Commit
		rulings []attest.Ruling
	)
	for _, c := range v.Checked() {
		commits = append(commits, attest.Commit{
			Commit: string(c.Commit), Kind: string(c.Kind), Forge: c.Forge, SignedAt: c.SignedAt, LogIndex: c.LogIndex,
			Signer: attest.Signed{Name: c.Signer.Name, Issuer: c.Signer.Issuer, Subject: c.Signer.Subject},
		})
	}
	for _, step := range v.Steps() {
		for _, r := range step.Rulings {
			rulings = append(rulings, attest.Ruling{Commit: string(step.Commit), Rule: r.Rule, Role: r.Role, Threshold: r.Threshold, Vouchers: r.Vouchers})
		}
	}
	checked, err := attest.NewRange(commits)
	if err != nil {
		return attest.Predicate{}, err
	}
	at := f.tick()
	p := attest.Predicate{
		Reconciler: attest.Reconciler{ID: Reconciler, Version: Release}, Factory: f.Place, Target: f.Target,
		Sequence: int64(len(f.Records)) + 1, Trigger: attest.TriggerCommit, StartedOn: at, FinishedOn: at, Result: attest.ResultApplied,
		Source: attest.Source{
			Repository: v.Repository(), Ref: Ref, Commit: string(v.Commit()), Anchor: string(v.Anchor()),
			PolicyDigest: v.PolicyDigest(), PolicyVersion: v.PolicyVersion(), Range: checked, Rulings: attest.NewRulings(rulings),
		},
		Changes: attest.Changes{Updated: 1, Objects: attest.Digest(nil), Root: attest.List{}.Root()},
		Health:  attest.Health{Status: "Unknown", Reason: "no kubelet runs here"},
	}
	if n := len(f.Records); n > 0 {
		last := f.Records[n-1]
		p.Previous = &attest.Previous{Sequence: last.Sequence, GitCommit: last.Commit, Attestation: last.Digest}
		p.Enforced = &attest.Stretch{From: f.until, To: at, Looks: 1, Objects: 1}
	}
	return p, nil
}
