package reconciler

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
)

// Preview goes through the stages up to the plan, with the same code as a pass
// of the controller, and stops there: nothing is written.
func Preview(ctx context.Context, setup *Setup, key client.ObjectKey) (plan.Plan, error) {
	var f v1alpha1.Factory
	if err := setup.Reader.Get(ctx, key, &f); err != nil {
		return plan.Plan{}, fmt.Errorf("reading the Factory: %w", err)
	}
	p, err := newPlant(setup, key)
	if err != nil {
		return plan.Plan{}, err
	}
	walk := &pass{plant: p, factory: &f, started: setup.Clock(), out: report.Outcome{Now: setup.Clock()}}
	if err := walk.prepare(ctx); err != nil {
		return plan.Plan{}, err
	}
	revision, err := walk.accept(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	observation, err := walk.observe(ctx, revision)
	if err != nil {
		return plan.Plan{}, err
	}
	todo, err := plan.Compute(revision.manifests, observation, walk.limits(revision))
	if err != nil {
		return plan.Plan{}, err
	}
	return todo.LeaveDrift(revision.leavesDrift), nil
}
