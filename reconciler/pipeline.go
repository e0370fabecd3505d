package reconciler

import (
	"context"
	"errors"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
)

// run is one pass: what the ref says, if it may; otherwise what was last
// applied, which stays enforced whatever happened to the tip.
func (p *pass) run(ctx context.Context) report.Outcome {
	if err := p.prepare(ctx); err != nil {
		p.keep(ctx, err)
		p.failed(v1alpha1.ConditionAttested, err)
		return p.out
	}
	if p.mend(ctx) {
		return p.out
	}
	revision, err := p.accept(ctx)
	p.out.PoliciesTested = len(revision.verdict.Policies)
	if err != nil {
		p.refused(err)
		p.publish(ctx)
		if revision, err = p.lastGood(ctx); err != nil {
			p.unenforced(err)
			p.watch(ctx)
			return p.out
		}
	}
	p.watch(ctx)
	p.enforce(ctx, revision)
	return p.out
}

// accept fetches the tip of the ref and has it examined, unless the answer is
// known already.
func (p *pass) accept(ctx context.Context) (accepted, error) {
	if p.untrusted != nil {
		return accepted{}, p.untrusted
	}
	checkout, err := p.fetch(ctx)
	if err != nil {
		return accepted{}, err
	}
	if known, ok := p.remembered(checkout); ok {
		return known, nil
	}
	if no, known := p.judged(checkout); known {
		p.halfway = no.accepted
		return accepted{}, no.err
	}
	revision, err := p.examine(ctx, checkout)
	if err != nil {
		p.halfway = p.acceptedBefore(ctx, checkout, err)
		return accepted{}, p.judge(checkout, err)
	}
	return revision, nil
}

// examine takes a commit through every stage before the cluster. Each stage
// wants the value of the one before; none can be left out.
func (p *pass) examine(ctx context.Context, checkout source.Checkout) (accepted, error) {
	verification, err := p.verify(ctx, checkout)
	if err != nil {
		return accepted{}, err
	}
	p.certify(ctx, verification)
	p.plant.startTester()
	tree, err := p.tree(ctx, checkout, verification)
	if err != nil {
		return accepted{}, err
	}
	rendered, err := p.render(tree)
	if err != nil {
		return accepted{}, err
	}
	revision := accepted{tag: checkout.Tag, verification: verification, rendered: rendered}
	p.packAhead(ctx, revision)
	if revision.materials, err = p.materials(verification, tree, rendered); err != nil {
		return accepted{}, err
	}
	if revision.rulings, err = p.permit(ctx, verification, rendered, tree); err != nil {
		return accepted{}, err
	}
	p.stateAhead(ctx, revision)
	if revision.verdict, err = p.test(ctx, rendered.manifests); err != nil {
		return accepted{}, err
	}
	return p.remember(revision), nil
}

// enforce makes the cluster what an accepted revision says, and leaves a record
// of how it was kept when one is due.
func (p *pass) enforce(ctx context.Context, revision accepted) {
	p.converge(ctx, revision)
	p.tell(ctx, revision)
}

// converge makes the cluster what an accepted revision says, and leaves the
// evidence. An empty plan of an attested revision ends it.
func (p *pass) converge(ctx context.Context, revision accepted) {
	p.plant.enforced = revision.name()
	if p.quiet(revision) {
		return
	}
	p.decideAhead(ctx, revision)
	same := p.where(ctx, revision)
	observation, err := p.observe(ctx, revision)
	if err != nil {
		p.failed(v1alpha1.ConditionApplied, err)
		return
	}
	todo, err := plan.Compute(revision.manifests, observation, p.limits(revision))
	if err != nil {
		p.unplanned(ctx, revision, err)
		return
	}
	todo = p.damp(todo.LeaveDrift(revision.leavesDrift))
	if err := p.intend(ctx, revision, todo, same); err != nil {
		if errors.Is(err, errHeld) {
			p.keepBefore(ctx, revision)
		}
		p.failed(v1alpha1.ConditionApplied, err)
		return
	}
	changes, err := p.apply(ctx, revision, todo)
	if err != nil && p.lookFirst(changes) {
		p.enforce(ctx, revision)
		return
	}
	if err != nil {
		p.failed(v1alpha1.ConditionApplied, err)
		return
	}
	p.plant.ahead() // what was changed is changed; the rest waits for others more than it works
	p.health(ctx, revision, changes)
	p.attest(ctx, revision, changes)
	p.calm(revision, todo)
}
