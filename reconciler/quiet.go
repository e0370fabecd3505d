package reconciler

import (
	"context"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/plan"
)

// calm is the end of a pass that looked at everything and found it in order. As
// long as the watches say that nothing happened since, the next passes need not
// look again; the sweep does, whatever they say.
type calm struct {
	commit gitverify.ID
	digest string
	// generation of the Factory, whose spec bounds what a pass may do.
	generation int64
	// open is what was told although there was nothing to do.
	open []v1alpha1.OpenDrift
}

// calm takes note of a pass that found everything in order, or of one that did
// not.
func (p *pass) calm(revision accepted, todo plan.Plan) {
	p.plant.calm = nil
	h := p.out.Health
	well := h.Known && (h.Status == metav1.ConditionTrue || h.Waived)
	stored := len(p.head.unstored) == 0 || p.factory.Spec.Attest.Repository == ""
	if !todo.Empty() || p.out.Failed != nil || !p.attested(revision) || !stored || !well {
		return
	}
	p.plant.calm = &calm{
		commit: revision.commit(), digest: revision.manifests.Digest(), generation: p.factory.Generation, open: slices.Clone(p.out.Open),
	}
}

// quiet says that a revision is in force and nothing can have happened to it,
// and reports what was found when that was looked at. Whatever cannot be told
// is no.
func (p *pass) quiet(revision accepted) bool {
	c := p.plant.calm
	if c == nil || c.commit != revision.commit() || c.digest != revision.manifests.Digest() || c.generation != p.factory.Generation {
		return false
	}
	if !p.attested(revision) || p.sweepDue() || p.due() == attest.TriggerSchedule || !p.plant.setup.Watcher.Current(p.plant.key) {
		return false
	}
	if !p.plant.repairs.Wake(p.plant.setup.Clock()).IsZero() {
		return false // an object rests, or a fight has to be seen to be over
	}
	p.out.Applied, p.out.Intent = p.applied(revision), nil
	p.out.Applied.Sequence, p.out.Applied.Attestation = p.head.sequence, p.head.digest
	p.out.Open = slices.Clone(c.open)
	p.plant.good = &revision
	return true
}

// read reads a Factory: from the cache where that has the very version that the
// last pass left, so that nobody can have changed it, and otherwise past it.
func (r *Reconciler) read(ctx context.Context, key client.ObjectKey, f *v1alpha1.Factory) error {
	r.mu.Lock()
	p := r.plants[key]
	r.mu.Unlock()
	if r.setup.Cache != nil && p != nil && p.version != "" {
		if err := r.setup.Cache.Get(ctx, key, f); err == nil && f.ResourceVersion == p.version {
			return nil
		}
	}
	return r.setup.Reader.Get(ctx, key, f)
}

// recordVersions are the records of applied revisions as the cache has them, nil
// if there is no cache or it cannot tell.
func (p *pass) recordVersions(ctx context.Context) map[string]string {
	if p.plant.setup.Cache == nil {
		return nil
	}
	records, err := p.recordHeads(ctx, p.plant.setup.Cache)
	if err != nil {
		return nil
	}
	seen := map[string]string{}
	for _, o := range records {
		seen[o.Name] = o.ResourceVersion
	}
	return seen
}

// sameRecords says whether the records are those that the head was read from,
// each in the same version.
func (p *pass) sameRecords(seen map[string]string) bool {
	return seen != nil && p.plant.records != nil && p.plant.signers == p.signers() && !p.sweepDue() && maps.Equal(seen, p.plant.records)
}

// wrote takes note of a record that this process wrote, and of the head since.
func (p *pass) wrote(record *v1alpha1.AppliedRevision) {
	if p.plant.records != nil {
		p.plant.records[record.Name] = record.ResourceVersion
	}
	p.plant.head = p.head
}
