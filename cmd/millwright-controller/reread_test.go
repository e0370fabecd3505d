package main

import (
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAConfigurationThatBecomesInvalidLeavesTheOldOneInForce breaks what the
// controller reads again while it runs: the trusted root on its disk, and the
// factory's configuration in a signed commit. (Its flags are read once; the
// certificate authority of the API server is tried in authority_test.go, the
// trust policy and the Factory object by rows C16 and B28.)
func TestAConfigurationThatBecomesInvalidLeavesTheOldOneInForce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		world      string
		spoil      func(w *world)
		mend       func(w *world)
		says, code string
	}{
		"K21 a trusted root that is no JSON": {
			"root", func(w *world) { w.must(os.WriteFile(w.path("root.json"), []byte("{\"mediaType\": "), 0o600)) },
			func(w *world) { w.copyRoot() }, "trusted root", "",
		},
		"K21 a trusted root that is gone": {
			"noroot", func(w *world) { w.must(os.Remove(w.path("root.json"))) },
			func(w *world) { w.copyRoot() }, "trusted root", "",
		},
		"K21 a factory.yaml with a field that nobody knows": {
			"config", func(w *world) {
				w.write("factory-config/factory.yaml", strings.Replace(factoryConfig, "drift: correct", "drifts: correct", 1))
			},
			func(w *world) { w.write("factory-config/factory.yaml", factoryConfig) }, "factory.yaml", "factory/syntax",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.world, nil)
			w.copyRoot()
			good := w.revise("one", small)
			running := w.start(nil, "--trusted-root", w.path("root.json"))
			w.applied(good)
			c.spoil(w)
			bad := w.revise("two", small)
			w.until("it says what is wrong", func() bool {
				for _, condition := range w.factory().Status.Conditions {
					if condition.Status != metav1.ConditionTrue && strings.Contains(condition.Message, c.says) {
						return true
					}
				}
				return false
			})
			if r := w.factory().Status.Refused; c.code != "" && (r == nil || r.Commit != bad || r.Code != c.code) {
				t.Errorf("refused: %+v, want %s", r, c.code)
			}
			w.edit("c-02", "drifted")
			w.until("drift is put back", func() bool { return w.values()["one"] == small })
			if applied := w.factory().Status.Applied; applied.Commit != good {
				t.Errorf("%s is applied, want %s", applied.Commit, good)
			}
			c.mend(w)
			records := 2
			if c.code == "" { // nothing was wrong with the commit itself
				w.applied(bad)
				records = 3
			}
			w.applied(w.revise("three", small))
			select {
			case <-running.Done():
				t.Errorf("it ended: %v", running.Err())
			default:
			}
			w.promises("three", small, records)
		})
	}
}

// copyRoot writes the trusted root of the local Sigstore where the controller of
// these tests reads it.
func (w *world) copyRoot() {
	w.t.Helper()
	data, err := os.ReadFile(w.sigstore.TrustedRootPath)
	w.must(err)
	w.must(os.WriteFile(w.path("root.json"), data, 0o600))
}
