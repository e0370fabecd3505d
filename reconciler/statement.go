package reconciler

import (
	"cmp"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/plan"
)

// statement gathers what the pass knows into the record of an applied revision.
func (p *pass) statement(revision accepted, changes apply.ChangeSet, artifact attest.Artifact, decided verdict) (attest.Statement, lists, error) {
	source, err := p.sourceOf(revision)
	if err != nil {
		return attest.Statement{}, lists{}, err
	}
	behind, err := p.lists(changes.Inventory)
	if err != nil {
		return attest.Statement{}, lists{}, err
	}
	began := p.began()
	predicate := attest.Predicate{
		Reconciler: p.reconciler(), Factory: p.factoryName(), Target: p.target(),
		Sequence: p.head.sequence + 1, Trigger: attest.TriggerCommit, Bootstrap: p.bootstrap(), Previous: p.previous(),
		StartedOn: began, FinishedOn: latest(p.plant.setup.Clock(), began), Result: attest.ResultApplied,
		Inputs:     decided.inputs,
		Source:     source,
		Rendered:   attest.Rendered{Digest: revision.manifests.Digest(), Objects: len(revision.manifests.Objects())},
		PolicyTest: policyTestOf(revision),
		Changes:    p.changesOf(behind.changes),
		Drift:      attest.NewDrift(p.driftEntries()),
		State:      inventoryState(changes.Inventory),
		Health:     attest.Health{Status: string(p.out.Health.Status), Reason: p.out.Health.Reason},
	}
	if p.head.sequence == 0 {
		predicate.Trigger = attest.TriggerBootstrap
	} else {
		s := p.follow()
		enforced := s.until(began, cmp.Or(s.missed, attest.GapUnobserved))
		predicate.Enforced = &enforced
	}
	st, err := attest.NewStatement(attest.Subjects{
		Artifact: artifact.Digest(), Manifests: artifact.ManifestsDigest(), Inventory: behind.inventory.Digest(),
	}, predicate)
	return st, behind, err
}

func (p *pass) reconciler() attest.Reconciler {
	return attest.Reconciler{ID: p.reconcilerID(), Version: p.plant.setup.Release}
}

func (p *pass) factoryName() attest.Factory {
	return attest.Factory{Namespace: p.factory.Namespace, Name: p.factory.Name}
}

func (p *pass) target() attest.Target {
	return attest.Target{Environment: p.factory.Spec.Environment, ClusterUID: p.plant.cluster.uid, KubernetesVersion: p.plant.cluster.version}
}

func (p *pass) bootstrap() bool { return p.factory.Spec.Attest.Signer == signerKey }

// previous links to the newest record, nil where there is none.
func (p *pass) previous() *attest.Previous {
	if p.head.sequence == 0 {
		return nil
	}
	return &attest.Previous{Sequence: p.head.sequence, GitCommit: p.head.commit, Attestation: p.head.digest}
}

// began is when the first write of the revision was begun, as far as this
// process or the intent knows, and never before the newest record ends.
func (p *pass) began() time.Time {
	at := p.started
	if s := p.follow(); !s.frozen.IsZero() {
		at = s.frozen
	}
	if intent := p.factory.Status.Intent; intent != nil && intent.Sequence == p.head.sequence+1 && intent.Started.Time.Before(at) {
		at = intent.Started.Time
	}
	return latest(at, p.head.until)
}

func (p *pass) reconcilerID() string {
	if p.factory.Spec.Attest.Signer != signerKey {
		return p.factory.Spec.Attest.Subject
	}
	if p.plant.setup.Key == nil {
		return ""
	}
	fingerprint, err := p.plant.setup.Key.Fingerprint()
	if err != nil {
		return ""
	}
	return fingerprint
}

