package apply

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// heldInventory is the inventory from memory, where the API server says that every
// record is there in the version that this engine wrote last or read first. The
// records themselves, which grow with the factory, are not read then.
func (e *Engine) heldInventory(ctx context.Context, m render.Manifests) (plan.Inventory, bool, error) {
	inv := plan.Inventory{Entries: map[render.ID]plan.Entry{}, Records: map[string]string{}}
	if !e.holdsAny() {
		return inv, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	list, err := e.metadata.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(e.opts.Namespace).
		List(ctx, metav1.ListOptions{LabelSelector: labelFactory + "=" + labelValue(e.opts.Factory)})
	if err != nil {
		return plan.Inventory{}, false, err
	}
	for i := range list.Items {
		component := list.Items[i].GetAnnotations()[noteComponent]
		if component != "" && list.Items[i].GetName() == e.recordName(component) {
			inv.Records[component] = list.Items[i].GetResourceVersion()
		}
	}
	for _, c := range m.Components() {
		if inv.Records[c.Name] == "" {
			return inv, false, nil
		}
	}
	for _, component := range slices.Sorted(maps.Keys(inv.Records)) {
		entries, held := e.holds(component, inv.Records[component])
		if !held {
			return inv, false, nil
		}
		gather(&inv, entries)
	}
	return inv, true, nil
}

func (e *Engine) holdsAny() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.versions) > 0
}

// holds gives what a record of a version holds, if that is known.
func (e *Engine) holds(component, version string) (map[render.ID]plan.Entry, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	entries := e.stored[component]
	if entries == nil || e.versions[component] != version {
		return nil, false
	}
	if seen := e.seen[component]; seen != nil {
		entries = seen
	}
	return entries, true
}

// Saw takes note of an inventory in which nothing but versions is newer than what is
// stored, so that who watches since then and who plans go by the same versions.
// That alone is not worth a write.
func (e *Engine) Saw(inv plan.Inventory) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for component := range e.stored {
		e.seen[component] = inv.Of(component)
	}
}
