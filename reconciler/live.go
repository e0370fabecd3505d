package reconciler

import (
	"context"
	"io/fs"
	"math"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
)

// Live compares a cluster with what the tree of a verified revision declares for
// an environment. It names the objects that a pass would write now, and says how
// many are declared. Nothing is written, and no limit keeps anything out. Drift
// that is only reported counts; where the configuration says not to look, it
// does not.
func Live(ctx context.Context, access *rest.Config, key client.ObjectKey, tree fs.FS, environment string) (different []string, declared int, err error) {
	out, err := Render(&render.Renderer{}, tree, environment)
	if err != nil {
		return nil, 0, err
	}
	engine, err := apply.New(access, apply.Options{Factory: key.Name, Namespace: key.Namespace})
	if err != nil {
		return nil, 0, err
	}
	revision := accepted{rendered: out}
	inventory, err := engine.LoadInventory(ctx, revision.manifests)
	if err != nil {
		return nil, 0, err
	}
	observation, err := engine.ObserveWith(ctx, revision.manifests, inventory, apply.Heed{Ignore: revision.ignores, Exact: revision.exact, Sweep: true})
	if err != nil {
		return nil, 0, err
	}
	todo, err := plan.Compute(revision.manifests, observation, plan.Limits{
		MaxPrune: math.MaxInt32, MaxPrunePercent: 100, AllowProtected: true, Rules: revision.rules(),
	})
	if err != nil {
		return nil, 0, err
	}
	for _, c := range todo.Changes() {
		if !c.Drift || revision.rule(c.Component, c.ID).Drift != factory.DriftOff {
			different = append(different, plan.Name(c.ID))
		}
	}
	for _, b := range todo.Blocked() {
		different = append(different, plan.Name(b.ID))
	}
	return different, len(revision.manifests.Objects()), nil
}
