package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

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
	r := run{engine: e, inv: inv, failed: map[render.ID]bool{}, results: map[render.ID]Result{}}
	err = r.batches(ctx, p)
	inv, storeErr := e.finish(ctx, r.inv)
	set := ChangeSet{Results: r.ordered(p), Inventory: inv, Gates: r.gateResults()}
	if err != nil {
		return set, fmt.Errorf("applying: %w", err)
	}
	if storeErr != nil {
		return set, fmt.Errorf("recording what was applied: %w", storeErr)
	}
	return set, nil
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
		if res.Action == Failed && res.Op != plan.Prune || res.Action == Deleting && res.Op == plan.Recreate {
			return true
		}
	}
	return false
}

// putOff leaves changes for another pass.
func (r *run) putOff(changes []plan.Change, reason, why string) {
	for _, c := range changes {
		res := resultOf(c)
		res.Action, res.Reason, res.Retry, res.Message = Waiting, reason, true, clean(why)
		r.results[c.ID] = res
	}
}

func resultOf(c plan.Change) Result {
	res := Result{ID: c.ID, Component: c.Component, Op: c.Op, Drift: c.Drift, Live: c.Live, Differences: c.Differences, Unseen: c.Unseen}
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
	case c.Op == plan.Recreate:
		if err = r.engine.recreate(ctx, c, &res); err == nil && res.Action == Recreated {
			r.admitted(ctx, c, &res)
		}
	default:
		if err = r.engine.write(ctx, c, &res); err == nil {
			r.admitted(ctx, c, &res)
		}
	}
	r.note(ctx, c, res, err)
}

// maxStrikes is how many writes in a row the server may fail before a pass gives
// up: each was tried several times, and the rest would fare no better.
const maxStrikes = 8

// strike says whether going on with other objects is pointless.
func (r *run) strike(f failure, err error) bool {
	var status apierrors.APIStatus
	if f.reason == ReasonServerError && errors.As(err, &status) && status.Status().Code >= http.StatusInternalServerError {
		r.strikes++
	} else {
		r.strikes = 0
	}
	return f.away || r.strikes >= maxStrikes
}

func (r *run) note(ctx context.Context, c plan.Change, res Result, err error) {
	var f failure
	if err != nil {
		f = r.explain(ctx, err, c) // may ask the API server
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		res.Action, res.Reason, res.Message, res.Retry = Failed, f.reason, f.message, f.retry
		if f.reason == plan.ReasonFieldConflict {
			res.Differences = conflicts(err)
		}
		if r.strike(f, err) {
			r.away = err
		}
	} else {
		r.strikes = 0
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
	case Created, Updated, Corrected, Recreated, Unchanged:
		r.inv.Entries[c.ID] = plan.Entry{
			Component: c.Component, APIVersion: c.APIVersion, Declared: res.Declared,
			Ignored: plan.IgnoreDigest(c.Ignore), Meta: res.Live,
		}
	case Pruned:
		delete(r.inv.Entries, c.ID)
	case Deleting: // its entry stays
	}
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
		res.Retry = b.Reason != plan.ReasonFieldConflict && b.Reason != plan.ReasonInvalid &&
			b.Reason != plan.ReasonImmutableField && !res.Drift
		out = append(out, res)
	}
	return out
}
