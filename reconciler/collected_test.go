package reconciler_test

import (
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/kubetest"
)

// TestWhatTheGarbageCollectorTakesIsMadeAnewAndTheCauseIsTold has Kubernetes' own
// collector delete a declared object that somebody made depend on another one.
func TestWhatTheGarbageCollectorTakesIsMadeAnewAndTheCauseIsTold(t *testing.T) { // row H15
	t.Parallel()
	cluster, err := kubetest.Start(t.Context(), t.TempDir(), kubetest.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	p := newPlantAt(t, cluster, "")
	p.must(cluster.StartControllers(t.Context(), "garbage-collector-controller"))
	_, end := p.audited()
	defer end()
	p.setConfig("two")
	p.commit(alice, "two")
	p.applied()
	time.Sleep(100 * time.Millisecond) // the watch of ConfigMaps begins with its list

	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace + "-work", Name: "owner"}}
	p.must(p.client.Create(t.Context(), owner))
	key := client.ObjectKey{Namespace: owner.Namespace, Name: "settings"}
	var ours corev1.ConfigMap
	p.must(p.client.Get(t.Context(), key, &ours))
	first := ours.UID
	ours.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
	p.must(p.client.Update(t.Context(), &ours, client.FieldOwner("mallory")))
	p.applied()
	if got, _ := p.settings(); got != "two" {
		t.Fatalf("the object is gone before its owner: %q", got)
	}
	p.must(p.client.Delete(t.Context(), owner))
	p.until("the collector took it", func() bool {
		return apierrors.IsNotFound(p.client.Get(t.Context(), key, &corev1.ConfigMap{}))
	})

	p.until("it is made anew", func() bool {
		p.pass()
		now, _ := p.settings()
		return now == "two"
	})
	p.must(p.client.Get(t.Context(), key, &ours))
	if ours.UID == first || len(ours.OwnerReferences) != 0 {
		t.Errorf("made anew: %v, owners %v", ours.UID != first, ours.OwnerReferences)
	}
	last := p.applied().Status.Drift.Last
	if len(last) == 0 || !strings.HasSuffix(last[0].Object, "settings") || last[0].Manager != "mallory" ||
		strings.Join(last[0].Paths, " ") != ". .metadata.ownerReferences" {
		t.Errorf("on record: %+v", last)
	}
	p.auditIsClean(1)
}

// until waits for something with a deadline for busy machines.
func (p *plant) until(what string, so func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain until %s", what)
		}
	}
}
