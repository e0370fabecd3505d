package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	pipelinev1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1alpha1"
	"github.com/tektoncd/pipeline/pkg/trustedresources"
	"go.uber.org/zap"
	"knative.dev/pkg/logging"
)

// verify asks of each namespace in which there is a policy what a run in it would be
// told of each resource.
func verify(ctx context.Context, found *objects, out io.Writer) error {
	policies := map[string][]*v1alpha1.VerificationPolicy{}
	for _, p := range found.policies {
		policies[p.Namespace] = append(policies[p.Namespace], p)
	}
	if len(policies) == 0 {
		return refuse("catalog/policy", "render the catalog with its VerificationPolicy", "nothing says whose signature counts")
	}
	for _, namespace := range slices.Sorted(maps.Keys(policies)) {
		for _, p := range policies[namespace] {
			// One that only warns refuses nothing.
			if p.Spec.Mode == v1alpha1.ModeWarn {
				return refuse("catalog/policy", "mode: enforce", "VerificationPolicy %s/%s does not enforce", namespace, p.Name)
			}
			for _, a := range p.Spec.Authorities {
				if a.Key == nil || a.Key.Data == "" {
					return refuse("catalog/policy", "write the public key into it: who may change another object may not change it", "the key of %q in VerificationPolicy %s/%s is elsewhere", a.Name, namespace, p.Name)
				}
			}
		}
		for _, s := range found.resources {
			if err := means(s); err != nil {
				return err
			}
			s.SetDefaults(ctx)
			if err := accepted(ctx, s, policies[namespace]); err != nil {
				return fmt.Errorf("in namespace %s: %w", namespace, err)
			}
		}
		fmt.Fprintf(out, "%d signatures hold for runs in %s\n", len(found.resources), namespace)
	}
	return nil
}

// accepted is Tekton's own verification, with the address that the cluster resolver
// gives to a resource. The end of it is the object's id in a cluster, which no
// signature is about.
func accepted(ctx context.Context, s signable, policies []*v1alpha1.VerificationPolicy) error {
	ctx = logging.WithLogger(ctx, zap.NewNop().Sugar()) // what it says is in its answer
	source := &pipelinev1.RefSource{URI: fmt.Sprintf("/apis/tekton.dev/v1/namespaces/%s/%s/%s@00000000-0000-0000-0000-000000000000",
		s.GetNamespace(), strings.ToLower(s.kind), s.GetName())}
	result := trustedresources.VerifyResource(ctx, s.resource, nil, source, policies)
	switch {
	case result.VerificationResultType == trustedresources.VerificationPass:
		return nil
	case result.Err == nil:
		return refuse("catalog/policy", "write a pattern that fits it", "no policy is about %s %s (%s)", s.kind, s.GetName(), source.URI)
	}
	return refuse("catalog/signature", "sign the catalog with the key that the VerificationPolicy names", "%s %s: %v", s.kind, s.GetName(), result.Err)
}
