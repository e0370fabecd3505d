package reconciler

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
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

// Discovery returns what asks the API server for its version and for where a
// kind is served.
func Discovery(cfg *rest.Config) (
	version func(context.Context) (string, error),
	resolve func(ctx context.Context, apiVersion, kind string) (schema.GroupVersionResource, error),
	err error,
) {
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("preparing discovery: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
	version = func(context.Context) (string, error) {
		v, err := d.ServerVersion()
		if err != nil {
			return "", fmt.Errorf("asking the API server for its version: %w", err)
		}
		return v.GitVersion, nil
	}
	resolve = func(_ context.Context, apiVersion, kind string) (schema.GroupVersionResource, error) {
		gv, err := schema.ParseGroupVersion(apiVersion)
		if err != nil {
			return schema.GroupVersionResource{}, fmt.Errorf("parsing %q: %w", apiVersion, err)
		}
		mapping, err := mapper.RESTMapping(schema.GroupKind{Group: gv.Group, Kind: kind}, gv.Version)
		if err != nil {
			mapper.Reset() // the definition may be new
			return schema.GroupVersionResource{}, fmt.Errorf("finding %s %s: %w", apiVersion, kind, err)
		}
		return mapping.Resource, nil
	}
	return version, resolve, nil
}
