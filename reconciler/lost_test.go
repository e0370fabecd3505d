package reconciler_test

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/report"
)

// TestADefinitionOrANamespaceThatSomebodyDeletedIsALossOfData deletes both as
// Kubernetes does it, with all that they hold.
func TestADefinitionOrANamespaceThatSomebodyDeletedIsALossOfData(t *testing.T) { // row H03
	t.Parallel()
	cluster, err := kubetest.Start(t.Context(), t.TempDir(), kubetest.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	p := newPlantAt(t, cluster, "")
	p.must(cluster.StartControllers(t.Context(), "namespace-controller"))
	p.setConfig("two")
	p.commit(alice, "two")
	p.applied()
	if said := p.said(report.ReasonDataLost); len(said) != 0 {
		t.Fatalf("lost while everything was made: %v", said)
	}

	// Somebody's own object of the kind, and one in the namespace.
	policy := &unstructured.Unstructured{}
	policy.SetGroupVersionKind(schema.GroupVersionKind{Group: "policies.kyverno.io", Version: "v1", Kind: "ValidatingPolicy"})
	policy.SetName("of-somebody")
	p.must(p.client.Create(t.Context(), policy.DeepCopy()))
	p.must(p.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace + "-work", Name: "of-somebody"}}))

	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "validatingpolicies.policies.kyverno.io"}}
	p.losing(crd, "CustomResourceDefinition.apiextensions.k8s.io validatingpolicies.policies.kyverno.io was deleted and is there again, "+
		"without anything that was of the kind ValidatingPolicy: 1 declared objects are made anew")
	if err := p.client.Get(t.Context(), client.ObjectKeyFromObject(policy), policy); !apierrors.IsNotFound(err) {
		t.Errorf("what nobody declared is not lost: %v", err)
	}
	p.losing(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.namespace + "-work"}},
		"Namespace "+p.namespace+"-work was deleted and is there again, without anything that was in it: 1 declared objects are made anew")
	if now, _ := p.settings(); now != "two" {
		t.Errorf("the cluster says %q", now)
	}
	p.applied()
	if said := p.said(report.ReasonDataLost); len(said) != 0 {
		t.Errorf("told again: %v", said)
	}
	p.auditIsClean(1)
}

// losing deletes an object and waits until it is there again, which has to be told
// once.
func (p *plant) losing(o client.Object, want string) {
	p.t.Helper()
	key := client.ObjectKeyFromObject(o)
	p.must(p.client.Get(p.t.Context(), key, o))
	before := o.GetUID()
	p.must(p.client.Delete(p.t.Context(), o))
	var told []string
	p.until("it is there again", func() bool {
		f := p.pass()
		told = append(told, p.said(report.ReasonDataLost)...)
		err := p.client.Get(p.t.Context(), key, o)
		return err == nil && o.GetUID() != before && conditionOf(f, "Ready").Status == metav1.ConditionTrue
	})
	if len(told) != 1 || !strings.Contains(told[0], want) {
		p.t.Errorf("told %q, want %q", told, want)
	}
}

// said takes the events of a reason that were told since the last time.
func (p *plant) said(reason string) []string {
	var out []string
	for {
		select {
		case e := <-p.events.Events:
			if strings.Contains(e, " "+reason+" ") {
				out = append(out, e)
			}
		default:
			return out
		}
	}
}
