package reconciler

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/drift"
	"millwright.dev/millwright/render"
)

// Waker returns the function that drift and pokes call. It never blocks: when
// the channel is full, a pass is on its way already.
func Waker(wake chan<- event.GenericEvent) func(types.NamespacedName, render.ID) {
	return func(key types.NamespacedName, _ render.ID) {
		select {
		case wake <- Wake(key):
		default:
		}
	}
}

// Known says whether there is such a Factory, from the cache.
func Known(reader client.Reader, key types.NamespacedName) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var f v1alpha1.Factory
	return reader.Get(ctx, key, &f) == nil
}

// Versions returns what asks the API server for its version.
func Versions(cfg *rest.Config) (func(context.Context) (string, error), error) {
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing discovery: %w", err)
	}
	return func(context.Context) (string, error) {
		v, err := d.ServerVersion()
		if err != nil {
			return "", fmt.Errorf("asking the API server for its version: %w", err)
		}
		return v.GitVersion, nil
	}, nil
}

// NewWatcher returns the drift watch of a controller. It finds kinds as the
// engine does, which learns of new definitions by itself.
func NewWatcher(cfg *rest.Config, namespace string, wake chan<- event.GenericEvent) (*drift.Watcher, error) {
	finder, err := apply.New(cfg, apply.Options{Factory: "drift", Namespace: namespace})
	if err != nil {
		return nil, err
	}
	return drift.New(cfg, drift.Options{Resolve: finder.GVR, Wake: Waker(wake)})
}
