package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// GateState is what became of a health gate.
type GateState string

// The states of a gate.
const (
	GateOpen GateState = "Open"
	// GateClosed: not healthy yet, and there is time left.
	GateClosed GateState = "Closed"
	// GateFailed: something of it failed, or it took too long.
	GateFailed GateState = "Failed"
)

// GateResult is what became of the gate of one component.
type GateResult struct {
	Component string
	State     GateState
	// Message names the object that keeps it from opening, with its own words.
	Message string
	// Waived counts objects whose health nothing in this environment reports:
	// the gate did not ask for it.
	Waived int
}

// Wait remembers since when a gate is waited for, and for which manifests.
type Wait struct {
	Manifests string
	Since     time.Time
}

// Waits are the gates that are waited for, for who wants to go on in another
// process.
func (e *Engine) Waits() map[string]Wait {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.waits)
}

// Recall takes over what [Engine.Waits] of another process said. What is in the
// future is not believed.
func (e *Engine) Recall(waits map[string]Wait) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, w := range waits {
		if !w.Since.After(e.clock()) {
			e.waits[name] = w
		}
	}
}

// gateOf looks at a gate, once in each round: what of the component was not
// applied fails it, what is not healthy keeps it closed.
func (r *run) gateOf(ctx context.Context, name string) (GateResult, error) {
	if g, known := r.gates[name]; known {
		return g, nil
	}
	g, err := r.lookAt(ctx, r.plan.HealthGates()[name])
	if err != nil {
		return GateResult{}, err
	}
	if g.State == GateClosed {
		g = r.engine.overdue(g, r.plan)
	} else {
		r.engine.opened(name)
	}
	r.gates[name] = g
	return g, nil
}

func (r *run) lookAt(ctx context.Context, gate plan.HealthGate) (GateResult, error) {
	g := GateResult{Component: gate.Component, State: GateOpen}
	if problem, failed := r.unapplied(gate.Component); problem != "" {
		g.State, g.Message = GateClosed, problem
		if failed {
			g.State = GateFailed
		}
		return g, nil
	}
	h, err := r.engine.healthOf(ctx, gate, r.uid)
	if err != nil {
		return g, err
	}
	if gate.Unobserved != "" {
		g.Waived = h.Components[gate.Component].Unknown
	}
	for _, x := range h.NotReady {
		if x.Verdict == Unknown && gate.Unobserved != "" {
			continue
		}
		g.State, g.Message = GateClosed, plan.Name(x.ID)+": "+x.Message
		if x.Verdict == Unhealthy {
			g.State = GateFailed
		}
		break // the first is the worst
	}
	return g, nil
}

// unapplied says what of a component is not applied, and whether that will not
// change in this run. Its webhooks come after everything and do not count.
func (r *run) unapplied(component string) (problem string, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.plan.Changes() {
		if c.Component != component || c.Op == plan.Prune || c.Webhook() {
			continue
		}
		res, done := r.results[c.ID]
		switch {
		case !done, res.Action == Waiting, res.Action == Deleting:
			problem = plan.Name(c.ID) + " is not applied yet"
		case res.Action == Failed:
			return plan.Name(c.ID) + ": " + res.Reason + " " + res.Message, true
		}
	}
	for _, b := range r.plan.Blocked() {
		switch {
		case b.Component != component, b.Reason != plan.ReasonTerminating && waits(b.Reason):
		case b.Reason == plan.ReasonTerminating:
			problem = plan.Name(b.ID) + ": " + b.Reason + " " + b.Detail
		default:
			return plan.Name(b.ID) + ": " + b.Reason + " " + b.Detail, true
		}
	}
	return problem, false
}

// uid is that of an object as this run has made or found it.
func (r *run) uid(id render.ID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inv.Entries[id].UID
}

// healthOf judges what a component declares.
func (e *Engine) healthOf(ctx context.Context, gate plan.HealthGate, uid func(render.ID) string) (Health, error) {
	j := Judging{uid: uid, Mode: HealthObserve, Checks: map[string][]check{gate.Component: gate.Checks}}
	if gate.Unobserved != "" {
		j.Mode, j.Why = HealthUnknown, gate.Unobserved
	}
	h, err := e.judgeAll(ctx, gate.Objects, j)
	if err != nil {
		return Health{}, fmt.Errorf("reading the health of %s: %w", gate.Component, err)
	}
	return h, nil
}

