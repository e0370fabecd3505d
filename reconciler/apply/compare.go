package apply

import (
	"context"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// comparison is of one declared object with the live one.
type comparison struct {
	engine   *Engine
	mutators *mutators
	object   *render.Object
	resource Resource
	// owned says that conflicts are overruled: the object was ours before.
	owned bool
	// ignore are the paths that do not count, exact says that undeclared fields
	// of others do.
	ignore []string
	exact  bool
	// drifted says that the object was applied as it is declared now.
	drifted bool

	live       plan.Live
	seen, want *unstructured.Unstructured
}

// finding is what a comparison found of an object at a version, so that it is
// not compared again before it changes.
type finding struct {
	digest, uid, resourceVersion string
	ignore                       string
	exact                        bool
	live                         plan.Live
}

// found recalls a finding. One that is not simply in sync is looked at again by
// a sweep: what caused it may be gone.
func (w *observing) found(o *render.Object, live plan.Meta) (plan.Live, bool) {
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	f, known := w.engine.proven[o.ID()]
	if !known || f.digest != o.Digest() || f.uid != live.UID || f.resourceVersion != live.ResourceVersion ||
		f.ignore != strings.Join(w.heed.ignore(o), "\n") || f.exact != w.heed.exact(o) {
		return plan.Live{}, false
	}
	return f.live, !w.heed.Sweep || f.live.State == plan.InSync && len(f.live.Remarks) == 0
}

func (c *comparison) remember() {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	c.engine.proven[c.object.ID()] = finding{
		digest: c.object.Digest(), uid: c.live.Meta.UID, resourceVersion: c.live.Meta.ResourceVersion,
		ignore: strings.Join(c.ignore, "\n"), exact: c.exact, live: c.live,
	}
}

// compare asks the API server what applying the object would change. Conflicts
// are overruled only for objects that are ours.
func (w *observing) compare(ctx context.Context, o *render.Object, owned bool) (plan.Live, error) {
	entry := w.inv.Entries[o.ID()]
	e, id := w.engine, o.ID()
	r, err := e.served.lookup(ctx, o.APIVersion(), id.Kind)
	if err != nil {
		return plan.Live{State: plan.Unknown, Detail: explain(err, id).message}, err
	}
	client, err := e.objectOf(o.Component(), r, id)
	if err != nil {
		return plan.Live{State: plan.Unknown, Detail: clean(err.Error())}, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	c := comparison{
		engine: e, mutators: &w.mutators, object: o, resource: r, owned: owned,
		ignore: w.heed.ignore(o), exact: w.heed.exact(o), drifted: !entry.Pending && entry.Declared == o.Digest(),
	}
	send := body(*o)
	if !owned {
		send, _ = divided(*o, c.ignore) // what somebody else has of it is no conflict
	}
	gone, err := c.ask(ctx, client, send)
	if apierrors.IsNotFound(gone) {
		return plan.Live{State: plan.Absent, Ignore: c.ignore}, nil
	}
	if gone != nil {
		return plan.Live{State: plan.Unknown, Detail: explain(gone, id).message}, gone
	}
	manager := e.manager(o.Component())
	c.live.Meta, c.live.Managed = plan.MetaOf(c.seen, manager)
	c.live.Ignore, c.live.Kept = c.ignore, plan.Keeps(c.seen, manager)
	if c.seen.GetDeletionTimestamp() != nil {
		c.live.State, c.live.Detail = plan.Terminating, terminating(c.seen)
		return c.live, nil
	}
	if undryable(err) {
		// A webhook with side effects answers no dry-run (H11). Applying does
		// nothing where nothing differs, so the object is written unseen.
		c.live.State, c.live.Detail = plan.Differs, explain(err, id).message
		return c.live, nil
	}
	if err != nil {
		return refused(c.live, err, id), err
	}
	if c.want.GetUID() != c.seen.GetUID() {
		return plan.Live{State: plan.Absent, Ignore: c.ignore}, nil // deleted between the two requests
	}
	if err := c.judge(ctx); err != nil {
		return refused(c.live, err, id), err
	}
	return c.live, nil
}

// ask reads the object and, at the same time, what applying would make of it: two
// answers about one version are worth as much as one after the other, and a repair
// waits for one request less. Where they are about two, the object is read again, which
// is enough if the answer about applying is the later one, as with a definition whose
// status follows an edit; and that is asked for again if it is not. The errors are those
// of the two requests.
func (c *comparison) ask(ctx context.Context, client dynamic.ResourceInterface, send []byte) (get, patch error) {
	name := c.object.ID().Name
	read := func() { c.seen, get = client.Get(ctx, name, metav1.GetOptions{}) }
	try := func() {
		c.want, patch = client.Patch(ctx, name, types.ApplyPatchType, send, dry(taking(applying(c.engine.manager(c.object.Component())), c.owned)))
	}
	apart := func() bool {
		return get == nil && patch == nil && c.want.GetResourceVersion() != c.seen.GetResourceVersion()
	}
	var both sync.WaitGroup
	both.Go(try)
	read()
	both.Wait()
	if apart() {
		read()
	}
	if apart() {
		try()
	}
	return get, patch
}

// undryable says whether a dry-run was refused because it was one.
func undryable(err error) bool {
	return apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run")
}

func (c *comparison) ignored(path string) bool { return under(c.ignore, path) }

// under says whether a path is one of some fields or below one.
func under(fields []string, path string) bool {
	return slices.ContainsFunc(fields, func(f string) bool {
		rest, below := strings.CutPrefix(path, f)
		return below && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// judge decides from what is there and what applying would make of it.
func (c *comparison) judge(ctx context.Context) error {
	manager := c.engine.manager(c.object.Component())
	before, after := c.seen.GetManagedFields(), c.want.GetManagedFields()
	differences, noise := plan.CompareOwned(c.seen.Object, c.want.Object, before, after, manager)
	for i := range differences {
		// What we applied ourselves differs because the declaration is another.
		if d := &differences[i]; !c.drifted && d.Manager == manager {
			*d = plan.Difference{Path: d.Path}
		}
	}
	unheld := c.unheld(ctx, after)
	// What admission changes in the very request cannot be put right by it.
	differences = slices.DeleteFunc(differences, func(d plan.Difference) bool {
		return c.ignored(d.Path) || slices.ContainsFunc(unheld, func(u plan.Difference) bool { return under([]string{u.Path}, d.Path) })
	})
	if len(noise) > 0 {
		c.live.Remarks = append(c.live.Remarks, plan.Remark{Reason: plan.ReasonUnstableAdmission, Differences: noise})
	}
	if err := c.extras(ctx); err != nil {
		return err
	}
	for _, x := range c.live.Extras {
		differences = append(differences, x.Difference)
	}
	switch {
	case len(differences) > 0:
		c.live.State, c.live.Differences = plan.Differs, differences
		return nil
	case !c.live.Managed, c.live.Kept && len(c.ignore) == 0, len(c.ignore) == 0 && !plan.SameOwnership(before, after, manager):
		// The values agree but we do not own them: somebody cleared or rewrote
		// managed fields, and the next edit would look like theirs (F04).
		c.live.State, c.live.Differences = plan.Differs, []plan.Difference{{Path: ".metadata.managedFields"}}
		return nil
	case len(unheld) > 0:
		c.live.State, c.live.Differences = plan.Mutated, unheld
	default:
		c.live.State = plan.InSync
	}
	c.remember()
	return nil
}

// unheld are the declared fields that admission changes. It can have changed
// none where none is registered for the kind.
func (c *comparison) unheld(ctx context.Context, after []metav1.ManagedFieldsEntry) []plan.Difference {
	by := c.mutators.of(ctx, c.engine, c.resource)
	if len(by) == 0 {
		return nil
	}
	out := unheld(c.object, c.want, after, c.engine.manager(c.object.Component()), c.ignore)
	if len(out) > 0 {
		c.live.Detail = mutatedBy(by)
	}
	return out
}

func unheld(o *render.Object, answer *unstructured.Unstructured, fields []metav1.ManagedFieldsEntry, manager string, ignore []string) []plan.Difference {
	out := plan.Unheld(o.Unstructured().Object, answer.Object, fields, manager)
	return slices.DeleteFunc(out, func(d plan.Difference) bool { return under(ignore, d.Path) })
}

func mutatedBy(names []string) string {
	return clean("changed by admission while it is applied; what may have done it: " + strings.Join(names[:min(len(names), 5)], ", "))
}

// extras finds what others added. For an object that is matched exactly it has
// to go, unless the API server or admission would put it back; for any other it
// is told.
func (c *comparison) extras(ctx context.Context) error {
	declared := c.object.Unstructured().Object
	ignored := func(path string) bool { return c.ignored(path) || plan.Expected(c.object.ID(), path, declared) }
	found := plan.Extras(c.seen.Object, plan.Ownership{Before: c.seen.GetManagedFields(), After: c.want.GetManagedFields()}, c.engine.manager(c.object.Component()), c.exact, ignored)
	if len(found) == 0 {
		return nil
	}
	if !c.exact {
		c.live.Remarks = append(c.live.Remarks, extraRemark(found))
		return nil
	}
	without, err := c.engine.remove(ctx, c.resource, removal{
		id: c.object.ID(), component: c.object.Component(), meta: c.live.Meta, extras: found,
		manager: c.engine.manager(c.object.Component()), dryRun: true,
	})
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		// What the object cannot be without is not taken from it.
		c.live.Remarks = append(c.live.Remarks, extraRemark(found))
		return nil
	}
	if err != nil {
		return err
	}
	c.live.Extras = plan.Removable(found, without.Object)
	return nil
}

func extraRemark(found []plan.Extra) plan.Remark {
	r := plan.Remark{Reason: plan.ReasonExtraFields}
	for _, x := range found {
		r.Differences = append(r.Differences, x.Difference)
	}
	slices.Reverse(r.Differences)
	return r
}

// removal takes fields that others added out of an object, and no other version
// of it than was observed.
type removal struct {
	id        render.ID
	component string
	meta      plan.Meta
	extras    []plan.Extra
	manager   string
	dryRun    bool
}

func (e *Engine) remove(ctx context.Context, r Resource, x removal) (*unstructured.Unstructured, error) {
	patch, err := plan.RemovalPatch(x.meta.ResourceVersion, x.extras)
	if err != nil {
		return nil, err
	}
	opts := metav1.PatchOptions{FieldManager: x.manager}
	if x.dryRun {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	client, err := e.objectOf(x.component, r, x.id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	return client.Patch(ctx, x.id.Name, types.JSONPatchType, patch, opts)
}

func refused(live plan.Live, err error, id render.ID) plan.Live {
	f := explain(err, id)
	live.Detail = f.message
	switch f.reason {
	case plan.ReasonFieldConflict:
		live.State, live.Differences = plan.Conflict, conflicts(err)
	case plan.ReasonImmutableField:
		live.State, live.Differences = plan.Immutable, immutableFields(err)
	case plan.ReasonInvalid, ReasonTooLarge:
		live.State = plan.Rejected
	default:
		live.State, live.Detail = plan.Unknown, f.reason+": "+f.message
	}
	return live
}
