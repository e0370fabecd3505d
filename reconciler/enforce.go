package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render"
)

func (p *pass) observe(ctx context.Context, revision accepted) (plan.Observation, error) {
	defer p.plant.time("observe")()
	inventory, err := p.plant.engine.LoadInventory(ctx, revision.manifests)
	if err != nil {
		return plan.Observation{}, at(v1alpha1.ConditionApplied, report.ReasonObserveFailed, err)
	}
	sweep, now := p.sweepDue(), p.mark()
	p.looked = p.follow().last.at
	heed := apply.Heed{Resting: p.resting, Ignore: revision.ignores, Exact: revision.exact, Sweep: sweep}
	if p.plant.setup.Watcher != nil && !p.look { // a preview has none
		heed.Untouched = p.plant.setup.Watcher.Untouched(p.plant.key)
		seen := p.plant.setup.Watcher.Seen(p.plant.key)
		heed.Gone = func(id render.ID) bool { return seen[id] }
		heed.Changed = func(id render.ID) bool { gone, is := seen[id]; return is && !gone }
	}
	observation, err := p.plant.engine.ObserveWith(ctx, revision.manifests, inventory, heed)
	if err != nil {
		return plan.Observation{}, at(v1alpha1.ConditionApplied, report.ReasonObserveFailed, err)
	}
	if sweep {
		p.swept(observation)
	}
	p.arrive(revision, now, observation, sweep)
	return p.explained(observation), nil
}

// intend makes durable, before the first write of a revision that is not attested
// yet, that it is begun: the verdict says so. The Factory, which tells people, gets the
// intent while the first writes are under way, or before them where no verdict could be
// stored or where the Factory may have been changed. A repair needs none of this: an
// earlier intent allowed it.
func (p *pass) intend(ctx context.Context, revision accepted, todo plan.Plan, sameCluster func() error) error {
	if todo.Empty() {
		return nil
	}
	if err := sameCluster(); err != nil {
		return err
	}
	if p.attested(revision) {
		return nil
	}
	intent := v1alpha1.Intent{
		Commit: string(revision.commit()), Sequence: p.head.sequence + 1,
		Rendered: revision.manifests.Digest(), Started: metav1.NewTime(p.started),
	}
	if before := p.factory.Status.Intent; before != nil && before.Sequence == intent.Sequence && before.Started.Time.Before(p.started) {
		intent.Started = before.Started
	}
	if err := p.decide(ctx, revision); err != nil {
		return err
	}
	if p.plant.verdict.name == p.verdictName(revision) && p.unchanged(ctx) {
		p.intended = p.storeIntent(ctx, intent, len(todo.Changes()), writesFirst)
	} else if err := p.storeIntent(ctx, intent, len(todo.Changes()), 0)(); err != nil {
		return err
	}
	if s := p.follow(); s.frozen.IsZero() {
		s.frozen = p.mark().at
	}
	p.out.Intent = &intent
	return nil
}

// unchanged says whether the cache, which hears of a change within milliseconds, still
// has the Factory that was read. Where it has another one, the API server is asked, by
// storing the intent: a Factory that somebody has changed, suspended for one, is not
// begun with.
func (p *pass) unchanged(ctx context.Context) bool {
	if p.plant.setup.Cache == nil {
		return false
	}
	var now v1alpha1.Factory
	err := p.plant.setup.Cache.Get(ctx, p.plant.key, &now)
	return err == nil && now.UID == p.factory.UID && now.ResourceVersion == p.factory.ResourceVersion
}

// awaitIntent waits until the intent is stored, if it is being stored.
func (p *pass) awaitIntent() error {
	wait := p.intended
	p.intended = nil
	if wait == nil {
		return nil
	}
	return wait()
}

// writesFirst is how long the intent stands back, so that the first write of a small plan
// goes out before it: the API server would work on both at once, and that one is waited for.
const writesFirst = 8 * time.Millisecond

