package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
	"millwright.dev/millwright/render/policy"
)

// pass is one walk through the pipeline for one Factory.
type pass struct {
	plant   *plant
	factory *v1alpha1.Factory
	// progress stores a status before the first write of a revision.
	progress func(context.Context, v1alpha1.FactoryStatus) error
	started  time.Time
	out      report.Outcome
	head     head
}

// accepted is a revision that passed every stage before the cluster.
type accepted struct {
	verification gitverify.Verification
	rendered
	verdict policy.Verdict
	// trust is the digest of the trusted root that it was verified with.
	trust string
}

// rendered is the output of the render stage with the configuration in force.
type rendered struct {
	manifests   render.Manifests
	config      factory.Config
	environment factory.Environment
}

func (a accepted) commit() gitverify.ID { return a.verification.Commit() }

// stageError carries a stage's error with the condition that reports it and
// the reason to give when the error names none.
type stageError struct {
	condition, otherwise string
	err                  error
}

func (e *stageError) Error() string { return e.err.Error() }
func (e *stageError) Unwrap() error { return e.err }

func at(condition, otherwise string, err error) error {
	return &stageError{condition: condition, otherwise: otherwise, err: err}
}

func (p *pass) problem(condition string, err error) *report.StageProblem {
	otherwise := report.ReasonApplyFailed
	var stage *stageError
	if errors.As(err, &stage) {
		condition, otherwise = stage.condition, stage.otherwise
	}
	problem := report.Describe(err, otherwise)
	if errors.Is(err, errChain) {
		problem.Class = report.No
	}
	if problem.Commit == "" {
		problem.Commit = p.out.Attempted
	}
	return &report.StageProblem{Condition: condition, Problem: problem}
}

// refused records why the tip was not accepted, failed why enforcing a
// revision did not come to its end.
func (p *pass) refused(err error) {
	p.out.Refused = p.problem(v1alpha1.ConditionSourceVerified, err)
}

func (p *pass) failed(condition string, err error) { p.out.Failed = p.problem(condition, err) }

func (p *pass) fetch(ctx context.Context) (source.Checkout, error) {
	defer p.plant.time("fetch")()
	credentials, err := p.plant.credentials(ctx, p.factory)
	if err != nil {
		return source.Checkout{}, at(v1alpha1.ConditionSourceVerified, source.ReasonSourceUnauthorized, err)
	}
	spec := p.factory.Spec.Source
	checkout, err := p.plant.store.Fetch(ctx, source.Remote{
		URL: spec.URL, Ref: spec.Ref, Timeout: spec.Timeout.Duration, Credentials: credentials,
	})
	if err != nil {
		return source.Checkout{}, at(v1alpha1.ConditionSourceVerified, source.ReasonSourceUnreachable, err)
	}
	p.out.Attempted = string(checkout.Commit)
	return checkout, nil
}

func (p *pass) verify(ctx context.Context, checkout source.Checkout) (gitverify.Verification, error) {
	defer p.plant.time("verify")()
	request := gitverify.Request{Ref: checkout.Ref, Candidate: checkout.Commit, Anchor: gitverify.ID(p.factory.Spec.Verify.Anchor)}
	var verification gitverify.Verification
	floors := p.floors()
	if len(floors) == 0 {
		floors = []gitverify.ID{""} // from the anchor
	}
	// The attested floor is the last: what is listed as checked begins there.
	for _, request.Floor = range floors {
		var err error
		if verification, err = p.plant.verifier.Verify(ctx, checkout.Objects(), request); err != nil {
			return gitverify.Verification{}, at(v1alpha1.ConditionSourceVerified, report.ReasonVerifyUnknown, err)
		}
	}
	return verification, nil
}

func (p *pass) tree(ctx context.Context, checkout source.Checkout, v gitverify.Verification) (fs.FS, error) {
	tree, err := checkout.Tree(ctx, v)
	if err != nil {
		return nil, at(v1alpha1.ConditionSourceVerified, report.ReasonVerifyUnknown, err)
	}
	return tree, nil
}

