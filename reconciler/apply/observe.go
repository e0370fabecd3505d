package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// kindKey names a kind at a version, and what of it is looked at: one namespace
// or one object, or, if neither is named, all.
type kindKey struct{ apiVersion, kind, namespace, name string }

// listing is what one LIST of metadata gave.
type listing struct {
	resource Resource
	// version is the resource version of the list itself.
	version string
	objects map[render.ID]*metav1.PartialObjectMetadata
	err     error
}

// Observe reads the live state of declared ∪ inventory. Kinds that cannot be
// read leave their objects Unknown and do not stop the others (F14, G10); an
// API server that does not answer is an error.
func (e *Engine) Observe(ctx context.Context, m render.Manifests, inv plan.Inventory) (plan.Observation, error) {
	return e.ObserveWith(ctx, m, inv, Heed{})
}

// Heed is what an observation takes into account beside manifests and
// inventory. The zero value is fine.
type Heed struct {
	// Resting says of an object with a declaration that it was put back a moment
	// ago: if it is not as recorded, it is not compared yet.
	Resting func(id render.ID, declared string) bool
	// Ignore lists the fields of an object whose difference is no drift.
	Ignore func(component string, id render.ID) []string
	// Exact says of which objects fields that are not declared are drift too. Nil
	// means those that guard the cluster.
	Exact func(component string, id render.ID) bool
	// Sweep looks again at what was found to be out of our hands.
	Sweep bool
	// Untouched says of an object that nothing but its status changed since it was
	// recorded as in the entry: somebody watched it all the while. Nil means that
	// nobody did. Of such objects nothing is asked.
	Untouched func(id render.ID, entry plan.Entry) bool
	// Gone says of an object that it was seen to be gone, Changed that it was seen to
	// be there and not as it was recorded. Nil means that nobody saw that.
	Gone, Changed func(id render.ID) bool
}

func (h Heed) ignore(o *render.Object) []string {
	if h.Ignore == nil {
		return nil
	}
	return h.Ignore(o.Component(), o.ID())
}

func (h Heed) exact(o *render.Object) bool {
	if h.Exact == nil {
		return plan.Protected(o.ID())
	}
	return h.Exact(o.Component(), o.ID())
}

// ObserveWith is [Engine.Observe] with something to heed.
func (e *Engine) ObserveWith(ctx context.Context, m render.Manifests, inv plan.Inventory, heed Heed) (plan.Observation, error) {
	w := observing{engine: e, inv: inv, heed: heed, obs: plan.Observation{Inventory: inv, Live: map[render.ID]plan.Live{}}}
	objects := m.Objects()
	declared := make(map[render.ID]*render.Object, len(objects))
	look := make([]wanted, 0, len(objects)+len(inv.Entries))
	var changed []*render.Object
	for i := range objects {
		o := &objects[i]
		declared[o.ID()] = o
		switch {
		case w.unasked(o):
		case w.changed(o):
			changed = append(changed, o)
		default:
			look = append(look, wanted{o.APIVersion(), o.Component(), o.ID()})
		}
	}
	unsure, err := w.compareChanged(ctx, changed)
	if err != nil {
		return plan.Observation{}, fmt.Errorf("observing the cluster: %w", err)
	}
	look = append(look, unsure...)
	for id, entry := range inv.Entries {
		if declared[id] == nil {
			look = append(look, wanted{entry.APIVersion, entry.Component, id})
		}
	}
	of, err := w.look(ctx, look)
	e.listed(nil)
	if err != nil {
		return plan.Observation{}, fmt.Errorf("observing the cluster: %w", err)
	}
	var dirty []*render.Object
	for _, x := range look {
		switch o := declared[x.id]; {
		case o == nil:
			w.undeclared(x.id, inv.Entries[x.id], of(x))
		case w.declared(o, of(x)):
			dirty = append(dirty, o)
		}
	}
	if err := w.compareAll(ctx, dirty); err != nil {
		return plan.Observation{}, fmt.Errorf("observing the cluster: %w", err)
	}
	return w.obs, nil
}

