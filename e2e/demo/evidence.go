package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
)

// showEvidence checks what the factory left behind, first with nothing of ours.
func (d *demo) showEvidence(ctx context.Context) error {
	d.screen.act("Evidence for an auditor: stock cosign, then the whole chain")
	record, err := d.record(ctx, 2)
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.site.Path("bundle.json"), []byte(record.Spec.Bundle), 0o600); err != nil {
		return err
	}
	auditor := d.site.Operator()
	auditor.Name = "auditor"
	signed := []string{
		"--trusted-root", "trusted_root.json", "--type", attest.PredicateType,
		"--certificate-oidc-issuer", d.site.Sigstore.IssuerURL(sigstoretest.Workload), "--certificate-identity", localfactory.Subject,
	}
	command := func(verb string, more ...string) []string {
		return append(append(words("cosign "+verb+" --new-bundle-format"), signed...), more...)
	}
	if err := d.do(ctx, auditor, command("verify-attestation", record.Status.Reference), "Verification for", "verified"); err != nil {
		return err
	}
	byCommit := command("verify-blob-attestation", "--bundle", "bundle.json", "--digest", record.Spec.Commit, "--digestAlg", "gitCommit")
	if err := d.do(ctx, auditor, byCommit); err != nil {
		return err
	}
	return d.audit(ctx, auditor, record.Spec.Digest)
}

func (d *demo) audit(ctx context.Context, auditor localfactory.Person, newest string) error {
	if err := d.do(ctx, auditor, words("millwright export factory --to factory-export.tar.gz")); err != nil {
		return err
	}
	auditor = d.withoutCluster(auditor)
	us := append(words("millwright audit --export factory-export.tar.gz --trusted-root trusted_root.json --certificate-identity "+localfactory.Subject),
		"--certificate-oidc-issuer", d.site.Sigstore.IssuerURL(sigstoretest.Workload), "--anchor", d.anchor, "--head", newest)
	if err := d.do(ctx, auditor, us, "rendered alike", "yes:"); err != nil {
		return err
	}
	records, err := d.records(ctx)
	if err != nil {
		return err
	}
	if len(records) != 2 {
		err = fmt.Errorf("there are %d records", len(records))
	}
	return d.screen.claim(err, "two revisions were applied, and there are exactly two records")
}

// withoutCluster takes the way to the cluster from somebody.
func (d *demo) withoutCluster(p localfactory.Person) localfactory.Person {
	return p.With("KUBECONFIG=" + d.site.Path("no-such-file"))
}

func (d *demo) records(ctx context.Context) ([]v1alpha1.AppliedRevision, error) {
	var list v1alpha1.AppliedRevisionList
	if err := d.api.List(ctx, &list, client.InNamespace(localfactory.Namespace)); err != nil {
		return nil, fmt.Errorf("listing the records: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(r v1alpha1.AppliedRevision) bool { return !r.Spec.InChain() }), nil
}

// record reads the record with the number, which the registry must have too.
func (d *demo) record(ctx context.Context, sequence int64) (v1alpha1.AppliedRevision, error) {
	var r v1alpha1.AppliedRevision
	key := client.ObjectKey{Namespace: localfactory.Namespace, Name: v1alpha1.AppliedRevisionName(localfactory.Name, sequence)}
	if err := d.api.Get(ctx, key, &r); err != nil {
		return r, fmt.Errorf("reading record %d: %w", sequence, err)
	}
	if !r.Status.Stored {
		return r, fmt.Errorf("record %d is not in the registry", sequence)
	}
	return r, nil
}
