package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
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
