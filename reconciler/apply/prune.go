package apply

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/plan"
)

// prune deletes the observed object and no other of the same name. It is
// Pruned only if the API server then says that it is gone; an object that a
// finalizer holds stays in the inventory (H08, H12).
func (e *Engine) prune(ctx context.Context, c plan.Change, res *Result) error {
	if e.beforeWrite != nil {
		if err := e.beforeWrite(c.ID); err != nil {
			return err
		}
	}
	r, err := e.served.lookup(ctx, c.APIVersion, c.ID.Kind)
	if errors.Is(err, ErrNotServed) {
		res.Action = Pruned // its definition is gone, and with it every object
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	client, err := e.metadataOf(c.Component, r, c.ID)
	if err != nil {
		return err
	}
	uid, background := types.UID(c.Live.UID), metav1.DeletePropagationBackground
	err = client.Delete(ctx, c.ID.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background,
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	left, err := client.Get(ctx, c.ID.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		res.Action = Pruned
	case err != nil:
		return err
	case string(left.UID) != c.Live.UID:
		res.Action = Pruned // another object under the same name
	default:
		res.Action, res.Reason, res.Retry = Deleting, plan.ReasonTerminating, true
		res.Message = terminating(left)
	}
	return nil
}
