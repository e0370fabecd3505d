// Package reconciler is the loop: it takes what a repository says through
// fetch, verify, render, permit, test, observe, plan, intend, apply, attest
// and report, and keeps the cluster that way.
//
// pipeline.go is the whole of it on one screen. Every stage answers yes, no,
// or could not tell. A no is final until its input changes; could-not-tell is
// retried with backoff; neither applies anything new, and the revision that
// was applied last stays enforced all the while.
//
// A pass never learns why it was woken: a commit, a drift event, a poke and
// the clock all enqueue the same key. What is kept between passes is cache.
// Truth is in the repository, in the records of applied revisions, and in the
// inventory, so a process that is killed at any point is continued by the next.
//
// Beside the stages it watches for silence: a source whose newest proof of being
// current is older than the policy allows, a server that does not show a tip
// that others saw, a revoked commit of which something is still in force. These
// are alarms, and stop nothing.
//
// What it refuses: to start a revision that does not descend from the newest
// attested one; to write before the verdict is signed and stored (unless the
// Factory says that evidence may follow); to attest what is not completely
// applied; to leave two records of one revision; to leave time out of the
// records.
package reconciler

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
)

// Backoff of a pass that could not tell.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// passTimeout bounds one pass, the first apply of a whole factory included.
	passTimeout = 15 * time.Minute
	// shortest keeps an interval from becoming a busy loop.
	shortest = time.Second
)

// Reconciler reconciles Factories. [New] makes one.
type Reconciler struct {
	setup *Setup

	mu     sync.Mutex
	plants map[types.NamespacedName]*plant
}

// Reconcile does one pass and stores its status.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	// Every call outside has a deadline of its own; this one is for those that
	// the API server's client makes without.
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	var f v1alpha1.Factory
	if err := r.read(ctx, req.NamespacedName, &f); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("reading the Factory: %w", err)
	}
	if shard := r.setup.Shard; shard != nil && !shard.Matches(labels.Set(f.Labels)) {
		r.forget(req.NamespacedName) // it was given to another shard
		return reconcile.Result{}, nil
	}
	before := f.DeepCopy()
	out, plant := r.pass(ctx, &f)
	if err := r.report(ctx, &f, before, out); err != nil {
		return reconcile.Result{}, err
	}
	if plant != nil {
		plant.version = f.ResourceVersion
		plant.ahead()
	}
	return next(&f, plant, out), nil
}

// pass prepares and runs one pass.
func (r *Reconciler) pass(ctx context.Context, f *v1alpha1.Factory) (report.Outcome, *plant) {
	key := client.ObjectKeyFromObject(f)
	out := report.Outcome{Now: r.setup.Clock(), Generation: f.Generation, Intent: f.Status.Intent, Suspended: f.Spec.Suspend}
	if out.Suspended {
		r.missed(key)
		return out, nil
	}
	p, err := r.plant(key)
	if err != nil {
		out.Failed = &report.StageProblem{Condition: v1alpha1.ConditionSourceVerified, Problem: report.Describe(err, report.ReasonControllerIncomplete)}
		return out, nil
	}
	p.look, p.record, p.version = time.Time{}, time.Time{}, "" // until the status of this pass is stored
	walk := &pass{plant: p, factory: f, started: out.Now, out: out, progress: func(ctx context.Context, s v1alpha1.FactoryStatus) (*v1alpha1.Factory, error) {
		next := f.DeepCopy()
		if next.Status = s; report.SameStatus(f.Status, s) {
			return next, nil // a process that died before it wrote anything had stored it
		}
		return next, r.setup.Client.Status().Update(ctx, next)
	}}
	out = walk.run(ctx)
	walk.awaitPacked()
	walk.ahead.end()
	p.certificates.Expire()
	p.recollect()
	p.refused = out.Refused
	out.Open = append(fights(p.repairs), out.Open...)
	return out, p
}

// report computes the status, stores it when it changed, and tells events and
// metrics what is new.
func (r *Reconciler) report(ctx context.Context, f, before *v1alpha1.Factory, out report.Outcome) error {
	stored := f.Status
	f.Status = report.Status(f, out)
	r.setup.Metrics.Outcome(client.ObjectKeyFromObject(f), f, out)
	log := ctrl.LoggerFrom(ctx)
	for _, e := range report.Events(before, f, out) {
		log.Info(e.Message, "reason", e.Reason, "action", e.Action)
		r.setup.Events.Eventf(f, nil, e.Type, e.Reason, e.Action, "%s", e.Message)
	}
	if report.SameStatus(stored, f.Status) {
		return nil
	}
	if err := r.setup.Client.Status().Update(ctx, f); err != nil {
		return fmt.Errorf("storing the status: %w", err)
	}
	return nil
}

// next says when to look again: at the interval when all is well or the answer
// was no, sooner when it could not be told.
func next(f *v1alpha1.Factory, p *plant, out report.Outcome) reconcile.Result {
	interval := f.Spec.Source.Interval.Duration
	if interval <= 0 {
		interval = time.Minute
	}
	interval = max(interval, shortest)
	if p != nil {
		interval = soonest(interval, out.Now, p.look)
		interval = soonest(interval, out.Now, p.record)
	}
	if out.Mended {
		return reconcile.Result{RequeueAfter: afterMend}
	}
	retry := false
	for _, s := range []*report.StageProblem{out.Refused, out.Failed} {
		retry = retry || (s != nil && s.Problem.Class == report.CouldNotTell)
	}
	if p == nil || !retry {
		if p != nil {
			p.failures = 0
		}
		return ctrl.Result{RequeueAfter: interval}
	}
	if out.Refused == nil && out.Failed.Problem.Reason == apply.ReasonGateClosed {
		// Not a failure: the next pass goes on waiting, or takes a new commit.
		return ctrl.Result{RequeueAfter: min(firstRetry, interval)}
	}
	wait := min(firstRetry<<min(p.failures, 10), lastRetry, interval)
	p.failures++
	return ctrl.Result{RequeueAfter: wait}
}

func (r *Reconciler) plant(key types.NamespacedName) (*plant, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.plants[key]; ok {
		return p, nil
	}
	p, err := newPlant(r.setup, key)
	if err != nil {
		return nil, err
	}
	r.plants[key] = p
	return p, nil
}

// missed remembers that nobody looked while the Factory was suspended.
func (r *Reconciler) missed(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.plants[key]
	if p == nil {
		return
	}
	p.certificates.Expire()
	if p.stretch.missed == "" {
		p.stretch.missed = attest.GapSuspended
	}
}

// forget drops the caches of a Factory that is gone. Its objects stay in the
// cluster: nobody signed their deletion.
func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, known := r.plants[key]; known {
		p.tester.Close()
	}
	delete(r.plants, key)
	r.setup.Watcher.Forget(key)
	r.setup.Metrics.Forget(key)
}
