package apply

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// run is one plan being carried out.
type run struct {
	engine   *Engine
	mutators mutators
	plan     plan.Plan
	// waited is when the first gate was waited for.
	waited time.Time
	// gates are the health gates that were looked at.
	gates map[string]GateResult

	mu      sync.Mutex
	inv     plan.Inventory
	results map[render.ID]Result
	// failed holds what later changes may need and cannot have.
	failed map[render.ID]bool
	away   error
	// strikes counts writes in a row that the server failed for its own reasons.
	strikes int
	// deadlocks are the webhook configurations that refused writes because what
	// they call is ours and does not run.
	deadlocks deadlocks
}

// batches goes through the plan in rounds: what is behind a gate that is not
// open is set aside, and looked at again when the rest is done.
func (r *run) batches(ctx context.Context, p plan.Plan) error {
	r.plan, r.gates = p, map[string]GateResult{}
	left := p.Batches()
	for {
		aside, err := r.round(ctx, left)
		if err != nil || len(aside) == 0 {
			return err
		}
		again, err := r.await(ctx)
		if err != nil {
			return err
		}
		if !again {
			r.leave(aside)
			return nil
		}
		left = aside
	}
}

// round makes what can be made now and returns the rest. Webhooks and deletions
// come after everything else, so they wait for what was set aside.
func (r *run) round(ctx context.Context, left []plan.Batch) (aside []plan.Batch, err error) {
	for _, b := range left {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		changes, held, err := r.sort(ctx, b, len(aside) > 0)
		if err != nil {
			return nil, err
		}
		if len(held) > 0 {
			aside = append(aside, withChanges(b, held))
		}
		if err := r.batch(ctx, b, changes); err != nil {
			return nil, err
		}
	}
	return aside, nil
}

func withChanges(b plan.Batch, changes []plan.Change) plan.Batch {
	b.Changes = changes
	return b
}

// sort splits a batch into what can be made now and what is held; what is behind
// a failed gate fails.
func (r *run) sort(ctx context.Context, b plan.Batch, unfinished bool) (now, held []plan.Change, err error) {
	for _, c := range b.Changes {
		g, err := r.behind(ctx, c)
		switch {
		case err != nil:
			return nil, nil, err
		case r.deadlocks.holds(c.ID):
			now = append(now, c) // the way out waits for nothing
		case g.State == GateFailed:
			res := resultOf(c)
			res.Message = "needs " + g.Component + ", and that is not healthy: " + g.Message
			r.fail(c, res, ReasonGateFailed)
		case g.State == GateClosed, unfinished && (b.Last || b.Prune):
			held = append(held, c)
		default:
			now = append(now, c)
		}
	}
	return now, held, nil
}

// behind finds the gate that keeps a change from being made: a failed one before
// one that is only closed. The zero result means none.
func (r *run) behind(ctx context.Context, c plan.Change) (GateResult, error) {
	found := GateResult{State: GateOpen}
	for _, name := range c.Gates {
		g, err := r.gateOf(ctx, name)
		if err != nil {
			return GateResult{}, err
		}
		if g.State == GateFailed {
			return g, nil
		}
		if g.State == GateClosed {
			found = g
		}
	}
	return found, nil
}

func (r *run) fail(c plan.Change, res Result, reason string) {
	res.Action, res.Reason, res.Message, res.Retry = Failed, reason, clean(res.Message), true
	r.results[c.ID] = res
	r.failed[c.ID] = true
}

// leave says of what was set aside which gate it waits for.
func (r *run) leave(aside []plan.Batch) {
	closed := ""
	for _, name := range slices.Sorted(maps.Keys(r.gates)) {
		if g := r.gates[name]; g.State == GateClosed && closed == "" {
			closed = "waits until " + name + " is healthy: " + g.Message
		}
	}
	for _, b := range aside {
		for _, c := range b.Changes {
			why := closed
			for _, name := range c.Gates {
				if g := r.gates[name]; g.State == GateClosed {
					why = "waits until " + name + " is healthy: " + g.Message
				}
			}
			r.putOff([]plan.Change{c}, ReasonGateClosed, why)
		}
	}
}

// batch makes changes concurrently.
func (r *run) batch(ctx context.Context, b plan.Batch, changes []plan.Change) error {
	switch {
	case len(changes) == 0:
		return nil
	case b.Prune && r.anyFailed(r.plan):
		r.putOff(changes, ReasonPruneDeferred, "nothing is deleted after a failure in the same plan")
		return nil
	case b.Recreate && r.stageFailed(b.Stage):
		r.putOff(changes, ReasonRecreateDeferred, "nothing is deleted and made anew after a failure in the same stage")
		return nil
	}
	limit := r.engine.opts.Concurrency
	if b.Gate == plan.GateFoundations {
		limit = r.engine.opts.DefinitionConcurrency
		changes = largestFirst(changes)
	}
	each(limit, changes, func(c plan.Change) { r.change(ctx, c) })
	if r.away != nil {
		return r.away
	}
	if b.Gate == plan.GateFoundations {
		return r.gate(ctx, changes)
	}
	return nil
}

// largestFirst puts definitions that cost the API server most in front, so that
// none of them is what everything waits for in the end, and namespaces, which cost
// nothing, before them.
func largestFirst(changes []plan.Change) []plan.Change {
	size := func(c plan.Change) int {
		if c.Declared == nil || !plan.IsDefinition(c.ID) {
			return math.MaxInt
		}
		return c.Declared.Size()
	}
	changes = slices.Clone(changes)
	slices.SortStableFunc(changes, func(a, b plan.Change) int { return cmp.Compare(size(b), size(a)) })
	return changes
}

// stageFailed says whether anything of a stage was refused, by a dry-run when it
// was observed or by the write itself, or is not there yet.
func (r *run) stageFailed(stage int) bool {
	for _, c := range r.plan.Changes() {
		if c.Stage != stage || c.Op == plan.Prune || c.Op == plan.Recreate || c.Webhook() {
			continue
		}
		if res, done := r.results[c.ID]; !done || res.Action == Failed || res.Action == Waiting {
			return true
		}
	}
	for _, b := range r.plan.Blocked() {
		if b.Stage == stage && !waits(b.Reason) {
			return true
		}
	}
	return false
}

// gateResults are the gates that were looked at, by name.
func (r *run) gateResults() []GateResult {
	var out []GateResult
	for _, name := range slices.Sorted(maps.Keys(r.gates)) {
		out = append(out, r.gates[name])
	}
	return out
}
