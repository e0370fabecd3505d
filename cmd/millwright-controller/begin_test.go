package main

import (
	"maps"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/faultproxy"
)

// The verdict is what has to be durable before the first write. The intent tells people,
// and nobody waits for it, but for the record.
func TestARevisionIsBegunWhenItsVerdictIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "begin", nil)
	one := w.revise("one", small)
	c := w.start(nil)
	defer c.Stop(0)
	w.applied(one)
	until := make(chan struct{})
	rule := w.proxy.Inject(faultproxy.Rule{
		Verbs: []string{"update"}, Resource: "factories", Times: 1, Fault: faultproxy.Hold(until),
		Where: func(r faultproxy.Request) bool { return r.Subresource == "status" },
	})
	defer rule.End()
	commit := w.revise("two", small)
	w.until("everything is written", func() bool { return w.values()["two"] == small })
	if rule.Hits() != 1 || w.factory().Status.Intent != nil {
		t.Errorf("the intent was stored first: the rule was met %d times, the Factory has %+v", rule.Hits(), w.factory().Status.Intent)
	}
	if n := len(w.records()); n != 1 {
		t.Errorf("%d records while the intent is not stored", n)
	}
	close(until)
	w.applied(commit)
	w.promises("two", small, 2)
}

func TestAFactoryThatIsSuspendedMeanwhileIsNotBegunWith(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "meanwhile", nil)
	one := w.revise("one", small)
	c := w.start(nil)
	defer c.Stop(0)
	w.applied(one)
	before := w.writes()
	held, until := make(chan struct{}), make(chan struct{})
	rule := w.proxy.Inject(faultproxy.Rule{
		Verbs: []string{"create"}, Resource: "appliedrevisions", Times: 1, Fault: faultproxy.HoldCalling(until, func() { close(held) }),
	})
	defer rule.End()
	commit := w.revise("two", small)
	<-held
	w.suspend(true)
	time.Sleep(500 * time.Millisecond) // that the cache hears of it
	close(until)
	w.until("it is said to be suspended", func() bool {
		return slices.ContainsFunc(w.factory().Status.Conditions, func(c metav1.Condition) bool {
			return c.Type == v1alpha1.ConditionReady && c.Reason == "Suspended"
		})
	})
	if after := w.writes(); !maps.Equal(before, after) {
		t.Errorf("written while it is suspended: %v, before that %v", after, before)
	}
	w.suspend(false)
	w.applied(commit)
	w.promises("two", small, 2)
}

func (w *world) suspend(is bool) {
	w.t.Helper()
	f := w.factory()
	next := f.DeepCopy()
	next.Spec.Suspend = is
	w.must(w.client.Patch(w.t.Context(), next, client.MergeFrom(f)))
}