func (p *pass) render(tree fs.FS) (rendered, error) {
	defer p.plant.time("render")()
	out, err := Render(&p.plant.renderer, tree, p.factory.Spec.Environment)
	if err != nil {
		return rendered{}, at(v1alpha1.ConditionPolicyPassed, report.ReasonRenderUnknown, err)
	}
	return out, nil
}

// Render reads the factory's configuration out of a tree and renders the
// components of an environment. `millwright render` does exactly the same. The
// renderer remembers components whose input did not change.
func Render(renderer *render.Renderer, tree fs.FS, environment string) (rendered, error) {
	data, err := fs.ReadFile(tree, factory.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return rendered{}, &factory.Refusal{
			Reason: factory.Reason, Code: "factory/missing", Field: factory.Path,
			Detail: "the tree has no such file", Hint: "commit it; its fields are in factory-config/README.md",
		}
	}
	if err != nil {
		return rendered{}, fmt.Errorf("reading %s: %w", factory.Path, err)
	}
	config, err := factory.Decode(data)
	if err != nil {
		return rendered{}, err
	}
	env, err := config.Environment(environment)
	if err != nil {
		return rendered{}, err
	}
	manifests, err := renderer.Render(tree, env.Overlay, env.Components(config), render.DefaultLimits())
	if err != nil {
		return rendered{}, err
	}
	return rendered{manifests: manifests, config: config, environment: env}, nil
}

func (p *pass) test(ctx context.Context, m render.Manifests) (policy.Verdict, error) {
	defer p.plant.time("test")()
	verdict, err := Test(ctx, p.plant.setup.Policy, m)
	if err != nil {
		return policy.Verdict{}, at(v1alpha1.ConditionPolicyPassed, report.ReasonPolicyUnknown, err)
	}
	return verdict, nil
}

// Test asks the policy process about rendered manifests; a forbidden revision
// is an error that wraps the policy's refusal.
func Test(ctx context.Context, runner policy.Runner, m render.Manifests) (policy.Verdict, error) {
	objects := make([]json.RawMessage, 0, len(m.Objects()))
	for _, o := range m.Objects() {
		objects = append(objects, o.JSON())
	}
	verdict, err := runner.Test(ctx, objects)
	if err != nil {
		return policy.Verdict{}, err
	}
	if refusal := verdict.Refusal(); refusal != nil {
		return policy.Verdict{}, refusal
	}
	return verdict, nil
}

func (p *pass) observe(ctx context.Context, revision accepted) (plan.Observation, error) {
	defer p.plant.time("observe")()
	inventory, err := p.plant.engine.LoadInventory(ctx, revision.manifests)
	if err != nil {
		return plan.Observation{}, at(v1alpha1.ConditionApplied, report.ReasonObserveFailed, err)
	}
	observation, err := p.plant.engine.Observe(ctx, revision.manifests, inventory)
	if err != nil {
		return plan.Observation{}, at(v1alpha1.ConditionApplied, report.ReasonObserveFailed, err)
	}
	return observation, nil
}

// intend makes the intent durable before the first write of a revision that
// is not attested yet. A repair needs none: an earlier intent allowed it.
func (p *pass) intend(ctx context.Context, revision accepted, todo plan.Plan) error {
	if p.attested(revision) || todo.Empty() {
		return nil
	}
	intent := v1alpha1.Intent{
		Commit: string(revision.commit()), Sequence: p.head.sequence + 1,
		Rendered: revision.manifests.Digest(), Started: metav1.NewTime(p.started),
	}
	p.out.Intent = &intent
	if err := p.progress(ctx, report.Progress(p.factory, intent, len(todo.Changes()))); err != nil {
		return at(v1alpha1.ConditionApplied, report.ReasonClusterUnreachable, fmt.Errorf("storing the intent: %w", err))
	}
	return nil
}

