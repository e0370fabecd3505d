package reconciler_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// What is signed while a revision is looked into is what is stored: source,
// provenance, verdict and record are each signed once.
func TestWhatIsSignedAheadIsNotSignedAgain(t *testing.T) {
	p := newPlant(t)
	stamps := newSpoiled(t, p.sigstore.TimestampURL)
	p.keyless(func(s *v1alpha1.AttestSpec) { s.TimestampAuthority = stamps.URL + "/api/v1/timestamp" })
	for _, value := range []string{"one", "two"} {
		before := stamps.asked.Load()
		p.setConfig(value)
		p.commit(alice, value)
		p.applied()
		if n := stamps.asked.Load() - before; n != 4 {
			t.Errorf("%s: %d timestamps were asked for, not one for each of four statements", value, n)
		}
	}
	if n := len(p.records()); n != 2 {
		t.Errorf("%d records", n)
	}
}

func TestALogInTilesIsRefusedWithoutATimestampAuthority(t *testing.T) {
	p := newPlant(t)
	p.keyless()
	var f v1alpha1.Factory
	p.must(p.client.Get(t.Context(), client.ObjectKey{Namespace: p.namespace, Name: "factory"}, &f))
	f.Spec.Attest.RekorVersion, f.Spec.Attest.TimestampAuthority = 2, ""
	if err := p.client.Update(t.Context(), &f); err == nil || !strings.Contains(err.Error(), "a timestampAuthority is needed") {
		t.Errorf("it answers %v", err)
	}
	f.Spec.Attest.TimestampAuthority = p.sigstore.TimestampURL
	p.must(p.client.Update(t.Context(), &f))
}
