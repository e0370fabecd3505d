package apply

import (
	"context"
	"regexp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/plan"
)

// sent is what is applied for a change: all that is declared when the object is
// made, and afterwards what of it is not ignored.
func sent(c plan.Change) []byte {
	if c.Op == plan.Create {
		return body(*c.Declared)
	}
	send, _ := divided(*c.Declared, c.Ignore)
	return send
}

// prepare takes out what others added, and hands the fields that are ignored to
// the manager that keeps them, so that they do not go away with our own.
func (e *Engine) prepare(ctx context.Context, c plan.Change) error {
	if c.Op == plan.Create || len(c.Remove)+len(c.Ignore) == 0 {
		return nil
	}
	r, err := e.served.lookup(ctx, c.APIVersion, c.ID.Kind)
	if err != nil {
		return err
	}
	if len(c.Remove) > 0 { // first: it holds for the version that was observed
		x := removal{id: c.ID, component: c.Component, meta: c.Live, extras: c.Remove, manager: e.manager(c.Component)}
		if _, err := e.remove(ctx, r, x); err != nil {
			return err
		}
	}
	return e.keep(ctx, r, c)
}

// keep applies ignored fields under a manager of their own. Where somebody else
// owns one with another value it is theirs, which is what ignoring is for: it is
// left out, and the others are kept all the same.
func (e *Engine) keep(ctx context.Context, r Resource, c plan.Change) error {
	ignore := c.Ignore
	for {
		_, kept := divided(*c.Declared, ignore)
		if kept == nil {
			return nil
		}
		err := e.keepApplied(ctx, r, c, kept)
		left := slices.DeleteFunc(slices.Clone(ignore), func(path string) bool {
			return slices.ContainsFunc(conflicts(err), func(d plan.Difference) bool { return under([]string{path}, unquoted(d.Path)) })
		})
		if err == nil || len(left) == len(ignore) {
			return err
		}
		ignore = left
	}
}

// unquoted spells the path of a conflict as plans spell it: the API server
// quotes the names of list items.
func unquoted(path string) string {
	return namedItem.ReplaceAllString(path, "[name=$1]")
}

var namedItem = regexp.MustCompile(`\[name="([^"]*)"\]`)

func (e *Engine) keepApplied(ctx context.Context, r Resource, c plan.Change, kept []byte) error {
	var o unstructured.Unstructured
	if err := o.UnmarshalJSON(kept); err != nil {
		return err
	}
	o.SetUID(types.UID(c.Live.UID)) // never makes an object that is gone
	client, err := e.metadataOf(c.Component, r, c.ID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	_, err = client.Patch(ctx, c.ID.Name, types.ApplyPatchType, encoded(o.Object), applying(plan.IgnoredManager(e.manager(c.Component))))
	return err
}

// admitted reads the answer to a write where admission may have changed it: an
// object that is not as declared in the very version that we wrote was not
// touched by anybody else (F07). That is told, and not written again.
func (r *run) admitted(ctx context.Context, c plan.Change, res *Result) {
	e := r.engine
	resource, err := e.served.lookup(ctx, c.APIVersion, c.ID.Kind)
	if err != nil {
		return // it was written a moment ago; what cannot be told is found by the next look
	}
	by := r.mutators.of(ctx, e, resource)
	if len(by) == 0 {
		return
	}
	client, err := e.objectOf(c.Component, resource, c.ID)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	o, err := client.Get(ctx, c.ID.Name, metav1.GetOptions{})
	if err != nil || o.GetResourceVersion() != res.Live.ResourceVersion {
		return
	}
	out := unheld(c.Declared, o, o.GetManagedFields(), e.manager(c.Component), c.Ignore)
	if len(out) > 0 {
		res.Action, res.Reason, res.Message, res.Differences = Waiting, plan.ReasonMutated, mutatedBy(by), out
	}
}
