package reconciler

import (
	"context"
	"errors"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
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
	// progress stores a status before the first write of a revision, and returns the
	// Factory as it is stored then; nil in a preview.
	progress func(context.Context, v1alpha1.FactoryStatus) (*v1alpha1.Factory, error)
	started  time.Time
	out      report.Outcome
	head     head
	// looked is when everything was looked at last before this pass.
	looked time.Time
	// untrusted is why the trusted root could not be read in this pass, while
	// an older one is in force: nothing new is accepted.
	untrusted error
	// checkout is what was fetched; empty when nothing could be.
	checkout source.Checkout
	// halfway is the newest accepted commit before a tip that is refused.
	halfway gitverify.ID
	// again says that a revision is examined that was in force before, permitted
	// that the rules of what it affects were met then.
	again, permitted bool
	// ahead is what is done beside the pass; intended waits until the intent is stored,
	// and is nil where it is not being stored.
	ahead    ahead
	intended func() error
	// look says that every object is looked at before it is written.
	look bool
}

// accepted is a revision that passed every stage before the cluster.
type accepted struct {
	verification gitverify.Verification
	rendered
	verdict policy.Verdict
	// rulings are those of what the revision affects (rule T12), tag the tag that
	// was followed.
	rulings []gitverify.Ruling
	tag     gitverify.ID
	// materials are what the manifests were made of.
	materials []attest.Descriptor
	// trust is the digest of the trusted root that it was verified with,
	// floors the revisions that it was found to descend from.
	trust  string
	floors []gitverify.ID
}

// rendered is the output of the render stage with the configuration in force.
type rendered struct {
	manifests   render.Manifests
	config      factory.Config
	environment factory.Environment
}

func (a rendered) rendering() factory.Rendering {
	return factory.Rendering{Config: a.config, Environment: a.environment, Manifests: a.manifests}
}

func (a accepted) commit() gitverify.ID { return a.verification.Commit() }

// name tells a revision from every other one of this process: the same commit in
// another environment is another.
func (a accepted) name() string { return string(a.commit()) + " " + a.manifests.Digest() }

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

// Explain describes an error of a pass or of [Preview]; otherwise is the reason
// of an error that no stage has named.
func Explain(err error, otherwise string) report.Problem {
	var stage *stageError
	if errors.As(err, &stage) {
		otherwise = stage.otherwise
	}
	problem := report.Describe(err, otherwise)
	if errors.Is(err, errChain) || errors.Is(err, errOtherCluster) {
		problem.Class = report.No
	}
	return problem
}

func (p *pass) problem(condition string, err error) *report.StageProblem {
	var stage *stageError
	if errors.As(err, &stage) {
		condition = stage.condition
	}
	problem := Explain(err, report.ReasonApplyFailed)
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
