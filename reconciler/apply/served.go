package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Resource is where objects of a kind are served.
type Resource struct {
	schema.GroupVersionResource
	Namespaced bool
}

// ErrNotServed says that the API server does not know a kind: a definite
// answer, as opposed to not getting one.
var ErrNotServed = errors.New("kind is not served by the API server")

// errGroupAway says that one aggregated API did not answer. The API server did,
// so nothing but its objects has to wait (G21).
var errGroupAway = errors.New("an aggregated API does not answer")

// served knows which kinds the API server has. It asks once (two requests) and
// again only when told to.
type served struct {
	discovery *discovery.DiscoveryClient
	timeout   time.Duration

	mu     sync.Mutex
	loaded bool
	kinds  map[schema.GroupVersionKind]Resource
	// inGroup holds any served version of a kind, for objects that were
	// recorded with a version that is no longer served.
	inGroup map[schema.GroupKind]Resource
	failed  map[schema.GroupVersion]error
}

// refresh asks the API server again.
func (s *served) refresh(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(ctx)
}

func (s *served) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, lists, failed, err := s.discovery.GroupsAndMaybeResourcesWithContext(ctx)
	if err != nil {
		return fmt.Errorf("asking the API server what it serves: %w", err)
	}
	if lists == nil {
		return errors.New("asking the API server what it serves: it has no aggregated discovery (Kubernetes before 1.26)")
	}
	s.kinds = map[schema.GroupVersionKind]Resource{}
	s.inGroup = map[schema.GroupKind]Resource{}
	s.failed = failed
	for gv, list := range lists {
		for _, r := range list.APIResources {
			kind := gv.WithKind(r.Kind)
			if _, known := s.kinds[kind]; known || isSubresource(r.Name) {
				continue
			}
			res := Resource{gv.WithResource(r.Name), r.Namespaced}
			s.kinds[kind] = res
			s.inGroup[kind.GroupKind()] = res
		}
	}
	s.loaded = true
	return nil
}

func isSubresource(name string) bool {
	for _, c := range name {
		if c == '/' {
			return true
		}
	}
	return false
}

// lookup finds a kind: ErrNotServed is a definite no, any other error means
// that an aggregated API did not answer (G21) or nothing did.
func (s *served) lookup(ctx context.Context, apiVersion, kind string) (Resource, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return Resource{}, fmt.Errorf("reading API version %q: %w", apiVersion, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		if err := s.load(ctx); err != nil {
			return Resource{}, err
		}
	}
	if r, ok := s.kinds[gv.WithKind(kind)]; ok {
		return r, nil
	}
	for failed, err := range s.failed {
		if failed.Group == gv.Group {
			return Resource{}, fmt.Errorf("%w: %s: %w", errGroupAway, failed, err)
		}
	}
	if r, ok := s.inGroup[schema.GroupKind{Group: gv.Group, Kind: kind}]; ok {
		return r, nil
	}
	return Resource{}, fmt.Errorf("%w: %s %s", ErrNotServed, apiVersion, kind)
}

// Resource says where objects of a kind are served.
func (e *Engine) Resource(ctx context.Context, apiVersion, kind string) (Resource, error) {
	return e.served.lookup(ctx, apiVersion, kind)
}

// GVR says where objects of a kind are served, for those who need no more. A
// kind that seems not to be is asked for again: it may be defined since.
func (e *Engine) GVR(ctx context.Context, apiVersion, kind string) (schema.GroupVersionResource, error) {
	r, err := e.served.lookup(ctx, apiVersion, kind)
	if errors.Is(err, ErrNotServed) {
		if err := e.served.refresh(ctx); err != nil {
			return schema.GroupVersionResource{}, err
		}
		r, err = e.served.lookup(ctx, apiVersion, kind)
	}
	return r.GroupVersionResource, err
}
