package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// object names an object that is watched.
type object struct{ resource, namespace, name string }

func (o object) String() string {
	return strings.TrimPrefix(o.resource+" "+o.namespace+"/"+o.name, " ")
}

// watcher counts the versions of all objects that the controller writes, and knows
// the newest Factory.
type watcher struct {
	mu sync.Mutex
	// changed is closed at the next event.
	changed chan struct{}
	factory *v1alpha1.Factory
	// versions is how many versions of an object there were, its end included.
	versions map[object]int
	// values is how often a ConfigMap came to have the value of a revision.
	values map[string]int
	// made is how often the record of a name came to be.
	made map[string]int
	lost error
}

// watched are the kinds that the controller writes, but for events, each of which
// is news.
const (
	factories  = "factories"
	records    = "appliedrevisions"
	configMaps = "configmaps"
	namespaces = "namespaces"
)

// watchAll begins to watch. The watches are from now on when it returns, and end
// with the context.
func watchAll(ctx context.Context, cfg *rest.Config) (*watcher, error) {
	whole, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	head, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	w := &watcher{changed: make(chan struct{}), versions: map[object]int{}, values: map[string]int{}, made: map[string]int{}}
	core, own := schema.GroupVersion{Version: "v1"}, v1alpha1.GroupVersion()
	return w, errors.Join(
		follow(ctx, w, factories, whole.Resource(own.WithResource(factories)).Namespace(localfactory.Namespace)),
		follow(ctx, w, configMaps, whole.Resource(core.WithResource(configMaps)).Namespace(declared)),
		follow(ctx, w, configMaps, head.Resource(core.WithResource(configMaps)).Namespace(localfactory.Namespace)),
		follow(ctx, w, records, head.Resource(own.WithResource(records)).Namespace(localfactory.Namespace)),
		follow(ctx, w, namespaces, head.Resource(core.WithResource(namespaces))),
	)
}

// lister lists and watches objects of a kind, whole or their metadata.
type lister[L interface{ GetResourceVersion() string }] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

func follow[L interface{ GetResourceVersion() string }](ctx context.Context, w *watcher, resource string, from lister[L]) error {
	list, err := from.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing %s: %w", resource, err)
	}
	events, err := watchtools.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{WatchFuncWithContext: from.Watch})
	if err != nil {
		return fmt.Errorf("watching %s: %w", resource, err)
	}
	go func() {
		for event := range events.ResultChan() {
			w.note(resource, event)
		}
		w.note(resource, watch.Event{Type: watch.Error})
	}()
	return nil
}

// note takes an event. A watch that ends would make writes look redundant, so that
// nothing is told after that.
func (w *watcher) note(resource string, event watch.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() {
		close(w.changed)
		w.changed = make(chan struct{})
	}()
	o, err := meta.Accessor(event.Object)
	if event.Type == watch.Error || err != nil {
		w.lost = fmt.Errorf("the watch of %s ended: %v", resource, event.Object)
		return
	}
	w.versions[object{resource, o.GetNamespace(), o.GetName()}]++
	if resource == records && event.Type == watch.Added {
		w.made[o.GetName()]++
	}
	if u, ok := event.Object.(*unstructured.Unstructured); ok && event.Type != watch.Deleted {
		w.read(resource, u)
	}
}

func (w *watcher) read(resource string, u *unstructured.Unstructured) {
	if resource == configMaps {
		value, _, _ := unstructured.NestedString(u.Object, "data", "revision")
		w.values[value]++
		return
	}
	var f v1alpha1.Factory
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &f); err != nil {
		w.lost = fmt.Errorf("reading the Factory: %w", err)
		return
	}
	w.factory = &f
}

// until waits until something is true of the Factory.
func (w *watcher) until(ctx context.Context, holds func(*v1alpha1.Factory) error) error {
	last := errors.New("there is no Factory")
	for {
		w.mu.Lock()
		f, changed, lost := w.factory, w.changed, w.lost
		w.mu.Unlock()
		if lost != nil {
			return lost
		}
		if f != nil {
			if last = holds(f); last == nil || errors.Is(last, localfactory.ErrNever) {
				return last
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), last)
		case <-changed:
		}
	}
}

// counts are all versions, values and records so far.
func (w *watcher) counts() (versions map[object]int, values, made map[string]int, lost error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.versions), maps.Clone(w.values), maps.Clone(w.made), w.lost
}
