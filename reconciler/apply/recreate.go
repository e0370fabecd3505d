package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/rights"
)

// recreate deletes an object and makes it anew (H14). Before it deletes, the API
// server has to accept the new object in a dry-run under another name: what
// refuses a change of a field hides what else is wrong. The object that is
// deleted is the observed one and no other; the new one is made only when the API
// server says that the old one is gone. If it does not go, because a finalizer
// holds it, it stays in the inventory and a later pass makes it anew.
func (e *Engine) recreate(ctx context.Context, c plan.Change, res *Result) error {
	if e.beforeWrite != nil {
		if err := e.beforeWrite(c.ID); err != nil {
			return err
		}
	}
	if err := e.rehearse(ctx, c); err != nil {
		return err
	}
	if err := e.prune(ctx, c, res); err != nil {
		return err
	}
	if res.Action == Deleting && !e.gone(ctx, c) {
		res.Message = fmt.Sprintf("%s, and made anew when it is gone", res.Message)
		return nil
	}
	res.Reason, res.Message, res.Retry = "", "", false
	fresh := c
	fresh.Op, fresh.Live, fresh.Owned = plan.Create, plan.Meta{}, false
	if err := e.write(ctx, fresh, res); err != nil {
		return err
	}
	res.Action = Recreated
	return nil
}

// rehearse has the API server judge the object as a new one. Dry-run stores
// nothing, and the name is one that no object has and that the component's
// account may use.
func (e *Engine) rehearse(ctx context.Context, c plan.Change) error {
	r, err := e.served.lookup(ctx, c.APIVersion, c.ID.Kind)
	if err != nil {
		return err
	}
	u := c.Declared.Unstructured()
	u.SetName(rights.Rehearsal(c.ID.Name))
	raw, err := json.Marshal(u.Object)
	if err != nil {
		return fmt.Errorf("encoding it under another name: %w", err)
	}
	client, err := e.metadataOf(c.Component, r, c.ID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	_, err = client.Patch(ctx, u.GetName(), types.ApplyPatchType, raw, dry(applying(e.manager(c.Component))))
	return err
}

// gone waits a little for an object that is being deleted.
func (e *Engine) gone(ctx context.Context, c plan.Change) bool {
	r, err := e.served.lookup(ctx, c.APIVersion, c.ID.Kind)
	if err != nil {
		return false
	}
	client, err := e.metadataOf(c.Component, r, c.ID)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.GateSlice)
	defer cancel()
	for pause(ctx, 50*time.Millisecond) {
		left, err := client.Get(ctx, c.ID.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && string(left.UID) != c.Live.UID {
			return true
		}
	}
	return false
}
