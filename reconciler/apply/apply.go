package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// errStopped is what tests stop the engine with between two writes.
var errStopped = errors.New("stopped")

// Apply carries out a plan: the inventory first, then batch by batch. What is
// wrong with one object is in the change set and stops only what depends on
// it. An error means that the engine could not go on (the API server is away,
// the inventory cannot be written, the context ended); what was done until
// then is in the change set all the same, and nothing of it can get lost.
func (e *Engine) Apply(ctx context.Context, p plan.Plan) (ChangeSet, error) {
	if p.Empty() {
		return ChangeSet{Inventory: p.Inventory()}, nil // in sync costs no write
	}
	inv, err := e.intend(ctx, p.Inventory())
	if err != nil {
		return ChangeSet{Inventory: inv}, fmt.Errorf("recording what is about to be applied: %w", err)
	}
	r := run{engine: e, mutators: &mutators{engine: e}, inv: inv, failed: map[render.ID]bool{}, results: map[render.ID]Result{}}
	err = r.batches(ctx, p)
	inv, storeErr := e.finish(ctx, r.inv)
	set := ChangeSet{Results: r.ordered(p), Inventory: inv}
	if err != nil {
		return set, fmt.Errorf("applying: %w", err)
	}
	if storeErr != nil {
		return set, fmt.Errorf("recording what was applied: %w", storeErr)
	}
	return set, nil
}

// run is one plan being carried out.
type run struct {
	engine   *Engine
	mutators *mutators

	mu      sync.Mutex
	inv     plan.Inventory
	results map[render.ID]Result
	// failed holds what later changes may need and cannot have.
	failed map[render.ID]bool
	away   error
}

func (r *run) batches(ctx context.Context, p plan.Plan) error {
	for _, b := range p.Batches() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if b.Prune && r.anyFailed(p) {
			r.putOff(b)
			continue
		}
		limit := r.engine.opts.Concurrency
		if b.Gate == plan.GateFoundations {
			limit = r.engine.opts.DefinitionConcurrency
		}
		each(limit, b.Changes, func(c plan.Change) { r.change(ctx, c) })
		if r.away != nil {
			return r.away
		}
		if b.Gate == plan.GateFoundations {
			if err := r.gate(ctx, b.Changes); err != nil {
				return err
			}
		}
	}
	return nil
}

// waits are the reasons that say that an object is left alone on purpose.
func waits(reason string) bool {
	switch reason {
	case plan.ReasonTerminating, plan.ReasonInventoryRebuilt, plan.ReasonNotOurs, plan.ReasonDriftLeft,
		plan.ReasonPutOff, plan.ReasonFight, plan.ReasonMutated:
		return true
	}
	return false
}

// leftAsDrift are the reasons for which an object that was applied as it is
// declared, and that somebody changed since, is not put back now.
func leftAsDrift(reason string) bool {
	return reason == plan.ReasonDriftLeft || reason == plan.ReasonPutOff || reason == plan.ReasonFight
}

// anyFailed says whether deleting has to wait: after a failure nobody knows
// whether what replaces the pruned objects is there.
func (r *run) anyFailed(p plan.Plan) bool {
	for _, b := range p.Blocked() {
		if !waits(b.Reason) {
			return true
		}
	}
	for _, res := range r.results {
		if res.Action == Failed && res.Op != plan.Prune {
			return true
		}
	}
	return false
}

func (r *run) putOff(b plan.Batch) {
	for _, c := range b.Changes {
		res := resultOf(c)
		res.Action, res.Reason, res.Retry = Waiting, ReasonPruneDeferred, true
		res.Message = "nothing is deleted after a failure in the same plan"
		r.results[c.ID] = res
	}
}

func resultOf(c plan.Change) Result {
	res := Result{ID: c.ID, Component: c.Component, Op: c.Op, Drift: c.Drift, Live: c.Live, Differences: c.Differences}
	if c.Declared != nil {
		res.Declared = c.Declared.Digest()
	}
	return res
}

