package main

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/faultproxy"
)

// rival is a second controller for the same Factory, with a disk and a way to
// the API server of its own.
type rival struct {
	proxy *faultproxy.Proxy
	flags []string
}

func (w *world) rival(name string) rival {
	w.t.Helper()
	proxy, err := faultproxy.Start(w.cluster.Config())
	w.must(err)
	w.t.Cleanup(proxy.Stop)
	w.must(w.cluster.WriteKubeconfig(w.path("kubeconfig-"+name), proxy.Config()))
	return rival{proxy, []string{
		"--kubeconfig", w.path("kubeconfig-" + name), "--data-dir", w.path("data-" + name), "--leader-elect",
		"--frontier-key-file", w.path("frontier-key-" + name),
	}}
}

// holder is who has the lease.
func (w *world) holder() string {
	w.t.Helper()
	var list coordinationv1.LeaseList
	w.must(w.client.List(w.t.Context(), &list, client.InNamespace(w.namespace)))
	if len(list.Items) == 0 || list.Items[0].Spec.HolderIdentity == nil {
		return ""
	}
	return *list.Items[0].Spec.HolderIdentity
}

// changed are the writes that a proxy let through, other than to leases and events.
func changed(p *faultproxy.Proxy) []faultproxy.Seen {
	var out []faultproxy.Seen
	for _, s := range p.Writes() {
		if s.Resource != "leases" && s.Resource != "events" {
			out = append(out, s)
		}
	}
	return out
}

// edit changes a declared object as somebody else.
func (w *world) edit(name, value string) {
	w.t.Helper()
	c := &corev1.ConfigMap{}
	w.must(w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace + "-work", Name: name}, c))
	c.Data["key"] = value
	if err := w.client.Update(w.t.Context(), c, client.FieldOwner("mallory")); !apierrors.IsConflict(err) {
		w.must(err)
	}
}

// TestALeaderThatWasStoppedWritesNothingWhenItGoesOn stops a leader for longer
// than its lease in the middle of a revision.
func TestALeaderThatWasStoppedWritesNothingWhenItGoesOn(t *testing.T) { // rows K20, L01
	t.Parallel()
	w := newWorld(t, "stopped", nil)
	one, two := w.rival("one"), w.rival("two")
	commit := w.revise("one", small)
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	held := one.proxy.Inject(faultproxy.Rule{Verbs: []string{"apply"}, Resource: "configmaps", Skip: 5, Fault: faultproxy.HoldCalling(release, func() { once.Do(func() { close(reached) }) })})
	old := w.start(nil, one.flags...)
	<-reached
	// Until every write that it may send at once is on its way, and held: what was
	// about to be sent when it is stopped would be sent when it goes on.
	for before := int64(0); held.Hits() > before; time.Sleep(500 * time.Millisecond) {
		before = held.Hits()
	}
	w.must(old.Signal(syscall.SIGSTOP))
	stopped, written := time.Now(), len(changed(one.proxy))
	w.start(nil, two.flags...)
	w.applied(commit)
	w.audit(1)
	time.Sleep(time.Until(stopped.Add(long(0, 5*time.Minute))))
	w.must(old.Signal(syscall.SIGCONT))
	close(release)
	w.ended(old)
	if old.Err() == nil {
		t.Error("a leader that lost its lease ended as if nothing had happened")
	}
	late := len(changed(one.proxy)) - written
	if held.Hits() == 0 || late > int(held.Hits()) {
		t.Errorf("the old leader was held %d times, and wrote %d times since", held.Hits(), late)
	}
	// What was on its way when it was stopped may have arrived then. Nothing that
	// the new leader had written already was written again.
	first := changed(two.proxy)[0].At
	for _, s := range changed(one.proxy) {
		if s.At.After(first) {
			t.Errorf("the old leader wrote after the new one had begun: %s %s", s.Verb, s.Object())
		}
	}
	w.promises("one", small, 1)
}

