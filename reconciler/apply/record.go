package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/rights"
	"millwright.dev/millwright/render"
)

const (
	// RecordManager is the field manager of the inventory records.
	RecordManager = "millwright-controller"

	recordKey      = "inventory.json"
	labelFactory   = "millwright.dev/inventory-of"
	noteComponent  = "millwright.dev/component"
	labelManagedBy = "app.kubernetes.io/managed-by"
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
	components := map[string]bool{}
	for _, c := range m.Components() {
		components[c.Name] = true
	}
	for c := range records {
		components[c] = true
	}
	for _, component := range slices.Sorted(maps.Keys(components)) {
		if err := e.loadComponent(ctx, m, component, records[component], &inv); err != nil {
			return plan.Inventory{}, fmt.Errorf("loading the inventory of %s: %w", component, err)
		}
	}
	return inv, nil
}

func (e *Engine) loadComponent(ctx context.Context, m render.Manifests, component string, rec *unstructured.Unstructured, inv *plan.Inventory) error {
	if rec == nil {
		// Somebody may have taken the label away; the name is still the name.
		named, found, err := e.getRecord(ctx, component)
		if err != nil {
			return err
		}
		if found {
			rec = named
		}
	}
	var entries map[render.ID]plan.Entry
	if rec != nil {
		inv.Records[component] = rec.GetResourceVersion()
		trusted := e.trusts(component, rec.GetResourceVersion())
		data, _, _ := unstructured.NestedString(rec.Object, "data", recordKey)
		decoded, err := plan.DecodeRecord(component, []byte(data))
		if errors.Is(err, plan.ErrRecordNewer) {
			return err // to rebuild it would throw away what the newer one knows (row K24)
		}
		if err == nil {
			entries = decoded
		}
		if !trusted {
			distrust(entries)
		}
	}
	e.remember(component, entries)
	if entries == nil {
		rebuilt, err := e.rebuild(ctx, m, component, rec != nil)
		if err != nil {
			return fmt.Errorf("rebuilding it: %w", err)
		}
		if len(rebuilt) > 0 || rec != nil {
			inv.Rebuilt = append(inv.Rebuilt, component)
		}
		entries = rebuilt
	}
	gather(inv, entries)
	return nil
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

// trusts says whether a record is the version that this engine read first or
// wrote last. One that is not stays distrusted until it is written again.
func (e *Engine) trusts(component, version string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	before, known := e.versions[component]
	if !known {
		e.versions[component] = version
	}
	return !known || before == version
}

func (e *Engine) wrote(component, version string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.versions[component] = version
}

// distrust forgets what a record says about how objects looked when they were
// in order: somebody else wrote it, who may have changed an object and the
// record of it together, so that nothing seems to have happened (F08). What is
// forgotten is compared.
func distrust(entries map[render.ID]plan.Entry) {
	for id, entry := range entries {
		entry.Meta = plan.Meta{UID: entry.UID}
		entries[id] = entry
	}
}

// rebuild finds what carries the component's field manager among the kinds
// that it declares. Where there was a record, every kind has to be readable;
// where there was none, most likely because this is the first pass, a kind that
// we may not read must not keep the others from being installed.
func (e *Engine) rebuild(ctx context.Context, m render.Manifests, component string, all bool) (map[render.ID]plan.Entry, error) {
	var ids []kindKey
	for _, o := range m.Objects() {
		if o.Component() == component {
			ids = append(ids, e.keyOf(o.APIVersion(), o.ID()))
		}
	}
	out := map[render.ID]plan.Entry{}
	lists, err := e.lists(ctx, ids)
	if err != nil {
		return nil, err
	}
	e.listed(lists)
	for key, list := range lists {
		if list.err != nil && all {
			return nil, list.err
		}
		for id, o := range list.objects {
			meta, managed := plan.MetaOf(o, e.manager(component))
			if managed {
				out[id] = plan.Entry{Component: component, APIVersion: key.apiVersion, Meta: meta}
			}
		}
	}
	return out, nil
}

// listed keeps lists until the observation that comes next; without any it forgets
// them.
func (e *Engine) listed(lists map[kindKey]listing) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if lists == nil || e.rebuilt == nil {
		e.rebuilt = map[kindKey]listing{}
	}
	for key, list := range lists {
		if list.err == nil {
			e.rebuilt[key] = list
		}
	}
}

func (e *Engine) records() dynamic.ResourceInterface {
	return e.dynamic.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(e.opts.Namespace)
}

