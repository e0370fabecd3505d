package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render"
)

const signerKey = "Key"

var errNoKey = errors.New("spec.attest.signer is Key, but no key was given: start the controller with --attest-key, or millwright plan with --key")

// attest leaves exactly one record of an applied revision, then sees to it
// that the registry has it too. The record is created under the one name that
// its sequence number may have; who comes second finds it there.
func (p *pass) attest(ctx context.Context, revision accepted, changes apply.ChangeSet) {
	defer p.plant.time("attest")()
	p.out.Applied = p.applied(revision)
	err := p.leaveEvidence(ctx, revision, changes)
	if p.plant.unrecorded = nil; !p.attested(revision) {
		p.plant.unrecorded, p.plant.unrecordedAfter = &revision, p.head.digest
	} else {
		p.out.Intent, p.plant.good = nil, &revision
		p.out.Applied.Sequence, p.out.Applied.Attestation = p.head.sequence, p.head.digest
	}
	if err != nil {
		p.failed(v1alpha1.ConditionAttested, at(v1alpha1.ConditionAttested, report.ReasonAttestationFailed, err))
	}
}

func (p *pass) leaveEvidence(ctx context.Context, revision accepted, changes apply.ChangeSet) error {
	if !p.attested(revision) {
		artifact, err := p.artifact(revision)
		if err != nil {
			return err
		}
		if err := p.record(ctx, revision, changes, artifact); err != nil {
			return err
		}
	}
	if err := p.store(ctx); err != nil {
		return err
	}
	p.trim(ctx)
	return nil
}

func (p *pass) applied(revision accepted) *v1alpha1.Applied {
	a := &v1alpha1.Applied{
		Revision: revisionName(p.factory.Spec.Source.Ref, revision), Commit: string(revision.commit()),
		Rendered: revision.manifests.Digest(), Objects: int32(len(revision.manifests.Objects())), //nolint:gosec // render bounds the number
		Time: metav1.NewTime(p.started),
	}
	if before := p.factory.Status.Applied; before != nil && before.Commit == a.Commit {
		a.Time = before.Time
	}
	if tip, ok := revision.verification.Tip(); ok {
		a.Signer = tip.Signer.Subject
	}
	return a
}

func revisionName(ref string, revision accepted) string {
	commit := string(revision.commit())
	return strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), tagPrefix) + "@sha1:" + commit[:12]
}

// artifactOf is the rendered manifests as an OCI artifact, the same bytes for
// the same revision.
func artifactOf(packer *attest.Packer, revision accepted, f *v1alpha1.Factory) (attest.Artifact, error) {
	objects := revision.manifests.Objects()
	documents := make([]attest.Document, 0, len(objects))
	for _, o := range objects {
		documents = append(documents, o)
	}
	return packer.Pack(documents, attest.Origin{
		Repository: f.Spec.Source.URL, Ref: revision.verification.Ref(), Commit: string(revision.commit()),
	})
}

// record signs the statement of an applied revision and creates its record.
func (p *pass) record(ctx context.Context, revision accepted, changes apply.ChangeSet, artifact attest.Artifact) error {
	decided, err := p.verdict(ctx, revision)
	if err != nil {
		return err
	}
	statement, lists, err := p.statement(revision, changes, artifact, decided)
	if err != nil {
		return err
	}
	if err := p.create(ctx, statement, v1alpha1.RecordApplied, artifact, lists.inventory, lists.changes); err != nil {
		return err
	}
	p.plant.pending = nil
	p.plant.stretch = stretch{
		after: p.head.digest, from: p.head.until, last: look{at: p.head.until, state: p.head.state},
		open: map[string]attest.Sighting{}, inventory: changes.Inventory,
	}
	return nil
}

// create signs a statement and makes it the newest record. The record is created
// under the one name that its sequence number may have.
func (p *pass) create(ctx context.Context, statement attest.Statement, kind string, artifact attest.Artifact, lists ...attest.List) error {
	// The API server takes no second record; a log takes any number of signatures.
	if may := p.plant.setup.MayWrite; may != nil {
		if err := may(); err != nil {
			return err
		}
	}
	signer, err := p.plant.signer(p.factory)
	if err != nil {
		return err
	}
	bundle, err := signer.Sign(ctx, statement)
	if err != nil {
		return err
	}
	place := statement.Place()
	spec := v1alpha1.AppliedRevisionSpec{
		Type: kind, Factory: p.factory.Name, Sequence: place.Sequence, Commit: place.Commit, Rendered: place.Rendered,
		Digest: bundle.Digest, Previous: p.head.digest, Bundle: string(bundle.JSON),
	}
	if err := p.createRecord(ctx, v1alpha1.AppliedRevisionName(p.factory.Name, place.Sequence), spec); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("record %d exists already: another process attested; the next pass reads it", place.Sequence)
		}
		return err
	}
	unstored, oldest := p.head.unstored, cmp.Or(p.head.oldest, place.Sequence)
	p.head = headFrom(spec, statement)
	p.head.unstored, p.head.oldest = append(slices.Clone(unstored), place.Sequence), oldest
	p.plant.trusted, p.plant.trustedHead = p.head, spec
	p.plant.outbox.add(place.Sequence, artifact, lists)
	p.plant.head = p.head
	return nil
}

// signer builds the signer that the Factory asks for.
func (p *plant) signer(f *v1alpha1.Factory) (attest.Signer, error) {
	spec := f.Spec.Attest
	services := attest.Services{
		Fulcio: spec.Fulcio, Rekor: spec.Rekor, RekorVersion: uint32(spec.RekorVersion), //nolint:gosec // the schema has 1 and 2
		TimestampAuthority: spec.TimestampAuthority,
	}
	if spec.Signer == signerKey {
		if p.setup.Key == nil {
			return nil, errNoKey
		}
		return attest.KeyFile{Key: *p.setup.Key, Services: services, TrustedRoot: p.material}, nil
	}
	if p.setup.Token == nil {
		return nil, errors.New("spec.attest.signer is Keyless, but the controller was started without --identity-token-file or --spiffe-socket")
	}
	return attest.Keyless{
		Services: services, Token: p.setup.Token, TrustedRoot: p.material, Plain: p.setup.Plain,
		Identity: attest.Identity{Issuer: spec.Issuer, Subject: spec.Subject}, Certificates: p.certificates,
	}, nil
}

// driftRecords say what was changed by others, without values.
func driftRecords(results []apply.Result, now time.Time) []v1alpha1.DriftRecord {
	out := make([]v1alpha1.DriftRecord, 0, len(results))
	for _, r := range results {
		out = append(out, driftRecord(r.ID, r.Component, r.Differences, now))
	}
	return out
}

func driftRecord(id render.ID, component string, differences []plan.Difference, now time.Time) v1alpha1.DriftRecord {
	record := v1alpha1.DriftRecord{Object: plan.Name(id), Component: component, Time: metav1.NewTime(now)}
	for _, d := range differences {
		if len(record.Paths) < attest.MaxPaths {
			record.Paths = append(record.Paths, d.Path)
		}
		if record.Manager != "" || d.Manager == "" {
			continue
		}
		record.Manager, record.Operation = d.Manager, d.Operation
		if d.Time != nil {
			changed := metav1.NewTime(*d.Time)
			record.Changed = &changed
		}
	}
	return record
}