// storeIntent begins to store the intent after some time.
func (p *pass) storeIntent(ctx context.Context, intent v1alpha1.Intent, changes int, after time.Duration) (wait func() error) {
	status := report.Progress(p.factory, intent, changes)
	stored := beside(func() (*v1alpha1.Factory, error) {
		time.Sleep(after)
		return p.progress(ctx, status)
	})
	return func() error {
		f, err := stored()
		if err != nil {
			return at(v1alpha1.ConditionApplied, report.ReasonClusterUnreachable, fmt.Errorf("storing the intent: %w", err))
		}
		p.factory.Status, p.factory.ResourceVersion = f.Status, f.ResourceVersion
		return nil
	}
}

// apply carries the plan out while the drift watch holds its breath, and
// records what was found changed by others.
func (p *pass) apply(ctx context.Context, revision accepted, todo plan.Plan) (apply.ChangeSet, error) {
	defer p.plant.time("apply")()
	if todo.Empty() {
		p.plant.engine.Saw(todo.Inventory())
		p.plant.track(todo.Inventory())
		changes := p.leave(revision, todo, apply.ChangeSet{Inventory: todo.Inventory()})
		p.changed(revision, p.looked, changes)
		return changes, nil
	}
	p.plant.hold(todo.Inventory())
	changes, err := p.plant.engine.Apply(ctx, todo)
	intended := p.awaitIntent()
	p.plant.track(changes.Inventory)
	p.out.Lost = lost(revision.manifests, todo.Before(), changes.Inventory)
	p.out.Drifts = driftRecords(changes.Corrected(), p.plant.setup.Clock())
	p.repaired(changes)
	changes = p.leave(revision, todo, changes)
	p.changed(revision, p.looked, changes)
	if !p.attested(revision) {
		p.plant.add(changes)
	}
	if err != nil {
		return changes, at(v1alpha1.ConditionApplied, report.ReasonApplyFailed, err)
	}
	if !changes.Complete() {
		return changes, incomplete(changes)
	}
	return changes, intended
}

// lookFirst says that something could not be written that nobody had looked at
// before: whether a field is immutable, or what else is in the way, is found by
// looking, which the rest of the pass does.
func (p *pass) lookFirst(changes apply.ChangeSet) bool {
	again := !p.look && slices.ContainsFunc(changes.Failed(), func(r apply.Result) bool { return r.Unseen })
	p.look = p.look || again
	return again
}

// incomplete names the objects that kept a revision from being applied. The
// reason is that of the first where it has one of its own.
func incomplete(changes apply.ChangeSet) error {
	open := slices.DeleteFunc(slices.Clone(changes.Results), func(r apply.Result) bool {
		return !slices.Contains([]apply.Action{apply.Failed, apply.Waiting, apply.Deleting}, r.Action)
	})
	slices.SortStableFunc(open, func(a, b apply.Result) int {
		return cmp.Or(rank(a.Action)-rank(b.Action), consequence(a)-consequence(b))
	})
	first, reason := open[0], report.ReasonApplyFailed
	if slices.Contains([]string{plan.ReasonImmutableField, apply.ReasonWebhookDeadlock, apply.ReasonGateFailed, apply.ReasonGateClosed}, first.Reason) {
		reason = first.Reason
	}
	if !slices.ContainsFunc(open, func(r apply.Result) bool { return r.Reason != plan.ReasonMutated }) {
		reason = plan.ReasonMutated
	}
	paths := make([]string, 0, 3)
	for _, d := range first.Differences[:min(len(first.Differences), 3)] {
		paths = append(paths, d.Path)
	}
	return at(v1alpha1.ConditionApplied, reason, fmt.Errorf("%d objects are not as declared; first %s: %s %s %s %s",
		len(open), plan.Name(first.ID), first.Action, first.Reason, strings.Join(paths, ", "), first.Message))
}

