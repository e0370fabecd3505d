package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// issuer of the tokens of workloads.
const issuer = "http://oidc.spire-server.svc.cluster.local"

// giveIdentity ends the time of the first key: the controller starts again with
// the identity that the factory has for it, and everything that it signs from
// then on is signed with that.
func (f *floor) giveIdentity(ctx context.Context) error {
	if err := f.apply(ctx, "-k", f.site.Path("factory", "overlays", "local", "millwright-identity"), "--selector=app.kubernetes.io/name=millwright-controller"); err != nil {
		return err
	}
	if err := f.kubectl(ctx, "rollout", "status", "deployment/millwright-controller", "--namespace="+localfactory.Namespace, "--timeout=90s"); err != nil {
		return err
	}
	// Nobody has the key any more, so this is the last record that it signed.
	last, err := f.lastRecord(ctx)
	if err != nil {
		return err
	}
	public, err := os.ReadFile(f.options.path("keys", "attest.pub"))
	if err != nil {
		return err
	}
	var factory v1alpha1.Factory
	if err := f.api.Get(ctx, client.ObjectKey{Namespace: localfactory.Namespace, Name: localfactory.Name}, &factory); err != nil {
		return err
	}
	before := factory.DeepCopy()
	factory.Spec.Attest = v1alpha1.AttestSpec{
		Signer: "Keyless", Fulcio: inside.Fulcio, Rekor: inside.Rekor, TimestampAuthority: inside.Timestamp + "/api/v1/timestamp",
		Issuer: issuer, Subject: localfactory.Subject, Repository: factory.Spec.Attest.Repository,
		Former: []v1alpha1.FormerSigner{{Until: last, Key: string(public)}},
	}
	// A patch of what changes: the controller writes the status all the time.
	if err := f.api.Patch(ctx, &factory, client.MergeFrom(before), client.FieldOwner(manager)); err != nil {
		return fmt.Errorf("changing who signs: %w", err)
	}
	return nil
}

// lastRecord is the highest sequence number of the factory's records.
func (f *floor) lastRecord(ctx context.Context) (int64, error) {
	var records v1alpha1.AppliedRevisionList
	if err := f.api.List(ctx, &records, client.InNamespace(localfactory.Namespace)); err != nil {
		return 0, err
	}
	var last int64
	for _, r := range records.Items {
		last = max(last, r.Spec.Sequence)
	}
	if last == 0 {
		return 0, errors.New("there is no record of an applied revision")
	}
	return last, nil
}
