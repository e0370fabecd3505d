package reconciler_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/faultproxy"
)

// many is how many small objects the factory of these tests has beside its own.
const many = 12

// faulty is a plant whose controller reaches the API server through a proxy.
type faulty struct {
	*plant
	proxy *faultproxy.Proxy
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	p := newPlant(t)
	proxy, err := faultproxy.Start(p.cluster.Config())
	p.must(err)
	t.Cleanup(proxy.Stop)
	p.access = proxy.Config()
	p.restart()
	return &faulty{p, proxy}
}

// setMany declares the small objects with a value.
func (f *faulty) setMany(value string) {
	var out strings.Builder
	fmt.Fprintf(&out, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: %s-work}\ndata: {key: %q}\n", f.namespace, value)
	for i := range many {
		fmt.Fprintf(&out, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-%02d, namespace: %s-work}\ndata: {key: %q}\n", i, f.namespace, value)
	}
	f.write("overlays/local/app/config.yaml", out.String())
}

// attempt is a pass that may fail.
func (f *faulty) attempt() (*v1alpha1.Factory, error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	key := client.ObjectKey{Namespace: f.namespace, Name: "factory"}
	_, err := f.loop.Reconcile(ctx, reconcile.Request{NamespacedName: key})
	var now v1alpha1.Factory
	f.must(f.client.Get(f.t.Context(), key, &now))
	return &now, err
}

// settle goes on as the controller would until the commit is applied.
func (f *faulty) settle(commit string) {
	f.t.Helper()
	var last error
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); {
		now, err := f.attempt()
		if now.Status.Applied != nil && now.Status.Applied.Commit == commit && conditionOf(now, v1alpha1.ConditionReady).Status == metav1.ConditionTrue {
			return
		}
		last = fmt.Errorf("%w; %+v", err, now.Status.Conditions)
		time.Sleep(100 * time.Millisecond)
	}
	f.t.Fatalf("it does not converge: %v", last)
}

// values are those of all declared ConfigMaps.
func (f *faulty) values() map[string]int {
	f.t.Helper()
	var list corev1.ConfigMapList
	f.must(f.client.List(f.t.Context(), &list, client.InNamespace(f.namespace+"-work")))
	out := map[string]int{}
	for _, c := range list.Items {
		out[c.Data["key"]]++
	}
	return out
}

// written counts how often each declared object was written.
func (f *faulty) written() map[string]int {
	out := map[string]int{}
	for _, w := range f.proxy.Writes() {
		if w.Verb == "apply" {
			out[w.Object()]++
		}
	}
	return out
}

// promises are P1 to P4 after a fault: everything is as declared, nothing is
// lost, each revision has one record, each object was written once (twice where
// nobody could know whether the first one arrived), and then nothing is written
// any more. An unsigned commit is tried in the end, to see that no fault made
// the controller trust anybody.
func (f *faulty) promises(value string, records, twice int) {
	f.t.Helper()
	if got, want := f.values(), map[string]int{value: many + 1}; !maps.Equal(got, want) {
		f.t.Errorf("the cluster has %v, want %v", got, want)
	}
	more := 0
	for object, n := range f.written() {
		if n > 2 {
			f.t.Errorf("%s was written %d times", object, n)
		}
		more += max(n-1, 0)
	}
	if more > twice {
		f.t.Errorf("%d objects were written twice, want at most %d: %v", more, twice, f.written())
	}
	f.auditIsClean(records)
	before := f.proxy.Count()
	for range 2 {
		if _, err := f.attempt(); err != nil {
			f.t.Errorf("a pass after the fault: %v", err)
		}
	}
	if after := f.proxy.Count(); !maps.Equal(before, after) {
		f.t.Errorf("passes without news wrote: before %v, after %v", before, after)
	}
	f.setMany("evil")
	f.commit(nobody, "evil")
	if now, err := f.attempt(); err != nil || now.Status.Refused == nil || f.values()["evil"] != 0 {
		f.t.Errorf("an unsigned commit: %v, refused %+v, %v", err, now.Status.Refused, f.values())
	}
	f.auditIsClean(records)
}

// once is a rule for the first matching request.
func once(fault faultproxy.Fault, resource string, verbs ...string) faultproxy.Rule {
	return faultproxy.Rule{Verbs: verbs, Resource: resource, Times: 1, Fault: fault}
}

