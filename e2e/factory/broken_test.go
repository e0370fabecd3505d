package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// A component whose pods do not run stops what comes after it, and the Factory says
// why in the words of the pod. The next commit mends it.
func broken(t *testing.T, f *factory) {
	const chains, later = "bases/tekton-chains/patches/controller.yaml", "overlays/local/conformance/conformance.json6902.yaml"
	grace := func() string {
		return f.must(t, "get", "deployment", "--namespace=factory-conformance", "--output=jsonpath={.items[*].spec.template.spec.containers[*].args}")
	}
	f.edit(t, chains, "-timeout=10m", "-timeout=soon")
	f.edit(t, later, "-grace=20s", "-grace=21s")
	f.send(t, "bob", "a mistake, and something that comes later")
	eventually(t, 2*time.Minute, "the Factory said why", func() error {
		return f.says(t, v1alpha1.ConditionApplied, metav1.ConditionFalse, "HealthGateClosed", "tekton-chains-controller", "container identity: ", "exit code 2")
	})
	if now := grace(); !strings.Contains(now, "-grace=20s") {
		t.Errorf("what comes after a component that does not run was applied: %s", now)
	}
	f.commit(t, "bob", chains, "-timeout=soon", "-timeout=10m")
	eventually(t, 2*time.Minute, "all was well again", func() error {
		return f.says(t, v1alpha1.ConditionHealthy, metav1.ConditionTrue, "")
	})
	if now := grace(); !strings.Contains(now, "-grace=21s") {
		t.Errorf("what waited for it is not applied: %s", now)
	}
}

// says tells whether a condition of the Factory is what is wanted, and has all words.
func (f *factory) says(t *testing.T, condition string, status metav1.ConditionStatus, reason string, words ...string) error {
	made, err := f.status(t)
	if err != nil {
		return err
	}
	c := meta.FindStatusCondition(made.Conditions, condition)
	if c == nil || c.Status != status || reason != "" && c.Reason != reason {
		return errors.New(summary(&v1alpha1.Factory{Status: made}))
	}
	for _, word := range words {
		if !strings.Contains(c.Message, word) {
			return fmt.Errorf("%s does not say %q: %s", condition, word, c.Message)
		}
	}
	return nil
}
