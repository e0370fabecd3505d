package reconciler

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// trim removes the oldest records of the chain that are more than the Factory
// keeps, and that the registry has. They are removed in their order, so that what
// the cluster has is always one piece, whose first record names the one before.
func (p *pass) trim(ctx context.Context) error {
	keep := int64(p.factory.Spec.Attest.Keep)
	if keep == 0 || p.factory.Spec.Attest.Repository == "" {
		return nil
	}
	for range maxBatch {
		if p.head.oldest == 0 || p.head.oldest > p.head.sequence-keep {
			return nil
		}
		gone, err := p.retire(ctx, p.head.oldest)
		if err != nil {
			return fmt.Errorf("removing record %d, which the registry has: %w", p.head.oldest, err)
		}
		if !gone {
			return nil // the registry has it not yet
		}
		p.head.oldest++
		p.plant.trusted.oldest, p.plant.head = p.head.oldest, p.head
	}
	return nil
}

// retire removes one record with the verdict that it names, the verdict first: a
// process that dies in between finds the record and goes on.
func (p *pass) retire(ctx context.Context, sequence int64) (gone bool, err error) {
	var record v1alpha1.AppliedRevision
	key := client.ObjectKey{Namespace: p.factory.Namespace, Name: v1alpha1.AppliedRevisionName(p.factory.Name, sequence)}
	if err := p.plant.setup.Reader.Get(ctx, key, &record); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if !record.Status.Stored {
		return false, nil
	}
	if record.Spec.Type != v1alpha1.RecordEnforced {
		var verdict v1alpha1.AppliedRevision
		key.Name = verdictName(p.factory.Name, sequence, record.Spec.Commit, record.Spec.Rendered)
		err := p.plant.setup.Reader.Get(ctx, key, &verdict)
		if err == nil && verdict.Status.Stored { // one that is nowhere else stays
			err = p.remove(ctx, &verdict)
		}
		if client.IgnoreNotFound(err) != nil {
			return false, err
		}
	}
	return true, p.remove(ctx, &record)
}

// remove deletes a record in the version that was read.
func (p *pass) remove(ctx context.Context, record *v1alpha1.AppliedRevision) error {
	if may := p.plant.setup.MayWrite; may != nil {
		if err := may(); err != nil {
			return err
		}
	}
	err := p.plant.setup.Client.Delete(ctx, record, client.Preconditions{UID: &record.UID, ResourceVersion: &record.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	delete(p.plant.records, record.Name)
	return nil
}
