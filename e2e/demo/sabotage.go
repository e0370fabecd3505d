package main

import (
	"context"
	"fmt"

	"millwright.dev/millwright/e2e/localfactory"
)

// A sabotage takes one defence away from outside, without telling the product
// or the story. The demonstration must then fail: a test of the tests.
const (
	// sabotageVerify lists the stranger in the trust policy.
	sabotageVerify = "verify"
	// sabotagePolicy replaces the policy process by one that allows everything.
	sabotagePolicy = "policy"
	// sabotageDrift suspends the Factory before the hand edit.
	sabotageDrift = "drift"
)

// policyEngine is the program that the controller asks about manifests.
func (d *demo) policyEngine(ctx context.Context) (string, error) {
	if d.options.sabotage != sabotagePolicy {
		return d.site.PolicyEngine(), nil
	}
	if err := localfactory.Build(ctx, d.options.root, d.site.Path("bin"), "./e2e/demo/yes-engine"); err != nil {
		return "", err
	}
	return d.site.Path("bin", "yes-engine"), nil
}

func (d *demo) sabotageDrift(ctx context.Context) error {
	if d.options.sabotage != sabotageDrift {
		return nil
	}
	f, err := localfactory.GetFactory(ctx, d.api)
	if err != nil {
		return err
	}
	f.Spec.Suspend = true
	if err := d.api.Update(ctx, f); err != nil {
		return fmt.Errorf("suspending the Factory: %w", err)
	}
	return nil
}