// TestAFaultOfTheAPIServerLosesNothingAndDoublesNothing has each fault happen
// while a revision is applied for the first time.
func TestAFaultOfTheAPIServerLosesNothingAndDoublesNothing(t *testing.T) {
	t.Parallel()
	lost, garbage, page, half := faultproxy.LoseAnswer(), faultproxy.Garbage(), faultproxy.Page(), faultproxy.Truncate()
	for name, c := range map[string]struct {
		rules []faultproxy.Rule
		// twice is how many objects may have been written a second time.
		twice int
	}{
		"G06 the answer to a write is lost":                   {[]faultproxy.Rule{once(lost, "configmaps", "apply")}, 1},
		"G06 the answer about the intent is lost":             {[]faultproxy.Rule{once(lost, "factories", "update")}, 0},
		"G06 the answer about the inventory is lost":          {[]faultproxy.Rule{once(lost, "configmaps", "create")}, 0},
		"G06 the answer about the finished inventory is lost": {[]faultproxy.Rule{once(lost, "configmaps", "update")}, 0},
		"G06 the answer about the record is lost":             {[]faultproxy.Rule{once(lost, "appliedrevisions", "create")}, 0},
		"G06 the request about the record is lost":            {[]faultproxy.Rule{once(faultproxy.Drop(), "appliedrevisions", "create")}, 0},
		"G06 the answer about the definition is lost":         {[]faultproxy.Rule{once(lost, "customresourcedefinitions", "apply")}, 1},
		"G07 garbage for a list":                              {[]faultproxy.Rule{once(garbage, "configmaps", "list")}, 0},
		"G07 garbage for a write":                             {[]faultproxy.Rule{once(garbage, "configmaps", "apply")}, 1},
		"G07 garbage for the record":                          {[]faultproxy.Rule{once(garbage, "appliedrevisions", "create")}, 0},
		"G07 garbage for the list of records":                 {[]faultproxy.Rule{once(garbage, "appliedrevisions", "list")}, 0},
		"G07 a page of a proxy for a list":                    {[]faultproxy.Rule{once(page, "configmaps", "list")}, 0},
		"G07 a page of a proxy for a write":                   {[]faultproxy.Rule{once(page, "configmaps", "apply")}, 1},
		"G07 half of a list":                                  {[]faultproxy.Rule{once(half, "configmaps", "list")}, 0},
		"G07 half of the answer to a write":                   {[]faultproxy.Rule{once(half, "configmaps", "apply")}, 1},
		"G07 half of the answer about the record":             {[]faultproxy.Rule{once(half, "appliedrevisions", "create")}, 0},
		"L06 no answer arrives at all, though all is carried out": {[]faultproxy.Rule{
			{Verbs: []string{"apply", "create", "update"}, Times: 5, Fault: lost},
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			f.setMany("two")
			commit := f.commit(alice, "two")
			var injected []*faultproxy.Injected
			for _, rule := range c.rules {
				injected = append(injected, f.proxy.Inject(rule))
			}
			f.settle(commit)
			for i, rule := range injected {
				if rule.Hits() != c.rules[i].Times {
					t.Errorf("the fault happened %d times, want %d", rule.Hits(), c.rules[i].Times)
				}
				rule.End()
			}
			f.promises("two", 1, c.twice)
		})
	}
}

func TestAnAPIServerThatGoesAwayInTheMiddleIsWaitedForAndNothingIsWrittenTwice(t *testing.T) { // row G02
	t.Parallel()
	f := newFaulty(t)
	f.setMany("two")
	commit := f.commit(alice, "two")
	const before = 11 // of which some have their answer, since eight are under way at once
	gone := f.proxy.Inject(faultproxy.Rule{
		Verbs: []string{"apply"}, Resource: "configmaps", Skip: before, Times: 1,
		Fault: faultproxy.Before(func() { f.proxy.Away(true) }),
	})
	if _, err := f.attempt(); err == nil {
		t.Error("a pass without an API server reported no problem")
	}
	if gone.Hits() != 1 || f.values()["two"] >= many+1 || f.values()["two"] == 0 {
		t.Fatalf("the API server went away %d times, %v is there", gone.Hits(), f.values())
	}
	if len(f.records()) != 0 {
		t.Fatal("half a revision was attested")
	}
	f.proxy.Away(false)
	f.settle(commit)
	f.promises("two", 1, 8) // those that were on their way together
}