// TestALeaderThatCannotRenewStopsBeforeAnotherBegins cuts a leader off from its
// lease alone: to everything else it could go on writing, and has reason to.
func TestALeaderThatCannotRenewStopsBeforeAnotherBegins(t *testing.T) { // rows L02, F12
	t.Parallel()
	w := newWorld(t, "parted", nil)
	one, two := w.rival("one"), w.rival("two")
	commit := w.revise("one", small)
	old := w.start(nil, one.flags...)
	w.applied(commit)
	w.start(nil, two.flags...)
	cut := one.proxy.Inject(faultproxy.Rule{Resource: "leases", Fault: faultproxy.Drop()})
	ended := false
	for !ended { // drift all the while
		w.edit("c-00", time.Now().Format(time.RFC3339Nano))
		select {
		case <-old.Done():
			ended = true
		case <-time.After(200 * time.Millisecond):
		}
		if t.Context().Err() != nil {
			return
		}
	}
	w.until("the other one takes over", func() bool { return len(changed(two.proxy)) > 0 })
	w.until("drift is put back", func() bool { return w.values()["one"] == small })
	last, first := changed(one.proxy), changed(two.proxy)[0].At
	if end := last[len(last)-1].Done; !end.Before(first) || cut.Hits() == 0 {
		t.Errorf("the old leader wrote until %v, the new one from %v; the lease was cut off %d times", end, first, cut.Hits())
	}
	if len(last) < small+5 {
		t.Errorf("the old leader had no reason to write: %d writes", len(last))
	}
	w.promises("one", small, 1)
}

func TestTwoControllersWithoutALeaseLeaveOneRecordOfEachRevision(t *testing.T) { // row F12
	t.Parallel()
	w := newWorld(t, "twice", nil)
	commit := w.revise("one", small)
	for _, name := range []string{"one", "two"} {
		r := w.rival(name)
		w.start(nil, append(r.flags, "--leader-elect=false")...)
	}
	for i, value := range []string{"one", "two", "three"} {
		if i > 0 {
			commit = w.revise(value, small)
		}
		w.applied(commit)
		w.until("all is as declared", func() bool { return w.values()[value] == small })
		w.audit(i + 1)
	}
	w.promises("three", small, 3)
}

func TestALeaseThatSomebodyDeletesOrTakesIsFoughtForInOrder(t *testing.T) { // row L03
	t.Parallel()
	w := newWorld(t, "leaseless", nil)
	one := w.rival("one")
	commit := w.revise("one", small)
	leader := w.start(nil, one.flags...)
	w.applied(commit)
	mine := w.holder()
	w.must(w.client.DeleteAllOf(t.Context(), &coordinationv1.Lease{}, client.InNamespace(w.namespace)))
	w.until("the lease is there again", func() bool { return w.holder() == mine })
	w.applied(w.revise("two", small))
	var list coordinationv1.LeaseList
	w.must(w.client.List(t.Context(), &list, client.InNamespace(w.namespace)))
	stranger := "mallory"
	list.Items[0].Spec.HolderIdentity = &stranger
	w.must(w.client.Update(t.Context(), &list.Items[0]))
	w.ended(leader)
	if leader.Err() == nil || w.holder() != stranger {
		t.Errorf("the leader ended with %v, the lease is %s's", leader.Err(), w.holder())
	}
	w.start(nil, one.flags...)
	w.applied(w.revise("three", small))
	w.promises("three", small, 3)
}

// TestAStandbyWithAnEmptyDiskDecidesAsTheLeaderDid is also about the end of a
// leader in order: it gives the lease up, so that nobody has to wait for it.
func TestAStandbyWithAnEmptyDiskDecidesAsTheLeaderDid(t *testing.T) { // rows L04, K19
	t.Parallel()
	w := newWorld(t, "standby", nil)
	one, two := w.rival("one"), w.rival("two")
	commit := w.revise("one", small)
	leader := w.start(nil, one.flags...)
	w.applied(commit)
	w.start(nil, two.flags...)
	w.declare("evil", small)
	w.commit(nobody)
	w.until("the unsigned commit is refused", func() bool { return w.factory().Status.Refused != nil })
	refused := w.factory().Status.Refused.Code
	w.must(leader.Signal(syscall.SIGTERM))
	w.ended(leader)
	if err := leader.Err(); err != nil {
		t.Errorf("a leader that was asked to end: %v", err)
	}
	old := w.holder()
	w.until("the standby leads", func() bool { h := w.holder(); return h != "" && h != old })
	asked := w.git.Requests()
	w.until("it made passes", func() bool { return w.git.Requests() > asked+3 })
	if _, err := os.Stat(w.path("data-two")); err != nil {
		t.Error(err)
	}
	if f := w.factory(); f.Status.Refused == nil || f.Status.Refused.Code != refused || w.values()["one"] != small {
		t.Errorf("the standby decides otherwise: %+v, %v", f.Status.Refused, w.values())
	}
	for _, s := range changed(two.proxy) {
		if s.Verb == "apply" || s.Verb == "delete" || s.Resource == "appliedrevisions" {
			t.Errorf("the standby wrote what was there: %s %s", s.Verb, s.Object())
		}
	}
	w.local("reset", "-q", "--hard", "HEAD~1")
	w.applied(w.revise("two", small))
	w.promises("two", small, 2)
}

