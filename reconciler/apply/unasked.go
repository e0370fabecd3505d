package apply

import (
	"context"
	"strings"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// unasked settles a declared object from what is on record of it, where somebody
// watched it since that was recorded: what is declared as it was is in sync, and
// what is declared otherwise is applied without a look at it before. Applying
// changes nothing that a dry-run would not have foretold, and what it is refused
// for is looked at then. False means that the object has to be asked for: it is
// new, was touched, rests, or other fields than the declared ones count.
func (w *observing) unasked(o *render.Object) bool {
	id := o.ID()
	entry := w.inv.Entries[id]
	if !w.watched(o, entry) {
		return false
	}
	live := plan.Live{Meta: entry.Meta, Managed: true, Ignore: w.heed.ignore(o)}
	if before, recalled := w.found(o, entry.Meta); recalled {
		before.Meta, before.Managed, before.Ignore = live.Meta, live.Managed, live.Ignore
		w.set(id, before)
		return true
	}
	if entry.Mutated || w.heed.exact(o) || entry.Ignored != plan.IgnoreDigest(live.Ignore) {
		return false
	}
	live.State = plan.InSync
	if entry.Declared != o.Digest() {
		live.State, live.Unseen = plan.Differs, true
		if len(live.Ignore) > 0 || w.heed.Resting != nil && w.heed.Resting(id, o.Digest()) {
			return false
		}
	}
	w.set(id, live)
	return true
}

// watched says that an object was watched since an entry was recorded of it.
func (w *observing) watched(o *render.Object, entry plan.Entry) bool {
	return !w.heed.Sweep && w.heed.Untouched != nil && recorded(o, entry) && w.heed.Untouched(o.ID(), entry)
}

// recorded says that it is on record how an object looked that is ours; without a
// version it is not (row F08).
func recorded(o *render.Object, entry plan.Entry) bool {
	return !entry.Pending && entry.UID != "" && entry.ResourceVersion != "" && entry.Component == o.Component() && entry.APIVersion == o.APIVersion()
}

// changed says that an object of ours was seen not to be as it was recorded, so that
// it will have to be compared.
func (w *observing) changed(o *render.Object) bool {
	id := o.ID()
	return !w.heed.Sweep && w.heed.Changed != nil && recorded(o, w.inv.Entries[id]) && w.heed.Changed(id) &&
		(w.heed.Resting == nil || !w.heed.Resting(id, o.Digest()))
}

// compareChanged compares objects without a look at their metadata: comparing reads
// them anyway, and a repair waits for one request less. Of which it finds out too
// little they are returned: one that is not there may only not be there yet for an
// API server that is behind (row G15), and is looked at as others are.
func (w *observing) compareChanged(ctx context.Context, objects []*render.Object) ([]wanted, error) {
	if err := w.compareAll(ctx, objects); err != nil {
		return nil, err
	}
	var unsure []wanted
	for _, o := range objects {
		if live := w.obs.Live[o.ID()]; live.State == plan.Absent || live.State == plan.Unknown {
			delete(w.obs.Live, o.ID())
			unsure = append(unsure, wanted{o.APIVersion(), o.Component(), o.ID()})
		}
	}
	return unsure, nil
}

// judged remembers of an object that is matched exactly that nobody added to it:
// that is not in its record.
func (w *observing) judged(o *render.Object, live plan.Live) {
	if !w.heed.exact(o) {
		return
	}
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	w.engine.proven[o.ID()] = finding{
		digest: o.Digest(), uid: live.Meta.UID, resourceVersion: live.Meta.ResourceVersion,
		ignore: strings.Join(live.Ignore, "\n"), exact: true, live: live,
	}
}