// consequence puts what only follows from another failure behind it.
func consequence(r apply.Result) int {
	switch r.Reason {
	case apply.ReasonGateFailed:
		return 1
	case apply.ReasonDependencyFailed, apply.ReasonPruneDeferred, apply.ReasonRecreateDeferred:
		return 2
	}
	return 0
}

func rank(a apply.Action) int {
	return slices.Index([]apply.Action{apply.Failed, apply.Waiting, apply.Deleting}, a)
}

// floors are the revisions that evidence and status say were applied: a
// candidate must descend from each of them (rule T10). The status can only
// add a floor, never lift the one that is attested.
func (p *pass) floors() []gitverify.ID {
	var out []gitverify.ID
	if applied := p.factory.Status.Applied; applied != nil && applied.Commit != p.head.commit {
		out = append(out, gitverify.ID(applied.Commit))
	}
	if p.head.commit != "" {
		out = append(out, gitverify.ID(p.head.commit))
	}
	return out
}

// attested asks for the manifests too: the same commit in another environment
// is another revision of the cluster.
func (p *pass) attested(revision accepted) bool {
	return p.head.commit == string(revision.commit()) && p.head.rendered == revision.manifests.Digest()
}

// unplanned refuses a revision that would delete more than it may. What was
// applied before it stays enforced.
func (p *pass) unplanned(ctx context.Context, revision accepted, err error) {
	err = at(v1alpha1.ConditionApplied, report.ReasonApplyFailed, err)
	var no *plan.Refusal
	if !errors.As(err, &no) {
		p.failed(v1alpha1.ConditionApplied, err)
		return
	}
	if good, lost := p.floor(ctx); lost == nil && good.commit() != revision.commit() {
		p.enforce(ctx, good)
	}
	if p.out.Refused == nil {
		p.refused(err)
		return
	}
	p.failed(v1alpha1.ConditionApplied, err)
}

// keepBefore keeps what was applied before a revision that may not be begun.
func (p *pass) keepBefore(ctx context.Context, revision accepted) {
	if before := p.waiting(revision); before != nil {
		p.enforce(ctx, *before)
		return
	}
	if p.attested(revision) || p.head.commit == "" {
		return
	}
	if good, err := p.floor(ctx); err == nil && p.attested(good) {
		p.enforce(ctx, good)
	}
}

// unenforced says that what was applied last cannot be kept, for example
// because the object store was lost and the ref was turned to another history.
func (p *pass) unenforced(err error) {
	if len(p.floors()) > 0 {
		p.failed(v1alpha1.ConditionApplied, at(v1alpha1.ConditionApplied, report.ReasonVerifyUnknown,
			fmt.Errorf("the revision that was applied last is not enforced: %w", err)))
	}
}

func (p *pass) health(ctx context.Context, revision accepted, changes apply.ChangeSet) {
	judging := revision.judging()
	h, err := p.plant.engine.HealthWith(ctx, revision.manifests, judging)
	if err != nil {
		p.out.Health = report.Health{Known: true, Status: metav1.ConditionUnknown, Reason: report.ReasonClusterUnreachable, Message: err.Error()}
		return
	}
	p.out.Health = healthOf(h, judging.Mode)
	p.out.Health.Message += waived(changes.Gates)
}

func healthOf(h apply.Health, mode apply.HealthMode) report.Health {
	out := report.Health{Known: true, Reason: h.Reason, Message: h.Message}
	switch h.Verdict {
	case apply.Ready:
		out.Status, out.Reason, out.Message = metav1.ConditionTrue, report.ReasonHealthy, "every object reports that it is ready"
	case apply.Unknown:
		out.Status = metav1.ConditionUnknown
		if mode == apply.HealthUnknown {
			out.Reason, out.Waived = report.ReasonHealthUnobserved, true
		}
	default:
		out.Status = metav1.ConditionFalse
	}
	return out
}