// local runs git in the work tree.
func (w *world) local(args ...string) {
	w.t.Helper()
	_, err := w.sigstore.Git(w.t.Context(), w.work, nobody, args...)
	w.must(err)
}

// TestAControllerThatIsAskedToEndFinishesWhatItBegan asks in the middle of a
// write.
func TestAControllerThatIsAskedToEndFinishesWhatItBegan(t *testing.T) { // row K19
	t.Parallel()
	w := newWorld(t, "asked", nil)
	commit := w.revise("one", small)
	reached, release := make(chan struct{}), make(chan struct{})
	held := w.proxy.Inject(faultproxy.Rule{Verbs: []string{"apply"}, Resource: "configmaps", Skip: 4, Times: 1, Fault: faultproxy.HoldCalling(release, func() { close(reached) })})
	c := w.start(nil, "--leader-elect")
	<-reached
	began := time.Now()
	w.must(c.Signal(syscall.SIGTERM))
	time.Sleep(200 * time.Millisecond) // it has heard
	close(release)
	w.ended(c)
	took := time.Since(began)
	t.Logf("it ended %v after it was asked", took)
	if err := c.Err(); err != nil || took > 2*shutdownGrace {
		t.Errorf("it ended after %v with %v\n%s", took, err, w.log(10))
	}
	if h := w.holder(); h != "" {
		t.Errorf("the lease is still held by %s", h)
	}
	if n := w.values()["one"]; n == 0 || n == small || held.Hits() != 1 {
		t.Fatalf("%d objects were written before the end, the write was held %d times", n, held.Hits())
	}
	kept := false
	for _, s := range w.proxy.Writes() {
		if s.Verb != "create" && !s.Delivered {
			t.Errorf("torn off: %s %s", s.Verb, s.Object())
		}
		kept = kept || s.Verb == "update" && s.Resource == "configmaps" && strings.Contains(s.Name, "inventory") && s.At.After(began)
	}
	if !kept {
		t.Error("what was written was not recorded")
	}
	before := map[string]int{}
	w.start(nil)
	w.applied(commit)
	w.once(before)
	w.promises("one", small, 1)
}

// TestDriftDuringAPartitionIsPutBackAfterIt has the API server hang, and be away.
func TestDriftDuringAPartitionIsPutBackAfterIt(t *testing.T) { // row L05
	t.Parallel()
	w := newWorld(t, "partition", nil)
	commit := w.revise("one", small)
	w.start(nil)
	w.applied(commit)
	for _, how := range []string{"hangs", "is away"} {
		heal := func() { w.proxy.Away(false) }
		if how == "hangs" {
			heal = w.proxy.Part()
		} else {
			w.proxy.Away(true)
		}
		before := len(changed(w.proxy))
		w.edit("c-03", "drifted")
		w.must(w.client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metaOf(w.namespace+"-work", "c-04")}))
		time.Sleep(long(3*time.Second, 10*time.Minute))
		if n := len(changed(w.proxy)); n != before || w.values()["drifted"] != 1 {
			t.Errorf("the API server %s, and something got through", how)
		}
		heal()
		healed := time.Now()
		w.until("drift is put back", func() bool { return w.values()["one"] == small })
		took := time.Since(healed).Round(time.Millisecond)
		t.Logf("when the API server that %s is back: put back after %v", how, took)
		if soaks() && took > 2*time.Second {
			t.Errorf("drift was put back %v after the API server that %s was back", took, how)
		}
	}
	w.promises("one", small, 1)
}
