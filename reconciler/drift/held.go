package drift

import "k8s.io/apimachinery/pkg/types"

// Held counts the times that a watch broke, and says whether every object of a
// factory is watched. Between two answers with one count and a yes each, no
// event can have been missed.
func (w *Watcher) Held(key types.NamespacedName) (breaks uint64, whole bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.factories[key]
	if w.ctx == nil || w.ctx.Err() != nil || f == nil || len(f.inv.Entries) == 0 {
		return w.breaks, false
	}
	for id, entry := range f.inv.Entries {
		if k := w.watches[f.place(id)]; entry.Pending || k == nil || !k.synced {
			return w.breaks, false
		}
	}
	return w.breaks, true
}
