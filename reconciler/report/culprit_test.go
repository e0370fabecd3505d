package report

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

func TestADriftIsToldAsFarAsTheObjectTells(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]v1alpha1.DriftRecord{
		"ConfigMap ns/x was changed by kubectl (Update) at .data.a and 1 more; put back": {Manager: "kubectl", Operation: "Update", Paths: []string{".data.a", ".data.b"}},
		"ConfigMap ns/x was changed by kubectl (Update, 2027-01-15T08:00:00Z) at .data.a; put back": {
			Manager: "kubectl", Operation: "Update", Paths: []string{".data.a"}, Changed: &metav1.Time{Time: time.Unix(1_800_000_000, 0)},
		},
		"ConfigMap ns/x was changed at .data.a; put back": {Paths: []string{".data.a"}},
		"ConfigMap ns/x was changed; put back":            {},
		"ConfigMap ns/x was deleted; put back":            {Paths: []string{"."}},
		"ConfigMap ns/x was deleted with what it was made to depend on by kubectl (Update) at .metadata.ownerReferences; put back": {
			Manager: "kubectl", Operation: "Update", Paths: []string{".", ".metadata.ownerReferences"},
		},
	} {
		d.Object = "ConfigMap ns/x"
		if got := driftEvent(d).Message; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}
