package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"millwright.dev/millwright/e2e/registrytest"
	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/faultproxy"
	"millwright.dev/millwright/reconciler/source"
)

// death is a point at which the controller is killed (SIGKILL): inside, by a
// point that it passes, or from outside, by one of the servers that it talks to.
type death struct {
	// at is POINT#N inside.
	at string
	// api is a request to the API server; git and registry arm other servers.
	api      func(kill func()) faultproxy.Rule
	git      func(w *world, kill func())
	registry func(w *world, kill func())
	// second kills it in its second revision, which deletes objects.
	second bool
	// large has the fetch bring more objects than are unpacked.
	large bool
}

func before(resource, sub string, skip int64, verbs ...string) func(func()) faultproxy.Rule {
	return on(faultproxy.Before, resource, sub, skip, verbs...)
}

func after(resource, sub string, skip int64, verbs ...string) func(func()) faultproxy.Rule {
	return on(faultproxy.After, resource, sub, skip, verbs...)
}

// on is a rule for one request about declared objects or, with a subresource
// "-", about the controller's own ConfigMaps.
func on(fault func(func()) faultproxy.Fault, resource, sub string, skip int64, verbs ...string) func(func()) faultproxy.Rule {
	return func(kill func()) faultproxy.Rule {
		return faultproxy.Rule{Verbs: verbs, Resource: resource, Skip: skip, Times: 1, Fault: fault(kill), Where: func(r faultproxy.Request) bool {
			return r.Write() && (sub == "" || r.Subresource == sub)
		}}
	}
}

// deaths are all points, K01 to K12, on both sides of what makes a difference.
var deaths = map[string]death{
	"K01 after the refs were listed":                  {git: killAtUploadPack},
	"K02 in the middle of a fetch":                    {git: killInPack},
	"K03 when the pack is there and not looked at":    {at: source.PointPackHeld + "#1"},
	"K03 after the fetch":                             {at: reconciler.PointFetched + "#1"},
	"K04 at the first object that is verified":        {at: reconciler.PointVerifying + "#1"},
	"K04 in the middle of verifying":                  {at: reconciler.PointVerifying + "#6"},
	"K05 before the frontier is written":              {at: gitverify.PointBeforeFrontier + "#1"},
	"K05 after the frontier was written":              {at: gitverify.PointAfterFrontier + "#1"},
	"K06 in the middle of rendering":                  {at: reconciler.PointRendering + "#3"},
	"K07 between the index and the pack's name":       {at: source.PointBeforeIndex + "#1", large: true},
	"K07 after the pack got its name":                 {at: source.PointAfterIndex + "#1", large: true},
	"K07 before the first object gets its name":       {at: source.PointBeforeIndex + "#1"},
	"K07 when some objects have their names":          {at: source.PointAfterIndex + "#4"},
	"K08 before the verdict is stored":                {api: before("appliedrevisions", "", 0, "create")},
	"K08 after the verdict was stored":                {api: after("appliedrevisions", "", 0, "create")},
	"K08 before the intent is stored":                 {api: before("factories", "status", 0, "update")},
	"K08 after the intent was stored":                 {api: after("factories", "status", 0, "update")},
	"K08 after the inventory, before the first write": {api: after("configmaps", "", 1, "create")},
	"K08 before the first write":                      {api: before("", "", 0, "apply")},
	"K09 after the first write, before its record":    {api: after("", "", 0, "apply")},
	"K09 after many writes, before their record":      {api: after("configmaps", "", 7, "apply")},
	"K09 before the finished inventory is stored":     {api: before("configmaps", "", 0, "update")},
	"K09 after the finished inventory was stored":     {api: after("configmaps", "", 0, "update")},
	"K10 before an object is deleted":                 {api: before("configmaps", "", 1, "delete"), second: true},
	"K10 after an object was deleted":                 {api: after("configmaps", "", 1, "delete"), second: true},
	"K11 before the record is created":                {api: before("appliedrevisions", "", 1, "create")},
	"K11 after the record was created":                {api: after("appliedrevisions", "", 1, "create")},
	"K12 before the upload":                           {registry: killAtRegistry(http.MethodHead, http.MethodPost)},
	"K12 in the middle of the upload":                 {registry: killAtRegistry(http.MethodPatch, http.MethodPut)},
	"K12 before it is noted that it was stored":       {api: before("appliedrevisions", "status", 0, "update")},
	"K12 after it was noted that it was stored":       {api: after("appliedrevisions", "status", 0, "update")},
	"K12 before the result is reported":               {api: before("factories", "status", 1, "update")},
	"K12 after the result was reported":               {api: after("factories", "status", 1, "update")},
}

// TestAControllerThatIsKilledAtAnyPointGoesOn kills the real controller at each
// point, starts it again, and asks for all promises.
func TestAControllerThatIsKilledAtAnyPointGoesOn(t *testing.T) {
	registry, err := registrytest.Start(t.Context(), t.TempDir(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Stop)
	names := map[string]bool{}
	for name, d := range deaths {
		names[name[:3]] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newWorld(t, "crash-"+strings.ToLower(name[:3]), registry).die(d)
		})
	}
	for i := 1; i <= 12; i++ {
		if row := fmt.Sprintf("K%02d", i); !names[row] {
			t.Errorf("no death is at %s", row)
		}
	}
}