func (e *Engine) listRecords(ctx context.Context) (map[string]*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	list, err := e.records().List(ctx, metav1.ListOptions{LabelSelector: labelFactory + "=" + labelValue(e.opts.Factory)})
	if err != nil {
		return nil, err
	}
	out := map[string]*unstructured.Unstructured{}
	for i := range list.Items {
		component := list.Items[i].GetAnnotations()[noteComponent]
		// A record counts only under its own name, so that a labelled
		// ConfigMap of somebody else is not taken for one.
		if component != "" && list.Items[i].GetName() == e.recordName(component) {
			out[component] = &list.Items[i]
		}
	}
	return out, nil
}

func (e *Engine) getRecord(ctx context.Context, component string) (rec *unstructured.Unstructured, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	rec, err = e.records().Get(ctx, e.recordName(component), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	return rec, err == nil, err
}

// store makes the records say what inv says, for components where they do not,
// and returns inv with the new versions. Each write is conditional on the
// version that was read.
func (e *Engine) store(ctx context.Context, inv plan.Inventory) (plan.Inventory, error) {
	records := maps.Clone(inv.Records)
	if records == nil {
		records = map[string]string{}
	}
	var mu sync.Mutex
	problems := map[string]error{}
	each(e.opts.Concurrency, inv.Components(), func(component string) {
		entries := inv.Of(component)
		mu.Lock()
		version := records[component]
		mu.Unlock()
		if stored := e.recall(component); stored != nil && maps.Equal(stored, entries) && version != "" {
			return
		}
		version, err := e.storeComponent(ctx, component, entries, version)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			problems[component] = fmt.Errorf("storing the inventory of %s: %w", component, err)
			return
		}
		records[component] = version
		e.wrote(component, version)
		e.remember(component, entries)
	})
	inv.Records = records // what was stored is stored, whatever became of the rest
	for _, component := range slices.Sorted(maps.Keys(problems)) {
		return inv, problems[component]
	}
	return inv, nil
}

func (e *Engine) storeComponent(ctx context.Context, component string, entries map[render.ID]plan.Entry, version string) (string, error) {
	data, err := plan.EncodeRecord(component, entries)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	rec := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": e.recordName(component), "namespace": e.opts.Namespace,
			"labels":      map[string]any{labelFactory: labelValue(e.opts.Factory), labelManagedBy: "millwright"},
			"annotations": map[string]any{noteComponent: component},
		},
		"data": map[string]any{recordKey: string(data)},
	}}
	var out *unstructured.Unstructured
	if version == "" {
		out, err = e.records().Create(ctx, rec, metav1.CreateOptions{FieldManager: RecordManager})
	} else {
		rec.SetResourceVersion(version)
		out, err = e.records().Update(ctx, rec, metav1.UpdateOptions{FieldManager: RecordManager})
	}
	if err != nil {
		return "", err
	}
	return out.GetResourceVersion(), nil
}

// intend makes everything that is about to be made findable after a crash. A
// plan that only changes what is already recorded needs no write here.
func (e *Engine) intend(ctx context.Context, inv plan.Inventory) (plan.Inventory, error) {
	partial := plan.Inventory{Entries: map[render.ID]plan.Entry{}, Records: inv.Records}
	for _, component := range inv.Components() {
		stored, entries := e.recall(component), inv.Of(component)
		if covers(stored, entries) {
			entries = stored
		}
		maps.Copy(partial.Entries, entries)
	}
	stored, err := e.store(ctx, partial)
	inv.Records = stored.Records
	return inv, err
}

func covers(stored, entries map[render.ID]plan.Entry) bool {
	for id := range entries {
		if _, ok := stored[id]; !ok {
			return false
		}
	}
	return stored != nil
}

// finish stores the final inventory even if the pass is being cancelled: the
// writes have happened.
func (e *Engine) finish(ctx context.Context, inv plan.Inventory) (plan.Inventory, error) {
	limit := 10 * time.Second
	if ctx.Err() != nil {
		limit = lastWrite // whoever ends us does not wait long
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	return e.store(ctx, inv)
}

func (e *Engine) remember(component string, entries map[render.ID]plan.Entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.seen, component)
	if entries == nil {
		delete(e.stored, component)
		return
	}
	e.stored[component] = maps.Clone(entries)
}

func (e *Engine) recall(component string) map[render.ID]plan.Entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stored[component]
}

func (e *Engine) recordName(component string) string {
	return rights.RecordName(e.opts.Factory, component)
}

func labelValue(s string) string {
	if len(s) <= 63 {
		return s
	}
	return short(s)
}

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}