func TestAnAPIServerThatIsAwayAtTheStartIsWaitedFor(t *testing.T) { // row G01
	t.Parallel()
	f := newFaulty(t)
	f.setMany("two")
	commit := f.commit(alice, "two")
	f.proxy.Away(true)
	for range 3 {
		if _, err := f.attempt(); err == nil {
			t.Error("a pass without an API server reported no problem")
		}
	}
	f.proxy.Away(false)
	if got := f.proxy.Log(); len(got) != 0 {
		t.Errorf("%d requests arrived at a server that is away", len(got))
	}
	f.settle(commit)
	f.promises("two", 1, 0)
}

func TestRightsThatAreTakenAwayForOneKindDegradeThatKindAlone(t *testing.T) { // rows G10, F14
	t.Parallel()
	f := newFaulty(t)
	f.commit(alice, "one")
	f.applied()
	user := f.namespace + "-less"
	cfg, err := f.cluster.ConfigFor(user)
	f.must(err)
	f.grantAllBut(user, "policies.kyverno.io")
	f.must(f.proxy.Turn(cfg))
	f.setMany("two")
	commit := f.commit(alice, "two")
	deadline := time.Now().Add(30 * time.Second) // the new rights take a moment
	for f.values()["two"] != many+1 {
		if time.Now().After(deadline) {
			t.Fatalf("the rest does not converge: %v", f.values())
		}
		_, _ = f.attempt()
	}
	now, _ := f.attempt()
	c := conditionOf(now, v1alpha1.ConditionApplied)
	if c.Status == metav1.ConditionTrue || !strings.Contains(c.Message, "ValidatingPolicy") || !strings.Contains(c.Message, "forbidden") {
		t.Errorf("Applied: %+v", c)
	}
	if n := len(f.records()); n != 1 {
		t.Errorf("%d records: what is not completely applied was attested", n)
	}
	forbidden := slices.ContainsFunc(f.proxy.Log(), func(s faultproxy.Seen) bool {
		return s.Group == "policies.kyverno.io" && s.Status == http.StatusForbidden
	})
	if !forbidden {
		t.Error("the API server never said that it is forbidden")
	}
	f.must(f.proxy.Turn(f.cluster.Config()))
	f.settle(commit)
	f.promises("two", 2, 1)
}

// TestAStaleListIsWaitedOutAndNothingIsDoneOnIt serves a list from before the
// last write.
func TestAStaleListIsWaitedOutAndNothingIsDoneOnIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verbs []string
	}{
		"G15 one kind is served from an old cache": {[]string{"list"}},
		"G16 one of two servers is behind":         {[]string{"list", "get"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			f.setMany("one")
			f.commit(alice, "one")
			f.applied()
			stale := f.proxy.Inject(faultproxy.Rule{Verbs: c.verbs, Where: inWork, Fault: faultproxy.Stale()})
			if _, err := f.attempt(); err != nil { // what is remembered here is true now
				t.Fatal(err)
			}
			f.setMany("two")
			f.commit(alice, "two")
			_, _ = f.attempt()
			seen := stale.Hits()
			before := f.proxy.Count()
			for range 2 {
				_, _ = f.attempt()
			}
			if stale.Hits() == seen {
				t.Fatal("nothing stale was served")
			}
			for object, n := range f.proxy.Count() {
				if n != before[object] && strings.HasPrefix(object, "apply ") || strings.HasPrefix(object, "delete ") {
					t.Errorf("on a stale list: %s %d times, before %d", object, n, before[object])
				}
			}
			stale.End()
			commit := strings.TrimSpace(f.local("rev-parse", "HEAD"))
			f.settle(commit)
			if got := f.values(); got["two"] != many+1 {
				t.Errorf("the cluster has %v", got)
			}
			f.auditIsClean(2)
		})
	}
}

// inWork is about the declared objects, not the controller's own.
func inWork(r faultproxy.Request) bool {
	return r.Resource == "configmaps" && (r.Namespace == "" || strings.HasSuffix(r.Namespace, "-work"))
}
