package apply

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// write applies one object. The body is never decoded on the way back.
func (e *Engine) write(ctx context.Context, c plan.Change, res *Result) error {
	if e.beforeWrite != nil {
		if err := e.beforeWrite(c.ID); err != nil {
			return err
		}
	}
	if err := e.prepare(ctx, c); err != nil {
		return err
	}
	out, err := e.send(ctx, c)
	if err != nil {
		return err
	}
	if c.Previous != "" {
		if out, err = e.release(ctx, c, e.manager(c.Previous)); err != nil {
			return err
		}
	}
	if c.Kept && len(c.Ignore) == 0 {
		if out, err = e.release(ctx, c, plan.IgnoredManager(e.manager(c.Component))); err != nil {
			return err
		}
	}
	res.Live, _ = plan.MetaOf(out, e.manager(c.Component))
	switch {
	case c.Live.UID == res.Live.UID && c.Live.ResourceVersion == res.Live.ResourceVersion:
		res.Action = Unchanged
	case c.Op == plan.Create:
		res.Action = Created
	case c.Op == plan.Correct:
		res.Action = Corrected
	default:
		res.Action = Updated
	}
	return nil
}

// release gives up what a manager of ours still owns, such as the component
// that an object moved from: a field that only it declared goes away, as it
// would have without the move.
func (e *Engine) release(ctx context.Context, c plan.Change, manager string) (*metav1.PartialObjectMetadata, error) {
	r, err := e.served.lookup(ctx, c.APIVersion, c.ID.Kind)
	if err != nil {
		return nil, err
	}
	client, err := e.metadataOf(c.Component, r, c.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	return client.Patch(ctx, c.ID.Name, types.ApplyPatchType, nameOnly(c), applying(manager))
}

// attempts of one write. Those that the pacer makes are not counted here.
const attempts = 5

// pauseBetweenWatches keeps a watch that ends at once from spinning.
const pauseBetweenWatches = 200 * time.Millisecond

func (e *Engine) send(ctx context.Context, c plan.Change) (*metav1.PartialObjectMetadata, error) {
	var last error
	for i := range attempts {
		if i > 0 && !pause(ctx, time.Duration(1<<i)*100*time.Millisecond) {
			return nil, last
		}
		r, err := e.served.lookup(ctx, c.APIVersion, c.ID.Kind)
		if err == nil {
			err = scoped(r, c.ID)
		}
		if err != nil {
			if !errors.Is(err, ErrNotServed) {
				return nil, err
			}
			last = err
			if err := e.served.refresh(ctx); err != nil {
				return nil, err
			}
			continue
		}
		out, err := e.patch(ctx, r, c)
		if err == nil || !retriable(err, c) {
			return out, err
		}
		last = err
	}
	return nil, last
}

// applying are the options of an apply. What is sent was parsed strictly and encoded
// here, so that it has no field twice, which is all that the API server would look for in
// it: unknown fields it refuses or drops all the same. To look, it parses the YAML a second
// time, which is slow.
func applying(manager string) metav1.PatchOptions {
	return metav1.PatchOptions{FieldManager: manager, FieldValidation: metav1.FieldValidationIgnore}
}

// taking says whether fields that others own are taken from them.
func taking(o metav1.PatchOptions, owned bool) metav1.PatchOptions {
	o.Force = &owned
	return o
}

// dry has the API server store nothing.
func dry(o metav1.PatchOptions) metav1.PatchOptions {
	o.DryRun = []string{metav1.DryRunAll}
	return o
}

func (e *Engine) patch(ctx context.Context, r Resource, c plan.Change) (*metav1.PartialObjectMetadata, error) {
	client, err := e.metadataOf(c.Component, r, c.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	return client.Patch(ctx, c.ID.Name, types.ApplyPatchType, sent(c), taking(applying(e.manager(c.Component)), c.Owned))
}

// retriable says whether a failed write is worth repeating at once. What the API
// server could not serve was repeated by the pacer already.
func retriable(err error, c plan.Change) bool {
	switch {
	case apierrors.IsNotFound(err):
		// A definition that is Established may take a moment to be served.
		return len(c.Needs) > 0
	case apierrors.IsConflict(err):
		return len(conflicts(err)) == 0 // somebody else wrote at the same time (G09)
	}
	return false
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// scoped refuses names that would be looked for in the wrong place.
func scoped(r Resource, id render.ID) error {
	if r.Namespaced == (id.Namespace != "") {
		return nil
	}
	text := "its kind needs a namespace and it has none"
	if !r.Namespaced {
		text = "its kind is cluster-wide and it has a namespace"
	}
	return apierrors.NewBadRequest(text)
}
