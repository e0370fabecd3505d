package reconciler_test

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestAnAPIServerThatIsAwayLosesNothing(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	p.setConfig("while away")
	p.commit(alice, "while away")
	p.cluster.KillAPIServer()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	key := client.ObjectKey{Namespace: p.namespace, Name: "factory"}
	if _, err := p.loop.Reconcile(ctx, reconcile.Request{NamespacedName: key}); err == nil {
		t.Error("a pass without an API server reported no problem")
	}
	p.must(p.cluster.StartAPIServer(t.Context()))
	p.applied()
	if now, _ := p.settings(); now != "while away" {
		t.Errorf("the cluster says %q", now)
	}
	p.auditIsClean(2)
}