// change makes one change and takes note of what became of it.
func (r *run) change(ctx context.Context, c plan.Change) {
	r.mu.Lock()
	if r.away == nil {
		r.away = ctx.Err() // nothing is begun any more, what was begun is finished
	}
	skip := r.away != nil
	var missing string
	for _, id := range c.Needs {
		if r.failed[id] {
			missing = plan.Name(id)
		}
	}
	r.mu.Unlock()
	if skip {
		return
	}
	res := resultOf(c)
	ctx, done := outlive(ctx)
	defer done()
	var err error
	switch {
	case missing != "":
		res.Action, res.Reason, res.Retry = Failed, ReasonDependencyFailed, true
		res.Message = "needs " + missing
	case c.Op == plan.Prune:
		err = r.engine.prune(ctx, c, &res)
	default:
		if err = r.engine.write(ctx, c, &res); err == nil {
			r.admitted(ctx, c, &res)
		}
	}
	r.note(c, res, err)
}

func (r *run) note(c plan.Change, res Result, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		f := explain(err, c.ID)
		res.Action, res.Reason, res.Message, res.Retry = Failed, f.reason, f.message, f.retry
		if f.reason == plan.ReasonFieldConflict {
			res.Differences = conflicts(err)
		}
		if f.away {
			r.away = err
		}
	}
	r.results[c.ID] = res
	switch res.Action {
	case Failed:
		r.failed[c.ID] = true
	case Waiting:
		if res.Reason != plan.ReasonMutated {
			return // its entry stays
		}
		r.inv.Entries[c.ID] = plan.Entry{
			Component: c.Component, APIVersion: c.APIVersion, Declared: res.Declared, Mutated: true,
			Ignored: plan.IgnoreDigest(c.Ignore), Meta: res.Live,
		}
	case Created, Updated, Corrected, Unchanged:
		r.inv.Entries[c.ID] = plan.Entry{
			Component: c.Component, APIVersion: c.APIVersion, Declared: res.Declared,
			Ignored: plan.IgnoreDigest(c.Ignore), Meta: res.Live,
		}
	case Pruned:
		delete(r.inv.Entries, c.ID)
	case Deleting: // its entry stays
	}
}

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
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	return e.metadataOf(r, c.ID).Patch(ctx, c.ID.Name, types.ApplyPatchType, nameOnly(c), metav1.PatchOptions{
		FieldManager: manager,
	})
}

// attempts of one write: server-side apply may be repeated safely, so an
// answer that got lost (G06) is asked for again by applying again.
const attempts = 4

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
		if err == nil || !again(err, c) {
			return out, err
		}
		last = err
	}
	return nil, last
}

func (e *Engine) patch(ctx context.Context, r Resource, c plan.Change) (*metav1.PartialObjectMetadata, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	return e.metadataOf(r, c.ID).Patch(ctx, c.ID.Name, types.ApplyPatchType, sent(c), metav1.PatchOptions{
		FieldManager: e.manager(c.Component), Force: &c.Owned,
	})
}

// again says whether a failed write is worth repeating at once.
func again(err error, c plan.Change) bool {
	switch {
	case apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsServiceUnavailable(err),
		apierrors.IsTooManyRequests(err):
		return true
	case apierrors.IsNotFound(err):
		// A definition that is Established may take a moment to be served.
		return len(c.Needs) > 0
	case apierrors.IsConflict(err):
		return len(conflicts(err)) == 0 // somebody else wrote at the same time
	}
	return unreachable(err) && !errors.Is(err, errStopped)
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

// ordered lists the results in the order of the plan, then what it left alone.
func (r *run) ordered(p plan.Plan) []Result {
	var out []Result
	for _, c := range p.Changes() {
		if res, ok := r.results[c.ID]; ok {
			out = append(out, res)
		}
	}
	for _, b := range p.Blocked() {
		res := Result{
			ID: b.ID, Component: b.Component, Action: Failed, Reason: b.Reason, Message: b.Detail,
			Differences: b.Differences,
		}
		if waits(b.Reason) {
			res.Action = Waiting
		}
		res.Drift = leftAsDrift(b.Reason)
		res.Retry = b.Reason != plan.ReasonFieldConflict && b.Reason != plan.ReasonInvalid && !res.Drift
		out = append(out, res)
	}
	return out
}
