package drift

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/rights"
	"millwright.dev/millwright/render"
)

const (
	maxRetry = 30 * time.Second
	// endsBefore is by how many seconds the API server ends a watch before its
	// silence counts as broken. Two seconds before its end it sends a bookmark.
	endsBefore = 5
	// listTimeout bounds one page of a list.
	listTimeout = 45 * time.Second
	// silence is how long a watch may tell nothing, not even a bookmark: after that
	// it is begun again with a list.
	silence = time.Minute
)

// sighting is what was seen of an object.
type sighting struct {
	meta        plan.Meta
	terminating bool
	gone        bool
}

// news says whether a sighting tells anything but what is recorded. Events
// that are older than the record are no news: they were delayed, or are the
// state before our own last write (G14). Resource versions are comparable
// numbers; where they are not, the sighting counts.
func (s sighting) news(entry plan.Entry) bool {
	if entry.ResourceVersion != "" && s.meta.ResourceVersion != "" {
		order, err := resourceversion.CompareResourceVersion(s.meta.ResourceVersion, entry.ResourceVersion)
		if err == nil && order < 0 {
			return false
		}
	}
	return s.gone || s.terminating || !entry.Untouched(s.meta)
}

// place is what one watch looks at: a kind everywhere, in one namespace, or one
// object.
type place struct {
	kind            schema.GroupKind
	namespace, name string
}

// place of an object of the factory.
func (f *factory) place(id render.ID) place {
	at := place{kind: schema.GroupKind{Group: id.Group, Kind: id.Kind}}
	if f.narrow {
		at.namespace, at.name = rights.Look(id)
	}
	return at
}

func (at place) has(id render.ID) bool {
	return id.Group == at.kind.Group && id.Kind == at.kind.Kind &&
		(at.namespace == "" || id.Namespace == at.namespace) && (at.name == "" || id.Name == at.name)
}

// selects only the one object that is looked at, if it is one: RBAC lets who may
// see one object by name list and watch with this selector.
func (at place) selects(opts metav1.ListOptions) metav1.ListOptions {
	if at.name != "" {
		opts.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, at.name).String()
	}
	return opts
}

// kindWatch is the watch of one kind, or of a part of it.
type kindWatch struct {
	place

	watcher    *Watcher
	apiVersion string
	stop       context.CancelFunc
	synced     bool
}

// errRelist says that a watch cannot go on from where it was.
var errRelist = errors.New("the watch has to begin with a list again")

// run lists, then watches, and begins again whatever ends it.
func (k *kindWatch) run(ctx context.Context) {
	wait := k.watcher.opts.Retry
	for ctx.Err() == nil {
		began, err := k.once(ctx)
		k.setSynced(false)
		if ctx.Err() != nil {
			return
		}
		if k.watcher.opts.Restarted != nil {
			k.watcher.opts.Restarted(k.kind, err.Error())
		}
		if began || errors.Is(err, context.DeadlineExceeded) {
			wait = k.watcher.opts.Retry // the attempt itself took its time
		}
		sleep(ctx, wait)
		wait = min(2*wait, maxRetry)
	}
}

// once lists and watches until something breaks; began says that it worked for
// a while.
func (k *kindWatch) once(ctx context.Context) (began bool, err error) {
	gvr, err := k.watcher.opts.Resolve(ctx, k.apiVersion, k.kind.Kind)
	if err != nil {
		return false, fmt.Errorf("finding %s: %w", k.kind, err)
	}
	version, err := k.list(ctx, gvr)
	if err != nil {
		return false, fmt.Errorf("listing %s: %w", k.kind, err)
	}
	k.setSynced(true)
	for ctx.Err() == nil {
		if version, err = k.watch(ctx, gvr, version); err != nil {
			return true, fmt.Errorf("watching %s: %w", k.kind, err)
		}
	}
	return true, ctx.Err()
}

// list judges the present state: what is there, and what should be and is not.
func (k *kindWatch) list(ctx context.Context, gvr schema.GroupVersionResource) (string, error) {
	missing := map[render.ID]bool{}
	for _, id := range k.watcher.tracked(k.place) {
		missing[id] = true
	}
	opts := k.selects(metav1.ListOptions{Limit: 1000})
	for {
		page, err := k.page(ctx, gvr, opts)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			delete(missing, k.id(&page.Items[i]))
			k.saw(&page.Items[i], false)
		}
		if opts.Continue = page.Continue; opts.Continue != "" {
			continue
		}
		for id := range missing {
			gone := sighting{gone: true, meta: plan.Meta{ResourceVersion: page.ResourceVersion}}
			k.watcher.saw(id, func(types.NamespacedName, string) sighting { return gone })
		}
		return page.ResourceVersion, nil
	}
}

func (k *kindWatch) page(ctx context.Context, gvr schema.GroupVersionResource, opts metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return k.watcher.client.Resource(gvr).Namespace(k.namespace).List(ctx, opts)
}

// watch follows events from a version until the API server ends the watch,
// which is ordinary, and returns where to go on.
func (k *kindWatch) watch(ctx context.Context, gvr schema.GroupVersionResource, version string) (string, error) {
	seconds := max(int64(k.watcher.opts.Silence/time.Second)-endsBefore, 1)
	stream, err := k.watcher.client.Resource(gvr).Namespace(k.namespace).Watch(ctx, k.selects(metav1.ListOptions{
		ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
	}))
	if err != nil {
		return "", err
	}
	defer stream.Stop()
	// A watch that hangs looks like one on which nothing happens. But the API
	// server ends each in time and sends a bookmark before that: silence beyond
	// it is a broken watch (G13).
	stall := time.AfterFunc(k.watcher.opts.Silence, stream.Stop)
	defer stall.Stop()
	events := 0
	for event := range stream.ResultChan() {
		stall.Reset(k.watcher.opts.Silence)
		if event.Type == watch.Error {
			return "", fmt.Errorf("%w: %w", errRelist, apierrors.FromObject(event.Object))
		}
		o, ok := event.Object.(*metav1.PartialObjectMetadata)
		if !ok {
			return "", fmt.Errorf("%w: unexpected %T", errRelist, event.Object)
		}
		version = o.ResourceVersion
		events++
		if event.Type != watch.Bookmark {
			k.saw(o, event.Type == watch.Deleted)
		}
	}
	if ctx.Err() == nil && (events == 0 || !stall.Stop()) {
		// A watch that ends without a single event or bookmark was broken, and so is
		// one that fell silent.
		return "", errRelist
	}
	return version, nil
}

func (k *kindWatch) id(o *metav1.PartialObjectMetadata) render.ID {
	return render.ID{Group: k.kind.Group, Kind: k.kind.Kind, Namespace: o.Namespace, Name: o.Name}
}

func (k *kindWatch) saw(o *metav1.PartialObjectMetadata, gone bool) {
	if gone {
		k.watcher.blame(k.id(o), o)
	}
	k.watcher.saw(k.id(o), func(factory types.NamespacedName, component string) sighting {
		meta, _ := plan.MetaOf(o, plan.FieldManager(factory.String(), component))
		return sighting{meta: meta, gone: gone, terminating: o.DeletionTimestamp != nil}
	})
}

func (k *kindWatch) setSynced(v bool) {
	k.watcher.mu.Lock()
	defer k.watcher.mu.Unlock()
	if k.synced && !v {
		k.watcher.breaks++
	}
	k.synced = v
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
