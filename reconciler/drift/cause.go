package drift

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// cause is why an object of a uid went away.
type cause struct {
	uid string
	why plan.Difference
}

// Cause says why an object of a factory is gone, where the last that was seen of
// it tells: it depended on another object, and was collected with it (H15). A
// watch that was broken at the time saw nothing.
func (w *Watcher) Cause(key types.NamespacedName, id render.ID) (plan.Difference, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.factories[key]
	if f == nil {
		return plan.Difference{}, false
	}
	c, known := f.causes[id]
	return c.why, known
}

// blame keeps why an object that was seen to go away did.
func (w *Watcher) blame(id render.ID, o *metav1.PartialObjectMetadata) {
	why, known := plan.Collected(o)
	if !known {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.factories {
		if f.inv.Entries[id].UID == string(o.UID) {
			f.causes[id] = cause{string(o.UID), why}
		}
	}
}

// forgive forgets the causes of objects that are there again, or not wanted.
func (f *factory) forgive() {
	for id, c := range f.causes {
		if f.inv.Entries[id].UID != c.uid {
			delete(f.causes, id)
		}
	}
}
