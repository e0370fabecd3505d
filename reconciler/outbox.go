package reconciler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/render"
)

// storeTimeout bounds the talk with a registry: one that takes a connection
// and says nothing must not keep drift from being put back.
const storeTimeout = 2 * time.Minute

const (
	// maxBatch bounds how many records one pass brings to the registry: after a
	// long outage there may be many, and drift does not wait for them.
	maxBatch = 20
	// maxOutbox bounds what is remembered of records that wait. What a process
	// does not remember it makes anew from the commit.
	maxOutbox = 16
)

// outbox holds what belongs to records that are not stored yet. What is waiting
// is in the records' own status, and survives a crash.
type outbox map[int64]parcel

// parcel is what goes to the registry beside a record's bundle.
type parcel struct {
	artifact attest.Artifact
	lists    []attest.List
}

func (o outbox) add(sequence int64, artifact attest.Artifact, lists []attest.List) {
	if len(o) < maxOutbox {
		o[sequence] = parcel{artifact, lists}
	}
}

// store brings every record that waits to the registry, the oldest first, so
// that the registry never has a record whose predecessor it lacks.
func (p *pass) store(ctx context.Context) error {
	if p.factory.Spec.Attest.Repository == "" {
		clear(p.plant.outbox)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for range maxBatch {
		if len(p.head.unstored) == 0 {
			return nil
		}
		sequence := p.head.unstored[0]
		if err := p.storeOne(ctx, sequence); err != nil {
			return fmt.Errorf("record %d, and %d after it, are in the cluster only: %w", sequence, len(p.head.unstored)-1, err)
		}
		p.head.unstored = slices.Clone(p.head.unstored[1:])
		p.plant.trusted.unstored, p.plant.head = p.head.unstored, p.head
		delete(p.plant.outbox, sequence)
	}
	return nil
}

func (p *pass) storeOne(ctx context.Context, sequence int64) error {
	key := client.ObjectKey{Namespace: p.factory.Namespace, Name: v1alpha1.AppliedRevisionName(p.factory.Name, sequence)}
	var object v1alpha1.AppliedRevision
	if err := p.plant.setup.Reader.Get(ctx, key, &object); err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	verified, err := p.plant.verifyRecord(p.factory, []byte(object.Spec.Bundle), sequence)
	if err != nil {
		return fmt.Errorf("verifying it before it is pushed: %w", err)
	}
	repository, err := attest.OpenRepository(p.factory.Spec.Attest.Repository, attest.RepositoryOptions{Plain: p.plant.setup.Plain})
	if err != nil {
		return err
	}
	held, err := p.parcel(ctx, verified.Statement)
	if err != nil {
		return err
	}
	if _, err := repository.Push(ctx, held.artifact); err != nil {
		return fmt.Errorf("pushing the manifests: %w", err)
	}
	if _, err := repository.Attach(ctx, verified); err != nil {
		return fmt.Errorf("attaching the attestation: %w", err)
	}
	if err := p.storeCompanions(ctx, repository, verified); err != nil {
		return err
	}
	if len(held.lists) > 0 {
		if _, err := repository.AttachLists(ctx, verified, held.lists...); err != nil {
			return fmt.Errorf("attaching the lists: %w", err)
		}
	}
	object.Status = v1alpha1.AppliedRevisionStatus{Stored: true, Reference: repository.Reference(held.artifact.Digest())}
	if err := p.plant.setup.Client.Status().Update(ctx, &object); err != nil {
		return fmt.Errorf("noting that it is stored: %w", err)
	}
	p.wrote(&object)
	return nil
}

// storeCompanions attaches what was said of a revision before its first write.
func (p *pass) storeCompanions(ctx context.Context, repository *attest.Repository, record attest.Verified) error {
	if len(record.Statement.Predicate.Inputs) == 0 {
		return nil
	}
	place := record.Statement.Place()
	key := client.ObjectKey{Namespace: p.factory.Namespace, Name: verdictName(p.factory.Name, place.Sequence, place.Commit, place.Rendered)}
	var object v1alpha1.AppliedRevision
	if err := p.plant.setup.Reader.Get(ctx, key, &object); err != nil {
		return fmt.Errorf("reading the verdict: %w", err)
	}
	for _, bundle := range bundlesOf(object.Spec) {
		verified, err := p.plant.verifyCompanion(p.factory, []byte(bundle), place.Sequence)
		if err != nil {
			return fmt.Errorf("verifying the verdict before it is pushed: %w", err)
		}
		if _, err := repository.AttachCompanion(ctx, verified, record.Statement); err != nil {
			return fmt.Errorf("attaching the verdict: %w", err)
		}
	}
	if object.Status.Stored {
		return nil
	}
	object.Status = v1alpha1.AppliedRevisionStatus{Stored: true, Reference: repository.Reference(record.Statement.Artifact())}
	if err := p.plant.setup.Client.Status().Update(ctx, &object); err != nil {
		return fmt.Errorf("noting that the verdict is stored: %w", err)
	}
	p.wrote(&object)
	return nil
}

// parcel is what this process remembers of a record, or makes anew: the
// manifests of its commit, which must come out as they were signed.
func (p *pass) parcel(ctx context.Context, s attest.Statement) (parcel, error) {
	place := s.Place()
	if held, ok := p.plant.outbox[place.Sequence]; ok {
		return held, nil
	}
	artifact, err := p.artifactAgain(ctx, gitverify.ID(place.Commit))
	if err != nil {
		return parcel{}, fmt.Errorf("making the manifests of %s anew: %w", place.Commit, err)
	}
	if artifact.Digest() != place.Artifact {
		return parcel{}, fmt.Errorf("the manifests of %s come out as %s, and %s was signed", place.Commit, artifact.Digest(), place.Artifact)
	}
	return parcel{artifact: artifact}, nil
}

// artifactAgain renders a commit that is on record. It is its own floor.
func (p *pass) artifactAgain(ctx context.Context, commit gitverify.ID) (attest.Artifact, error) {
	if last := p.plant.last; last != nil && last.commit() == commit {
		return p.artifact(*last)
	}
	checkout := p.plant.store.Checkout(commit, p.mainline())
	verification, err := p.plant.verifier.Verify(ctx, checkout.Objects(), p.request(checkout, commit))
	if err != nil {
		return attest.Artifact{}, err
	}
	tree, err := checkout.Tree(ctx, verification)
	if err != nil {
		return attest.Artifact{}, err
	}
	// A renderer and a packer of its own: those of the pass remember the revision in
	// force.
	rendered, err := Render(&render.Renderer{}, tree, p.factory.Spec.Environment)
	if err != nil {
		return attest.Artifact{}, err
	}
	return artifactOf(&attest.Packer{}, accepted{verification: verification, rendered: rendered}, p.factory)
}
