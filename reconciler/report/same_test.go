package report

import (
	"encoding/json"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// A time that is kept to the second is no news when it comes back from the API server;
// one with a fraction would be written again.
func TestATimeToTheSecondIsTheSameAfterItWasStored(t *testing.T) {
	t.Parallel()
	for _, fraction := range []time.Duration{0, time.Millisecond} {
		said := v1alpha1.FactoryStatus{Drift: v1alpha1.Drift{Swept: &v1alpha1.Sweep{Time: metav1.NewTime(time.Now().Truncate(time.Second).Add(fraction))}}}
		data, err := json.Marshal(said)
		if err != nil {
			t.Fatal(err)
		}
		var stored v1alpha1.FactoryStatus
		if err := json.Unmarshal(data, &stored); err != nil {
			t.Fatal(err)
		}
		if got := SameStatus(said, stored); got != (fraction == 0) {
			t.Errorf("with a fraction of %s the same: %t", fraction, got)
		}
	}
}