func (p *pass) sourceOf(revision accepted) (attest.Source, error) {
	v := revision.verification
	var commits []attest.Commit
	for _, c := range v.Checked() { // since the record before, which covers what came earlier
		commits = append(commits, attest.Commit{
			Commit: string(c.Commit), Kind: string(c.Kind), Forge: c.Forge, SignedAt: c.SignedAt, LogIndex: c.LogIndex,
			Signer: attest.Signed{Name: c.Signer.Name, Issuer: c.Signer.Issuer, Subject: c.Signer.Subject},
		})
	}
	checked, err := attest.NewRange(commits)
	if err != nil {
		return attest.Source{}, err
	}
	return attest.Source{
		Repository: v.Repository(), Ref: v.Ref(), Commit: string(v.Commit()), Anchor: string(v.Anchor()),
		PolicyDigest: v.PolicyDigest(), PolicyVersion: v.PolicyVersion(), Range: checked,
		Rulings: rulingsOf(revision),
	}, nil
}

// rulingsOf are the rules that each step met, and those about what the whole
// revision affects (rule T12), which were judged at its end.
func rulingsOf(revision accepted) attest.Rulings {
	var all []attest.Ruling
	add := func(commit gitverify.ID, rulings []gitverify.Ruling) {
		for _, r := range rulings {
			all = append(all, attest.Ruling{Commit: string(commit), Rule: r.Rule, Role: r.Role, Threshold: r.Threshold, Vouchers: r.Vouchers})
		}
	}
	for _, step := range revision.verification.Steps() {
		add(step.Commit, step.Rulings)
	}
	add(revision.commit(), revision.rulings)
	return attest.NewRulings(all)
}

func policyTestOf(revision accepted) attest.PolicyTest {
	tested := attest.PolicyTest{Policies: []attest.TestedPolicy{}}
	for _, r := range revision.verdict.Policies {
		tested.Policies = append(tested.Policies, attest.TestedPolicy{Name: r.Name, Digest: r.Digest, Matched: r.Matched})
	}
	return tested
}

// lists are the files behind the digests of a statement. They are stored in
// the registry beside the attestation; a process that dies before that leaves
// them out, and an auditor makes them anew from the manifests.
type lists struct{ inventory, changes attest.List }

func (p *pass) lists(inventory plan.Inventory) (lists, error) {
	var (
		out  lists
		done []attest.ListEntry
		err  error
	)
	for _, r := range p.plant.pending {
		done = append(done, attest.ListEntry{
			APIVersion: inventory.Entries[r.ID].APIVersion, Kind: r.ID.Kind, Namespace: r.ID.Namespace, Name: r.ID.Name,
			UID: r.Live.UID, Op: string(r.Op), Declared: r.Declared,
		})
	}
	if out.inventory, err = inventoryList(inventory); err != nil {
		return out, err
	}
	out.changes, err = attest.NewList(done)
	return out, err
}

// inventoryList is the list of the objects that are held.
func inventoryList(inventory plan.Inventory) (attest.List, error) {
	held := make([]attest.ListEntry, 0, len(inventory.Entries))
	for id, e := range inventory.Entries {
		held = append(held, attest.ListEntry{
			APIVersion: e.APIVersion, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name, UID: e.UID, Declared: e.Declared,
		})
	}
	return attest.NewList(held)
}

// changesOf counts what was done for this revision, over all passes since the
// last record. After a crash in between only what came later is counted: the
// counts describe work that was seen, the inventory digest describes the state.
func (p *pass) changesOf(objects attest.List) attest.Changes {
	c := attest.Changes{Objects: objects.Digest(), Root: objects.Root()}
	for _, r := range p.plant.pending {
		switch r.Action {
		case apply.Created:
			c.Created++
		case apply.Updated, apply.Recreated:
			c.Updated++
		case apply.Corrected:
			c.Corrected++
		case apply.Pruned:
			c.Pruned++
		case apply.Unchanged:
			c.Unchanged++
		case apply.Failed:
			c.Failed++
		case apply.Waiting, apply.Deleting: // not done: the revision is not attested while one is left
		}
	}
	return c
}

func (p *pass) driftEntries() []attest.DriftEntry {
	var out []attest.DriftEntry
	for _, r := range p.plant.pending {
		if r.Action != apply.Corrected {
			continue
		}
		e := attest.DriftEntry{Object: plan.Name(r.ID), Action: "corrected", Paths: []string{}, Managers: []string{}}
		for _, d := range r.Differences {
			e.Paths = append(e.Paths, d.Path)
			if d.Manager != "" {
				e.Managers = append(e.Managers, d.Manager)
			}
		}
		out = append(out, e)
	}
	return out
}
