package apply

import (
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

// watched says that an object was watched since an entry was recorded of it. Without
// a version it is not on record how the object looked (row F08).
func (w *observing) watched(o *render.Object, entry plan.Entry) bool {
	return !w.heed.Sweep && w.heed.Untouched != nil && !entry.Pending && entry.UID != "" && entry.ResourceVersion != "" &&
		entry.Component == o.Component() && entry.APIVersion == o.APIVersion() && w.heed.Untouched(o.ID(), entry)
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