// lists reads the metadata of every given kind. A kind that is not served has
// no objects. The error says that the API server does not answer at all.
func (e *Engine) lists(ctx context.Context, kinds []kindKey) (map[kindKey]listing, error) {
	unique := map[kindKey]bool{}
	for _, k := range kinds {
		unique[k] = true
	}
	if err := e.refreshIfMissing(ctx, unique); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	out := make(map[kindKey]listing, len(unique))
	e.mu.Lock()
	for k := range unique {
		if l, read := e.rebuilt[k]; read {
			out[k] = l
			delete(unique, k)
		}
	}
	e.mu.Unlock()
	var away error
	each(e.opts.Concurrency, slices.Collect(maps.Keys(unique)), func(k kindKey) {
		l := e.list(ctx, k)
		mu.Lock()
		defer mu.Unlock()
		out[k] = l
		if unreachable(l.err) {
			away = l.err
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return out, away
}

// refreshIfMissing asks what is served again if a kind seems not to be: it may
// have been installed since. Once in an observation is enough.
func (e *Engine) refreshIfMissing(ctx context.Context, kinds map[kindKey]bool) error {
	e.mu.Lock()
	refreshed := e.refreshed
	e.mu.Unlock()
	if refreshed {
		return nil
	}
	for k := range kinds {
		if _, err := e.served.lookup(ctx, k.apiVersion, k.kind); err != nil {
			if unreachable(err) && ctx.Err() != nil {
				return err
			}
			if err := e.served.refresh(ctx); err != nil {
				return err
			}
			e.mu.Lock()
			e.refreshed = true
			e.mu.Unlock()
			return nil
		}
	}
	return nil
}

func (e *Engine) list(ctx context.Context, k kindKey) listing {
	r, err := e.served.lookup(ctx, k.apiVersion, k.kind)
	if errors.Is(err, ErrNotServed) {
		return listing{}
	}
	if err != nil {
		return listing{err: err}
	}
	out := listing{resource: r, objects: map[render.ID]*metav1.PartialObjectMetadata{}}
	gv, _ := schema.ParseGroupVersion(k.apiVersion) // lookup has parsed it
	opts := metav1.ListOptions{Limit: 1000}
	if k.name != "" {
		opts.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, k.name).String()
	}
	for {
		page, err := e.page(ctx, r, k.namespace, opts)
		if apierrors.IsNotFound(err) {
			// Served a moment ago and not any more: its definition is gone, and
			// with it every object (H03).
			return listing{}
		}
		if err != nil {
			return listing{err: fmt.Errorf("listing %s: %w", r.GroupResource(), err)}
		}
		out.version = page.ResourceVersion
		for i := range page.Items {
			o := &page.Items[i]
			out.objects[render.ID{Group: gv.Group, Kind: k.kind, Namespace: o.Namespace, Name: o.Name}] = o
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			return out
		}
	}
}

func (e *Engine) page(ctx context.Context, r Resource, namespace string, opts metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	return e.metadata.Resource(r.GroupVersionResource).Namespace(namespace).List(ctx, opts)
}

// observing is one observation in the making.
type observing struct {
	engine *Engine
	inv    plan.Inventory
	heed   Heed
	// mutators is what admission may change, if it comes to that.
	mutators mutators
	mu       sync.Mutex
	obs      plan.Observation
}

func (w *observing) set(id render.ID, live plan.Live) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.obs.Live[id] = live
}

// declared settles an object from its metadata if that is possible; true means
// that it has to be compared.
func (w *observing) declared(o *render.Object, list listing) bool {
	id := o.ID()
	if list.err != nil {
		w.set(id, plan.Live{State: plan.Unknown, Detail: explain(list.err, id).message})
		return false
	}
	seen := list.objects[id]
	if seen == nil {
		w.set(id, plan.Live{State: plan.Absent, Ignore: w.heed.ignore(o)})
		return false
	}
	manager := w.engine.manager(o.Component())
	meta, managed := plan.MetaOf(seen, manager)
	live := plan.Live{Meta: meta, Managed: managed, Ignore: w.heed.ignore(o)}
	entry, known := w.inv.Entries[id]
	foreign := w.heed.exact(o) && plan.Foreign(seen, manager)
	before, recalled := w.found(o, meta)
	switch {
	case seen.DeletionTimestamp != nil:
		live.State = plan.Terminating
		live.Detail = terminating(seen)
	case recalled:
		live = before
		live.Meta, live.Managed, live.Ignore = meta, managed, w.heed.ignore(o)
	case known && settled(entry, o, meta) && entry.Ignored == plan.IgnoreDigest(live.Ignore) && !foreign:
		live.State = plan.InSync
		w.judged(o, live)
	case w.heed.Resting != nil && w.heed.Resting(id, o.Digest()):
		live.State = plan.Resting
	default:
		w.set(id, live)
		return true
	}
	w.set(id, live)
	return false
}

func terminating(o metav1.Object) string {
	if len(o.GetFinalizers()) == 0 {
		return "being deleted"
	}
	return clean(fmt.Sprintf("being deleted, held by finalizers %v", o.GetFinalizers()))
}

// settled says that what is recorded is what is declared and what is there.
func settled(entry plan.Entry, o *render.Object, live plan.Meta) bool {
	return !entry.Pending && !entry.Mutated && entry.Declared == o.Digest() && entry.Component == o.Component() &&
		entry.APIVersion == o.APIVersion() && entry.Untouched(live)
}

func (w *observing) undeclared(id render.ID, entry plan.Entry, list listing) {
	if list.err != nil {
		w.set(id, plan.Live{State: plan.Unknown, Detail: explain(list.err, id).message})
		return
	}
	seen := list.objects[id]
	if seen == nil {
		w.set(id, plan.Live{State: plan.Absent})
		return
	}
	meta, managed := plan.MetaOf(seen, w.engine.manager(entry.Component))
	live := plan.Live{State: plan.Present, Meta: meta, Managed: managed}
	if seen.DeletionTimestamp != nil {
		live.State, live.Detail = plan.Terminating, terminating(seen)
	}
	w.set(id, live)
}

func (w *observing) compareAll(ctx context.Context, dirty []*render.Object) error {
	if len(dirty) == 0 {
		return nil
	}
	var away error
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { w.mutators.of(ctx, w.engine, Resource{}) }) // every comparison wants to know
	each(w.engine.opts.DefinitionConcurrency, dirty, func(o *render.Object) {
		entry, known := w.inv.Entries[o.ID()]
		w.mu.Lock()
		managed := w.obs.Live[o.ID()].Managed
		skip := away != nil
		w.mu.Unlock()
		if skip {
			return
		}
		live, err := w.compare(ctx, o, known && (!entry.Pending || managed))
		if known && older(live.Meta.ResourceVersion, entry.ResourceVersion) {
			live = plan.Live{State: plan.Unknown, Detail: errStale.Error()}
		}
		if err != nil && unreachable(err) {
			w.mu.Lock()
			away = err
			w.mu.Unlock()
		}
		w.set(o.ID(), live)
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	return away
}