// apply carries the plan out while the drift watch holds its breath, and
// records what was found changed by others.
func (p *pass) apply(ctx context.Context, revision accepted, todo plan.Plan) (apply.ChangeSet, error) {
	defer p.plant.time("apply")()
	if todo.Empty() {
		p.plant.track(todo.Inventory())
		return apply.ChangeSet{Inventory: todo.Inventory()}, nil
	}
	p.plant.hold(todo.Inventory())
	changes, err := p.plant.engine.Apply(ctx, todo)
	p.plant.track(changes.Inventory)
	p.out.Drifts = driftRecords(changes.Corrected(), p.plant.setup.Clock())
	changes, p.out.Alerts = p.leave(revision, changes)
	p.plant.add(changes)
	if err != nil {
		return changes, at(v1alpha1.ConditionApplied, report.ReasonApplyFailed, err)
	}
	if !changes.Complete() {
		return changes, at(v1alpha1.ConditionApplied, report.ReasonApplyFailed, incomplete(changes))
	}
	return changes, nil
}

// leave takes drift that the component's mode leaves alone out of a change
// set: it is reported, and keeps no revision from being applied.
func (p *pass) leave(revision accepted, changes apply.ChangeSet) (apply.ChangeSet, []v1alpha1.DriftRecord) {
	left := func(r apply.Result) bool { return r.Reason == plan.ReasonDriftLeft }
	var alerts []apply.Result
	for _, r := range changes.Results {
		if c, _ := revision.config.Component(r.Component); left(r) && c.Drift == factory.DriftAlert {
			alerts = append(alerts, r)
		}
	}
	changes.Results = slices.DeleteFunc(slices.Clone(changes.Results), left)
	return changes, driftRecords(alerts, p.plant.setup.Clock())
}

// leavesDrift says whether drift of a component is reported instead of
// corrected, as factory.yaml of the revision in force has it.
func (a accepted) leavesDrift(component string) bool {
	c, ok := a.config.Component(component)
	return ok && c.Drift != factory.DriftCorrect
}

// incomplete names the objects that kept a revision from being applied.
func incomplete(changes apply.ChangeSet) error {
	open := slices.DeleteFunc(slices.Clone(changes.Results), func(r apply.Result) bool {
		return !slices.Contains([]apply.Action{apply.Failed, apply.Waiting, apply.Deleting}, r.Action)
	})
	slices.SortStableFunc(open, func(a, b apply.Result) int {
		return rank(a.Action) - rank(b.Action)
	})
	first := open[0]
	return fmt.Errorf("%d objects are not as declared; first %s: %s %s %s", len(open), plan.Name(first.ID), first.Action, first.Reason, first.Message)
}

func rank(a apply.Action) int {
	return slices.Index([]apply.Action{apply.Failed, apply.Waiting, apply.Deleting}, a)
}

func (p *pass) limits() plan.Limits {
	spec := p.factory.Spec.Prune
	return plan.Limits{MaxPrune: int(spec.MaxObjects), MaxPrunePercent: int(spec.MaxPercent), AllowProtected: spec.AllowProtected}
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

func (p *pass) attested(revision accepted) bool { return p.head.commit == string(revision.commit()) }

func (p *pass) health(ctx context.Context, revision accepted) {
	mode := apply.HealthMode(revision.environment.Health.Mode)
	h, err := p.plant.engine.Health(ctx, revision.manifests, mode, revision.environment.Health.Reason)
	if err != nil {
		p.out.Health = report.Health{Known: true, Status: metav1.ConditionUnknown, Reason: report.ReasonClusterUnreachable, Message: err.Error()}
		return
	}
	p.out.Health = healthOf(h, mode)
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

// Manifests are what was rendered.
func (r rendered) Manifests() render.Manifests { return r.manifests }
