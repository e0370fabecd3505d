package drift

import (
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/reconciler/faultproxy"
	"millwright.dev/millwright/reconciler/kubetest"
)

// faulty is a site whose watcher sees the API server through a proxy.
func faulty(t *testing.T, name string, opts Options) (*site, *faultproxy.Proxy) {
	t.Helper()
	proxy, err := faultproxy.Start(kubetest.Shared(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	return newSiteWith(t, proxy.Config(), name, opts), proxy
}

func onConfigMaps(fault faultproxy.Fault, times int64) faultproxy.Rule {
	return faultproxy.Rule{Verbs: []string{"watch"}, Resource: "configmaps", Times: times, Fault: fault}
}

// TestAWatchThatBreaksInAnyWayMissesNothing has an edit happen where the watch
// cannot see it.
func TestAWatchThatBreaksInAnyWayMissesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		site string
		// faults meet the first watches, one after the other.
		faults  func(swallowed func()) []faultproxy.Fault
		swallow bool
	}{
		"G13 a watch is reset": {"reset", func(func()) []faultproxy.Fault {
			return []faultproxy.Fault{faultproxy.BreakWatch(0)}
		}, false},
		"G13 a watch ends without a word": {"ended", func(func()) []faultproxy.Fault {
			return []faultproxy.Fault{faultproxy.EndWatch(0)}
		}, false},
		"G13 a watch cannot be continued, its history is compacted": {"compacted", func(func()) []faultproxy.Fault {
			return []faultproxy.Fault{faultproxy.Gone(), faultproxy.Gone()}
		}, false},
		"G13 a watch hangs: no event, no bookmark, no end": {"hung", func(swallowed func()) []faultproxy.Fault {
			return []faultproxy.Fault{faultproxy.StallWatch(0, swallowed)}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var swallowed, restarts atomic.Int64
			s, proxy := faulty(t, "broken"+c.site, Options{
				Silence: 3 * time.Second, Restarted: func(schema.GroupKind, string) { restarts.Add(1) },
			})
			var rules []*faultproxy.Injected
			for _, fault := range c.faults(func() { swallowed.Add(1) }) {
				rules = append(rules, proxy.Inject(onConfigMaps(fault, 1)))
			}
			s.apply("ConfigMap", s.key.Name, "edited", `{"data":{"k":"v"}}`)
			s.track()
			s.write("ConfigMap", s.key.Name, "edited", `{"data":{"k":"evil"}}`, "rogue")
			t.Logf("woken %v after the edit", s.wakes("edited"))
			// Rules that share a match are met in the order of their injection.
			if rules[0].Hits() != 1 || restarts.Load() == 0 {
				t.Errorf("the fault happened %d times, %d watches began again", rules[0].Hits(), restarts.Load())
			}
			if c.swallow && swallowed.Load() == 0 {
				t.Error("the watch hid nothing")
			}
		})
	}
}

func TestEventsThatComeLateTwiceOrInAnotherOrderWakeForWhatIsTrue(t *testing.T) { // row G14
	t.Parallel()
	for name, site := range map[string]string{
		"G14 events are held back":       "held",
		"G14 events come twice":          "twice",
		"G14 events come in other order": "swapped",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var happened atomic.Int64
			told := func() { happened.Add(1) }
			release := make(chan struct{})
			fault := map[string]faultproxy.Fault{
				"held": faultproxy.HoldEvents(release, told), "twice": faultproxy.DoubleEvents(told),
				"swapped": faultproxy.SwapEvents(time.Second, told),
			}[site]
			s, proxy := faulty(t, "late"+site, Options{})
			rule := proxy.Inject(onConfigMaps(fault, 0))
			s.apply("ConfigMap", s.key.Name, "canary", `{"data":{"k":"v"}}`)
			s.apply("ConfigMap", s.key.Name, "mended", `{"data":{"k":"v"}}`)
			s.track()
			// Somebody edits, and it is put back before an event of either arrives.
			s.watcher.Hold(s.key, s.inv)
			s.write("ConfigMap", s.key.Name, "mended", `{"data":{"k":"evil"}}`, "rogue")
			s.apply("ConfigMap", s.key.Name, "mended", `{"data":{"k":"v"}}`)
			s.track()
			if site == "held" {
				close(release)
			}
			s.quiet()
			if rule.Hits() == 0 || happened.Load() == 0 {
				t.Errorf("the watch met the fault %d times, %d events were spoilt", rule.Hits(), happened.Load())
			}
		})
	}
}
