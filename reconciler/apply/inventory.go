package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// LoadInventory reads the records of the factory. A record that is missing or
// damaged is rebuilt from the field managers of the kinds that the component
// declares. Components that the manifests no longer have are found by label.
func (e *Engine) LoadInventory(ctx context.Context, m render.Manifests) (plan.Inventory, error) {
	e.listed(nil)
	inv, held, err := e.heldInventory(ctx, m)
	if err != nil {
		return plan.Inventory{}, fmt.Errorf("loading the inventory: %w", err)
	}
	if held {
		return inv, nil
	}
	records, err := e.listRecords(ctx)
	if err != nil {
		return plan.Inventory{}, fmt.Errorf("loading the inventory: %w", err)
	}
	if err := e.unlabelled(ctx, m, records); err != nil {
		return plan.Inventory{}, fmt.Errorf("loading the inventory: %w", err)
	}
	components := map[string]bool{}
	for _, c := range m.Components() {
		components[c.Name] = true
	}
	for c := range records {
		components[c] = true
	}
	lost := map[string]bool{}
	for _, component := range slices.Sorted(maps.Keys(components)) {
		rec := records[component]
		entries, readable, err := e.readRecord(component, rec, &inv)
		if err != nil {
			return plan.Inventory{}, fmt.Errorf("loading the inventory of %s: %w", component, err)
		}
		if !readable {
			entries, lost[component] = nil, true
		}
		e.remember(component, entries)
		gather(&inv, entries)
	}
	return inv, e.rebuild(ctx, m, lost, &inv)
}

// unlabelled finds records that somebody took the label from: the name is still the
// name.
func (e *Engine) unlabelled(ctx context.Context, m render.Manifests, records map[string]*unstructured.Unstructured) error {
	missing := map[string]string{}
	for _, c := range m.Components() {
		if records[c.Name] == nil {
			missing[e.recordName(c.Name)] = c.Name
		}
	}
	if len(missing) == 0 {
		return nil
	}
	key := kindKey{apiVersion: corev1.SchemeGroupVersion.Version, kind: "ConfigMap", namespace: e.opts.Namespace}
	lists, err := e.lists(ctx, []kindKey{key})
	if err == nil {
		err = lists[key].err
	}
	if err != nil {
		return err
	}
	for id := range lists[key].objects {
		component, is := missing[id.Name]
		if !is {
			continue
		}
		rec, there, err := e.getRecord(ctx, component)
		if err != nil {
			return err
		}
		if there {
			records[component] = rec
		}
	}
	return nil
}

// getRecord reads one record by its name.
func (e *Engine) getRecord(ctx context.Context, component string) (rec *unstructured.Unstructured, there bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	rec, err = e.records().Get(ctx, e.recordName(component), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	return rec, err == nil, err
}

// readRecord reads what a record says, and whether that could be read: a damaged one
// is as good as none.
func (e *Engine) readRecord(component string, rec *unstructured.Unstructured, inv *plan.Inventory) (entries map[render.ID]plan.Entry, readable bool, err error) {
	if rec == nil {
		return nil, false, nil
	}
	inv.Records[component] = rec.GetResourceVersion()
	trusted := e.trusts(component, rec.GetResourceVersion())
	data, _, _ := unstructured.NestedString(rec.Object, "data", recordKey)
	entries, damaged := plan.DecodeRecord(component, []byte(data))
	if errors.Is(damaged, plan.ErrRecordNewer) {
		return nil, false, damaged // to rebuild it would throw away what the newer one knows (row K24)
	}
	if damaged == nil && !trusted {
		distrust(entries)
	}
	return entries, damaged == nil, nil
}

// gather adds the entries of a component. An object that moved between components
// may be in two records after a crash; the completed entry is the true one.
func gather(inv *plan.Inventory, entries map[render.ID]plan.Entry) {
	for id, entry := range entries {
		if old, double := inv.Entries[id]; !double || old.Pending {
			inv.Entries[id] = entry
		}
	}
}

// rebuild finds what carries the field managers of components among the kinds that
// they declare, with one list of each. Where there was a record, every kind has to be
// readable; where there was none, most likely because this is the first pass, a kind
// that we may not read must not keep the others from being installed.
func (e *Engine) rebuild(ctx context.Context, m render.Manifests, lost map[string]bool, inv *plan.Inventory) error {
	var declared []wanted
	for _, o := range m.Objects() {
		if lost[o.Component()] {
			declared = append(declared, wanted{o.APIVersion(), o.Component(), o.ID()})
		}
	}
	if len(inv.Records) == 0 {
		var err error
		if declared, err = e.reachable(ctx, declared); err != nil {
			return fmt.Errorf("rebuilding the inventory: %w", err)
		}
	}
	of := map[string]map[kindKey]bool{}
	var keys []kindKey
	for _, x := range declared {
		if of[x.component] == nil {
			of[x.component] = map[kindKey]bool{}
		}
		key := e.keyOf(x.apiVersion, x.id)
		of[x.component][key], keys = true, append(keys, key)
	}
	lists, err := e.lists(ctx, keys)
	if err != nil {
		return fmt.Errorf("rebuilding the inventory: %w", err)
	}
	e.listed(lists)
	for _, component := range slices.Sorted(maps.Keys(lost)) {
		_, recorded := inv.Records[component]
		entries, err := e.managedBy(component, of[component], lists, recorded)
		if err != nil {
			return fmt.Errorf("rebuilding the inventory of %s: %w", component, err)
		}
		if len(entries) > 0 || recorded {
			inv.Rebuilt = append(inv.Rebuilt, component)
		}
		gather(inv, entries)
	}
	return nil
}

// managedBy are the objects in lists that a component applied; with all, every list
// has to be readable.
func (e *Engine) managedBy(component string, keys map[kindKey]bool, lists map[kindKey]listing, all bool) (map[render.ID]plan.Entry, error) {
	out := map[render.ID]plan.Entry{}
	for key := range keys {
		list := lists[key]
		if list.err != nil && all {
			return nil, list.err
		}
		for id, o := range list.objects {
			if meta, managed := plan.MetaOf(o, e.manager(component)); managed {
				out[id] = plan.Entry{Component: component, APIVersion: key.apiVersion, Meta: meta}
			}
		}
	}
	return out, nil
}

// reachable leaves out objects in namespaces that are not there: nothing can be in
// them. That is asked only where nothing is on record, which is when a cluster is
// filled for the first time and most of its namespaces are still to be made.
func (e *Engine) reachable(ctx context.Context, objects []wanted) ([]wanted, error) {
	const most = 16 // objects that are looked for without asking first
	if len(objects) < most {
		return objects, nil
	}
	key := kindKey{apiVersion: corev1.SchemeGroupVersion.Version, kind: "Namespace"}
	lists, err := e.lists(ctx, []kindKey{key})
	namespaces := lists[key]
	if err != nil || namespaces.err != nil {
		return objects, err // who may not list them learns of it where they are declared
	}
	e.listed(lists)
	return slices.DeleteFunc(slices.Clone(objects), func(o wanted) bool {
		there := namespaces.objects[render.ID{Kind: "Namespace", Name: o.id.Namespace}] != nil
		return o.id.Namespace != "" && !there
	}), nil
}

// listed keeps lists until the observation that comes next; without any it forgets
// them.
func (e *Engine) listed(lists map[kindKey]listing) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if lists == nil || e.rebuilt == nil {
		e.rebuilt = map[kindKey]listing{}
	}
	if lists == nil {
		e.refreshed = false
	}
	for key, list := range lists {
		if list.err == nil {
			e.rebuilt[key] = list
		}
	}
}
