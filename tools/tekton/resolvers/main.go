// Command resolvers is Tekton's program for remote resolution with the one
// resolver that the factory has on: that of definitions in the cluster.
//
// Upstream's has all five in one process, and leaves it to settings which of them
// answer. When it becomes the leader, each of them takes up every request that is
// there, of whatever kind, and one that is switched off answers with a failure
// that is final (Tekton Pipelines 1.15.1): a run that begins just after a restart
// fails. What is not there cannot do that, nor clone from anywhere.
package main

import (
	"github.com/tektoncd/pipeline/pkg/apis/resolution/v1alpha1"
	"github.com/tektoncd/pipeline/pkg/remoteresolution/resolver/cluster"
	"github.com/tektoncd/pipeline/pkg/remoteresolution/resolver/framework"
	filteredinformerfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"
)

func main() {
	ctx := filteredinformerfactory.WithSelectors(signals.NewContext(), v1alpha1.ManagedByLabelKey)
	cfg := injection.ParseAndGetRESTConfigOrDie() // parses the flags, too
	sharedmain.MainWithConfig(ctx, "controller", cfg, framework.NewController(ctx, &cluster.Resolver{}))
}