// overdue fails a gate that is closed for longer than its component may take.
// Another revision begins to wait anew.
func (e *Engine) overdue(g GateResult, p plan.Plan) GateResult {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, within := e.clock(), p.HealthGates()[g.Component].Within
	w, known := e.waits[g.Component]
	if !known || w.Manifests != p.Manifests() {
		w = Wait{p.Manifests(), now}
		e.waits[g.Component] = w
	}
	if now.Sub(w.Since) >= within {
		g.State, g.Message = GateFailed, fmt.Sprintf("not healthy after %s: %s", within, g.Message)
	}
	return g
}

func (e *Engine) opened(component string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waits, component)
}

// left is how long a closed gate may still take.
func (e *Engine) left(component string, within time.Duration) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return within - e.clock().Sub(e.waits[component].Since)
}

// await waits until something about a closed gate changes, by watch, but no
// longer than a pass may be held up: a new commit is looked for in between
// passes (H19). It says whether looking again is worth it.
func (r *run) await(ctx context.Context) (again bool, err error) {
	closed := map[string]plan.HealthGate{}
	if r.waited.IsZero() {
		r.waited = r.engine.clock()
	}
	slice := r.engine.opts.GateSlice - r.engine.clock().Sub(r.waited)
	for name, g := range r.gates {
		if g.State != GateClosed {
			continue
		}
		closed[name] = r.plan.HealthGates()[name]
		slice = min(slice, r.engine.left(name, closed[name].Within))
	}
	if len(closed) == 0 {
		return true, ctx.Err() // those that were held back by order alone
	}
	if slice <= 0 {
		return false, ctx.Err()
	}
	bounded, cancel := context.WithTimeout(ctx, slice)
	defer cancel()
	var wg sync.WaitGroup
	for name, gate := range closed {
		wg.Go(func() {
			if r.engine.follow(bounded, gate, r.uid) {
				cancel()
			}
		})
		delete(r.gates, name)
	}
	wg.Wait()
	return true, ctx.Err()
}

// follow watches the objects of a gate until none keeps it closed or one fails.
func (e *Engine) follow(ctx context.Context, gate plan.HealthGate, uid func(render.ID) string) bool {
	h, err := e.healthOf(ctx, gate, uid)
	if err != nil {
		return false
	}
	byID := map[render.ID]render.Object{}
	for _, o := range gate.Objects {
		byID[o.ID()] = o
	}
	pending := map[render.ID]render.Object{}
	for _, x := range h.NotReady {
		switch {
		case x.Verdict == Unhealthy:
			return true
		case x.Verdict == Unknown && gate.Unobserved != "":
		default:
			pending[x.ID] = byID[x.ID]
		}
	}
	if len(pending) == 0 {
		return true
	}
	return e.watchHealth(ctx, gate, pending)
}

// place is where objects that one watch can see are.
type place struct{ apiVersion, kind, namespace string }

// watchHealth has one watch for each kind and namespace.
func (e *Engine) watchHealth(ctx context.Context, gate plan.HealthGate, pending map[render.ID]render.Object) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	places := map[place]map[string]render.Object{}
	for id, o := range pending {
		at := place{o.APIVersion(), id.Kind, id.Namespace}
		if places[at] == nil {
			places[at] = map[string]render.Object{}
		}
		places[at][id.Name] = o
	}
	var mu sync.Mutex
	settled := false
	tell := func(id render.ID, x ObjectHealth) {
		mu.Lock()
		defer mu.Unlock()
		if x.Verdict == Ready {
			delete(pending, id)
		}
		if len(pending) == 0 || x.Verdict == Unhealthy {
			settled = true
			cancel()
		}
	}
	var wg sync.WaitGroup
	for _, at := range slices.Collect(maps.Keys(places)) {
		wg.Go(func() { e.watchPlace(ctx, at, places[at], gate.Checks, tell) })
	}
	wg.Wait()
	return settled
}
