package reconciler

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
)

// Companions reads what was decided before the first writes of a factory's
// revisions, unverified, by the digests by which records name it.
func Companions(ctx context.Context, reader client.Reader, factory client.ObjectKey) (map[string]string, error) {
	var list v1alpha1.AppliedRevisionList
	if err := reader.List(ctx, &list, client.InNamespace(factory.Namespace)); err != nil {
		return nil, fmt.Errorf("listing the verdicts: %w", err)
	}
	found := map[string]string{}
	for _, r := range list.Items {
		if r.Spec.Factory != factory.Name || r.Spec.Type != v1alpha1.RecordVerdict {
			continue
		}
		for _, bundle := range []string{r.Spec.Bundle, r.Spec.SourceVerification, r.Spec.Provenance} {
			if bundle != "" {
				found[attest.Digest([]byte(bundle))] = bundle
			}
		}
	}
	return found, nil
}
