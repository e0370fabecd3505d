package reconciler

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
)

// trim removes the oldest records of the chain that are more than the Factory
// keeps, and that the registry has. They are removed in their order, so that what
// the cluster has is always one piece, whose first record names the one before. It
// is best effort: evidence that is there twice is no evidence less.
func (p *pass) trim(ctx context.Context) {
	keep, applied := int64(p.factory.Spec.Attest.Keep), p.factory.Status.Applied
	if keep == 0 || p.factory.Spec.Attest.Repository == "" || applied == nil {
		return
	}
	// The API server's policy goes by the status, which is stored when a pass ends.
	newest := min(p.head.sequence, applied.Sequence)
	for range maxBatch {
		if p.head.oldest == 0 || p.head.oldest > newest-keep {
			return
		}
		gone, err := p.retire(ctx, p.head.oldest)
		if err != nil {
			ctrl.LoggerFrom(ctx).Info("a record that the registry has could not be removed", "sequence", p.head.oldest, "error", report.OneLine(err.Error()))
		}
		if !gone || err != nil {
			return
		}
		p.head.oldest++
		p.plant.trusted.oldest, p.plant.head = p.head.oldest, p.head
	}
}

// retire removes one record with the verdict that it names, the verdict first: a
// process that dies in between finds the record and goes on.
func (p *pass) retire(ctx context.Context, sequence int64) (gone bool, err error) {
	var record v1alpha1.AppliedRevision
	key := client.ObjectKey{Namespace: p.factory.Namespace, Name: v1alpha1.AppliedRevisionName(p.factory.Name, sequence)}
	if err := p.plant.setup.Reader.Get(ctx, key, &record); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if !p.inChain(record.Spec, sequence) {
		return true, nil // it only has the name
	}
	if !record.Status.Stored {
		return false, nil // the next time that the records are read it is one that waits
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
