package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render"
)

const signerKey = "Key"

// storeTimeout bounds the talk with a registry: one that takes a connection
// and says nothing must not keep drift from being put back.
const storeTimeout = 2 * time.Minute

var errNoKey = errors.New("spec.attest.signer is Key, but no key was given: start the controller with --attest-key, or millwright plan with --key")

// attest leaves exactly one record of an applied revision, then sees to it
// that the registry has it too. The record is created under the one name that
// its sequence number may have; who comes second finds it there.
func (p *pass) attest(ctx context.Context, revision accepted, changes apply.ChangeSet) {
	defer p.plant.time("attest")()
	p.out.Applied = p.applied(revision)
	err := p.leaveEvidence(ctx, revision, changes)
	if p.attested(revision) {
		p.out.Intent, p.plant.good = nil, &revision
		p.out.Applied.Sequence, p.out.Applied.Attestation = p.head.sequence, p.head.digest
	}
	if err != nil {
		p.failed(v1alpha1.ConditionAttested, at(v1alpha1.ConditionAttested, report.ReasonAttestationFailed, err))
	}
}

func (p *pass) leaveEvidence(ctx context.Context, revision accepted, changes apply.ChangeSet) error {
	if p.attested(revision) && (p.head.stored || p.factory.Spec.Attest.Repository == "") {
		return nil
	}
	artifact, err := artifactOf(revision, p.factory)
	if err != nil {
		return err
	}
	if !p.attested(revision) {
		if err := p.record(ctx, revision, changes, artifact); err != nil {
			return err
		}
	}
	return p.store(ctx, artifact)
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
func artifactOf(revision accepted, f *v1alpha1.Factory) (attest.Artifact, error) {
	objects := revision.manifests.Objects()
	documents := make([][]byte, 0, len(objects))
	for _, o := range objects {
		documents = append(documents, o.JSON())
	}
	return attest.NewArtifact(documents, attest.Origin{
		Repository: f.Spec.Source.URL, Ref: revision.verification.Ref(), Commit: string(revision.commit()),
	})
}

// record signs the statement and creates the AppliedRevision.
func (p *pass) record(ctx context.Context, revision accepted, changes apply.ChangeSet, artifact attest.Artifact) error {
	// The API server takes no second record; a log takes any number of signatures.
	if may := p.plant.setup.MayWrite; may != nil {
		if err := may(); err != nil {
			return err
		}
	}
	statement, err := p.statement(revision, changes, artifact)
	if err != nil {
		return err
	}
	signer, err := p.plant.signer(p.factory)
	if err != nil {
		return err
	}
	bundle, err := signer.Sign(ctx, statement)
	if err != nil {
		return err
	}
	sequence := p.head.sequence + 1
	object := &v1alpha1.AppliedRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.factory.Namespace, Name: v1alpha1.AppliedRevisionName(p.factory.Name, sequence),
			Labels: map[string]string{v1alpha1.LabelFactory: p.factory.Name},
		},
		Spec: v1alpha1.AppliedRevisionSpec{
			Factory: p.factory.Name, Sequence: sequence, Commit: string(revision.commit()), Rendered: revision.manifests.Digest(),
			Digest: bundle.Digest, Previous: p.head.digest, Bundle: string(bundle.JSON),
		},
	}
	if err := p.plant.setup.Client.Create(ctx, object); err != nil {
		p.plant.behind = nil
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("record %d exists already: another process attested; the next pass reads it", sequence)
		}
		return fmt.Errorf("creating record %d: %w", sequence, err)
	}
	p.head = head{sequence: sequence, commit: string(revision.commit()), digest: bundle.Digest, rendered: object.Spec.Rendered}
	p.plant.trustedHead, p.plant.pending = object.Spec, nil
	p.wrote(object)
	return nil
}

// store pushes the manifests and the bundle, once. The record's status is the
// outbox: what is not stored yet is tried again on every pass.
func (p *pass) store(ctx context.Context, artifact attest.Artifact) error {
	if p.factory.Spec.Attest.Repository == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	key := client.ObjectKey{Namespace: p.factory.Namespace, Name: v1alpha1.AppliedRevisionName(p.factory.Name, p.head.sequence)}
	var object v1alpha1.AppliedRevision
	if err := p.plant.setup.Reader.Get(ctx, key, &object); err != nil {
		return fmt.Errorf("reading record %d: %w", p.head.sequence, err)
	}
	verified, err := attest.VerifyBundle([]byte(object.Spec.Bundle), p.plant.material, p.plant.signedBy(p.factory))
	if err != nil {
		return fmt.Errorf("verifying record %d before it is pushed: %w", p.head.sequence, err)
	}
	repository, err := attest.OpenRepository(p.factory.Spec.Attest.Repository, attest.RepositoryOptions{})
	if err != nil {
		return err
	}
	if _, err := repository.Push(ctx, artifact); err != nil {
		return fmt.Errorf("pushing the manifests: %w", err)
	}
	if _, err := repository.Attach(ctx, verified); err != nil {
		return fmt.Errorf("attaching the attestation: %w", err)
	}
	if p.plant.behind != nil {
		if _, err := repository.AttachLists(ctx, verified, p.plant.behind.inventory, p.plant.behind.changes); err != nil {
			return fmt.Errorf("attaching the lists: %w", err)
		}
	}
	object.Status = v1alpha1.AppliedRevisionStatus{Stored: true, Reference: repository.Reference(artifact.Digest())}
	if err := p.plant.setup.Client.Status().Update(ctx, &object); err != nil {
		return fmt.Errorf("noting that record %d is stored: %w", p.head.sequence, err)
	}
	p.head.stored, p.plant.behind = true, nil
	p.wrote(&object)
	return nil
}

// signer builds the signer that the Factory asks for.
func (p *plant) signer(f *v1alpha1.Factory) (attest.Signer, error) {
	spec := f.Spec.Attest
	services := attest.Services{Fulcio: spec.Fulcio, Rekor: spec.Rekor, TimestampAuthority: spec.TimestampAuthority}
	if spec.Signer == signerKey {
		if p.setup.Key == nil {
			return nil, errNoKey
		}
		return attest.KeyFile{Key: *p.setup.Key, Services: services, TrustedRoot: p.material}, nil
	}
	if p.setup.Token == nil {
		return nil, errors.New("spec.attest.signer is Keyless, but the controller was started without --identity-token-file")
	}
	return attest.Keyless{
		Services: services, Token: p.setup.Token, TrustedRoot: p.material,
		Identity: attest.Identity{Issuer: spec.Issuer, Subject: spec.Subject},
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