// die has the controller killed and started again.
func (w *world) die(d death) {
	w.t.Helper()
	value, n, records := "one", small, 1
	if d.large {
		for i := range 120 {
			w.write(fmt.Sprintf("notes/%d", i), fmt.Sprint(i))
		}
	}
	commit := w.revise(value, n)
	if d.second {
		c := w.start(nil)
		w.applied(commit)
		c.Stop(0)
		value, n, records = "two", small-3, 2
		commit = w.revise(value, n)
	}
	before := w.writes()
	var c *controller
	kill := func() { c.Kill() }
	ready := make(chan struct{})
	deadly := func() { <-ready; kill() }
	var rule *faultproxy.Injected
	switch {
	case d.api != nil:
		rule = w.proxy.Inject(d.api(deadly))
	case d.git != nil:
		d.git(w, deadly)
	case d.registry != nil:
		d.registry(w, deadly)
	}
	c = w.start([]string{childPoint + "=" + d.at})
	close(ready)
	w.ended(c)
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		w.t.Fatalf("the controller was not killed: %v\n%s", err, w.log(10))
	}
	if rule != nil && rule.Hits() != 1 {
		w.t.Fatalf("it was killed at another point: the rule was met %d times", rule.Hits())
	}
	w.atGit.Store(nil)
	w.atRegistry.Store(nil)
	again := w.start(nil)
	w.applied(commit)
	w.once(before)
	w.promises(value, n, records)
	if w.repository != "" && !w.records()[records-1].Status.Stored {
		w.t.Error("the record was not stored in the registry")
	}
	again.Stop(shutdownGrace)
}

// TestAnIntentThatIsStoredIsNotStoredAgain kills the controller after its intent was
// stored: the next one finds it, and has nothing to say before it writes.
func TestAnIntentThatIsStoredIsNotStoredAgain(t *testing.T) { // row K08
	t.Parallel()
	w := newWorld(t, "intent", nil)
	commit := w.revise("one", small)
	ready := make(chan struct{})
	var first *controller
	rule := w.proxy.Inject(after("factories", "status", 0, "update")(func() { <-ready; first.Kill() }))
	// What is written would be told by the next intent: that fewer objects are left.
	nothing := w.proxy.Inject(faultproxy.Rule{Verbs: []string{"apply"}, Fault: faultproxy.Hold(make(chan struct{}))})
	first = w.start(nil)
	close(ready)
	w.ended(first)
	nothing.End()
	if rule.Hits() != 1 {
		t.Fatalf("the intent was stored %d times", rule.Hits())
	}
	second := w.start(nil)
	w.applied(commit)
	second.Stop(shutdownGrace) // and has the answer that its result was stored
	stored := 0
	for _, s := range w.proxy.Writes() {
		if s.Resource == "factories" && s.Subresource == "status" {
			stored++
		}
	}
	if stored != 2 {
		t.Errorf("the status was stored %d times, want the intent and the result", stored)
	}
}

// once wants that no object was written twice, but where nobody could know
// whether the first write had arrived.
func (w *world) once(before map[string]int) {
	w.t.Helper()
	unsure := map[string]int{}
	for _, s := range w.proxy.Writes() {
		if !s.Delivered {
			unsure[s.Verb+" "+s.Object()]++
		}
	}
	for object, n := range w.writes() {
		if n -= before[object]; n > 1+min(unsure[object], 1) {
			w.t.Errorf("%s: %d times, of which %d may not have been known", object, n, unsure[object])
		}
	}
}

// killAtUploadPack kills when the refs were listed and the pack is asked for.
func killAtUploadPack(w *world, kill func()) {
	at := func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			kill()
			return
		}
		next.ServeHTTP(rw, r)
	}
	w.atGit.Store(&at)
}

// killInPack kills when a part of the pack was sent.
func killInPack(w *world, kill func()) {
	at := func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			next.ServeHTTP(&halfWriter{ResponseWriter: rw, kill: kill}, r)
			return
		}
		next.ServeHTTP(rw, r)
	}
	w.atGit.Store(&at)
}

// halfWriter sends the beginning of a pack.
type halfWriter struct {
	http.ResponseWriter
	kill func()
	done atomic.Bool
}

func (h *halfWriter) Write(b []byte) (int, error) {
	if h.done.Load() {
		return len(b), nil
	}
	if i := bytes.Index(b, []byte("PACK")); i >= 0 {
		h.done.Store(true)
		_, _ = h.ResponseWriter.Write(b[:min(len(b), i+100)])
		if f, ok := h.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		h.kill()
		return len(b), nil
	}
	return h.ResponseWriter.Write(b)
}

// killAtRegistry kills at the first request of some methods about the artifact.
func killAtRegistry(methods ...string) func(*world, func()) {
	return func(w *world, kill func()) {
		at := func(r *http.Request) {
			for _, m := range methods {
				if r.Method == m && strings.Contains(r.URL.Path, w.namespace) {
					kill()
				}
			}
		}
		w.atRegistry.Store(&at)
	}
}
