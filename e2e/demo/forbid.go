package main

import (
	"context"
	"errors"
	"fmt"

	"millwright.dev/millwright/e2e/localfactory"
)

// forbidden is an object that the factory's own policy POL-K15 does not allow.
const forbidden = `apiVersion: v1
kind: Secret
metadata:
  name: forever-token
  namespace: tekton-chains
  annotations:
    kubernetes.io/service-account.name: tekton-chains-controller
type: kubernetes.io/service-account-token
`

// forbid has bob, who may sign, sign what nobody may have.
func (d *demo) forbid(ctx context.Context) error {
	d.screen.act("Signed by bob, and against the factory's own policy: refused before the cluster sees it")
	if err := d.site.Write("overlays/local/namespaces/token.yaml", forbidden); err != nil {
		return err
	}
	if err := d.edit("overlays/local/namespaces/kustomization.yaml", "resources:\n", "resources:\n- token.yaml\n"); err != nil {
		return err
	}
	before, err := d.applied(ctx)
	if err != nil {
		return err
	}
	commit, err := d.commit(ctx, d.bob, "a token that never expires")
	if err != nil {
		return err
	}
	if err := d.push(ctx, d.bob); err != nil {
		return err
	}
	f, err := localfactory.Await(ctx, d.api, patience, localfactory.Refused(commit, "PolicyViolation"))
	if err := d.screen.claim(err, "commit %s is refused: PolicyViolation", commit[:12]); err != nil {
		return err
	}
	if err := d.doExit(ctx, d.operator, 3, words("millwright status"), shownOfRefusal(f.Status.Refused.Detail)...); err != nil {
		return err
	}
	after, err := d.applied(ctx)
	if err != nil {
		return err
	}
	if changes := after.Changes(before); len(changes) > 0 {
		err = fmt.Errorf("%d objects are not as they were; first %s", len(changes), changes[0])
	}
	if err := d.screen.claim(err, "nothing was applied: all %d objects have the resource version they had before; new are records of refusals only", len(after)); err != nil {
		return err
	}
	return d.stillEnforced(ctx, commit)
}

// stillEnforced proves that a refusal does not leave the cluster alone.
func (d *demo) stillEnforced(ctx context.Context, refused string) error {
	if err := d.handEdit(ctx, "repair while refused", "enable-api-fields", "alpha"); err != nil {
		return err
	}
	f, err := localfactory.GetFactory(ctx, d.api)
	if err != nil {
		return err
	}
	if r := f.Status.Refused; r == nil || r.Commit != refused {
		err = errors.New("the status does not say so")
	}
	return d.screen.claim(err, "meanwhile the last good revision %s stays enforced", f.Status.Applied.Revision)
}
