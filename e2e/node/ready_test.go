package node

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWhatAnEarlierKubeletSaidDoesNotCount has an API server that knows the node
// from before, as one has whose data was kept.
func TestWhatAnEarlierKubeletSaidDoesNotCount(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status corev1.ConditionStatus
		beat   time.Time
		want   string
	}{
		"Ready":                          {corev1.ConditionTrue, now.Add(3 * time.Second), ""},
		"Ready, but before it began":     {corev1.ConditionTrue, now.Add(-time.Minute), "the node is not Ready"},
		"Ready, in the second it began":  {corev1.ConditionTrue, now, "the node is not Ready"},
		"not Ready, and the reason":      {corev1.ConditionFalse, now.Add(3 * time.Second), "the node is not Ready: Network: no plugin"},
		"not Ready, before it had begun": {corev1.ConditionFalse, now.Add(-time.Minute), "the node is not Ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(&corev1.Node{
					TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
					Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
						{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, LastHeartbeatTime: metav1.NewTime(c.beat)},
						{Type: corev1.NodeReady, Status: c.status, LastHeartbeatTime: metav1.NewTime(c.beat), Reason: "Network", Message: "no plugin"},
					}},
				})
			}))
			defer api.Close()
			err := (&Node{admin: access{url: api.URL}, began: now}).ready(t.Context())
			if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
