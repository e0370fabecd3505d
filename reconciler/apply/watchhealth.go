package apply

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"millwright.dev/millwright/render"
)

// watchPlace tells the health of some objects of one kind in one namespace
// whenever it changes, until the context ends. A watch without a version begins
// with what is there, so nothing is missed between asking and watching.
func (e *Engine) watchPlace(ctx context.Context, at place, want map[string]render.Object, checks []check, tell func(render.ID, ObjectHealth)) {
	opts := metav1.ListOptions{}
	if len(want) == 1 {
		for name := range want {
			opts.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
		}
	}
	for ctx.Err() == nil {
		w, err := e.watchKind(ctx, at, opts)
		if err == nil {
			forward(ctx, w, want, checks, tell)
			w.Stop()
		}
		pause(ctx, pauseBetweenWatches)
	}
}

func (e *Engine) watchKind(ctx context.Context, at place, opts metav1.ListOptions) (watch.Interface, error) {
	r, err := e.served.lookup(ctx, at.apiVersion, at.kind)
	if err != nil {
		return nil, err
	}
	// As the engine itself, which may look at kinds.
	return e.dynamic.Resource(r.GroupVersionResource).Namespace(at.namespace).Watch(ctx, opts)
}

func forward(ctx context.Context, w watch.Interface, want map[string]render.Object, checks []check, tell func(render.ID, ObjectHealth)) {
	for {
		select {
		case <-ctx.Done():
			return
		case event, more := <-w.ResultChan():
			if !more {
				return
			}
			live, ok := event.Object.(*unstructured.Unstructured)
			if !ok {
				return // an error: begin anew
			}
			if o, wanted := want[live.GetName()]; wanted && event.Type != watch.Deleted {
				tell(o.ID(), judgeLive(live, checks))
			}
		}
	}
}
