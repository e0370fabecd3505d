package drift

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

var kinds = map[string]schema.GroupVersionResource{
	"ConfigMap":  {Version: "v1", Resource: "configmaps"},
	"Namespace":  {Version: "v1", Resource: "namespaces"},
	"Secret":     {Version: "v1", Resource: "secrets"},
	"Deployment": {Group: "apps", Version: "v1", Resource: "deployments"},
}

func resolve(_ context.Context, _, kind string) (schema.GroupVersionResource, error) {
	if gvr, ok := kinds[kind]; ok {
		return gvr, nil
	}
	return schema.GroupVersionResource{}, errors.New("not served")
}

// site is one factory with a watcher of its own.
type site struct {
	t       *testing.T
	key     types.NamespacedName
	client  metadata.Interface
	watcher *Watcher
	inv     plan.Inventory

	mu    sync.Mutex
	woken map[string]int
	bell  chan string
}

func newSite(t *testing.T, cfg *rest.Config, name string) *site {
	t.Helper()
	return newSiteWith(t, cfg, name, Options{})
}

// newSiteWith has a watcher with other times than usual.
func newSiteWith(t *testing.T, cfg *rest.Config, name string, opts Options) *site {
	t.Helper()
	client, err := metadata.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{
		t: t, key: types.NamespacedName{Namespace: "test", Name: name}, client: client,
		inv:   plan.Inventory{Entries: map[render.ID]plan.Entry{}},
		woken: map[string]int{}, bell: make(chan string, 100),
	}
	s.start(cfg, opts)
	s.apply("Namespace", "", name, `{"metadata":{"labels":{"test":"drift"}}}`)
	return s
}

// start gives the site a watcher with some access.
func (s *site) start(cfg *rest.Config, opts Options) {
	t := s.t
	t.Helper()
	opts.Resolve, opts.Retry = resolve, 50*time.Millisecond
	opts.Wake = func(key types.NamespacedName, id render.ID) {
		if key != s.key {
			t.Errorf("woke %v", key)
		}
		s.mu.Lock()
		s.woken[id.Name]++
		s.mu.Unlock()
		s.bell <- id.Name
	}
	var err error
	s.watcher, err = New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.watcher.Start(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// apply writes as the factory does and takes it into the inventory.
func (s *site) apply(kind, namespace, name, body string) {
	s.t.Helper()
	meta, version := s.write(kind, namespace, name, body, plan.FieldManager(s.key.String(), s.key.Name))
	group := kinds[kind].Group
	id := render.ID{Group: group, Kind: kind, Namespace: namespace, Name: name}
	s.inv.Entries[id] = plan.Entry{Component: s.key.Name, APIVersion: version, Declared: "sha256:x", Meta: meta}
}

func (s *site) write(kind, namespace, name, body, manager string) (plan.Meta, string) {
	s.t.Helper()
	gvr, force := kinds[kind], true
	var u unstructured.Unstructured
	if err := json.Unmarshal([]byte(body), &u.Object); err != nil {
		s.t.Fatal(err)
	}
	u.SetAPIVersion(gvr.GroupVersion().String())
	u.SetKind(kind)
	u.SetName(name)
	full, err := json.Marshal(u.Object)
	if err != nil {
		s.t.Fatal(err)
	}
	o, err := s.client.Resource(gvr).Namespace(namespace).Patch(s.t.Context(), name, types.ApplyPatchType, full,
		metav1.PatchOptions{FieldManager: manager, Force: &force})
	if err != nil {
		s.t.Fatal(err)
	}
	meta, _ := plan.MetaOf(o, plan.FieldManager(s.key.String(), s.key.Name))
	return meta, gvr.GroupVersion().String()
}

// track hands a copy of the inventory to the watcher and waits until all is seen.
func (s *site) track() {
	s.t.Helper()
	entries := map[render.ID]plan.Entry{}
	maps.Copy(entries, s.inv.Entries)
	s.watcher.Track(s.key, plan.Inventory{Entries: entries})
	for i := 0; !s.watcher.Synced(); i++ {
		if i > 500 {
			s.t.Fatal("the watches never saw the present state")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *site) wakes(name string) time.Duration {
	s.t.Helper()
	started := time.Now()
	for {
		select {
		case got := <-s.bell:
			if got == name {
				return time.Since(started)
			}
		case <-time.After(10 * time.Second):
			s.t.Fatalf("%s woke nobody", name)
		}
	}
}

// quiet makes sure that nothing wakes: a change that must wake is made after,
// on the same kind, and has to be the first that is heard of.
func (s *site) quiet() {
	s.t.Helper()
	s.write("ConfigMap", s.key.Name, "canary", `{"data":{"song":"`+time.Now().String()+`"}}`, "rogue")
	select {
	case got := <-s.bell:
		if got != "canary" {
			s.t.Errorf("%s woke", got)
		}
	case <-time.After(10 * time.Second):
		s.t.Fatal("not even the canary woke")
	}
}

func TestWhatSomebodyElseDoesToOurObjectsWakesWithinASecond(t *testing.T) {
	t.Parallel()
	s := newSite(t, kubetest.Shared(t).Config(), "wakes")
	for _, name := range []string{"edited", "labelled", "deleted", "canary"} {
		s.apply("ConfigMap", "wakes", name, `{"metadata":{"labels":{"a":"b"}},"data":{"k":"v"}}`)
	}
	s.track()
	began := time.Now()
	s.write("ConfigMap", "wakes", "edited", `{"data":{"k":"evil"}}`, "rogue")
	s.wakes("edited")
	took := time.Since(began)
	t.Logf("woken %v after the edit began", took)
	if took > time.Second {
		t.Errorf("woken only after %v", took)
	}
	_, err := s.client.Resource(kinds["ConfigMap"]).Namespace("wakes").Patch(t.Context(), "labelled", types.MergePatchType,
		[]byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.wakes("labelled")
	if err := s.client.Resource(kinds["ConfigMap"]).Namespace("wakes").Delete(t.Context(), "deleted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.wakes("deleted")
}

const deployment = `{"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},` +
	`"spec":{"containers":[{"name":"c","image":"example.org/c"}]}}}}`

func TestStatusAndStrangersWakeNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, kubetest.Shared(t).Config(), "quiet")
	s.apply("ConfigMap", "quiet", "canary", `{"data":{"k":"v"}}`)
	s.apply("Deployment", "quiet", "web", deployment)
	s.track()
	_, err := s.client.Resource(kinds["Deployment"]).Namespace("quiet").Patch(t.Context(), "web", types.MergePatchType,
		[]byte(`{"status":{"replicas":1}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	s.write("ConfigMap", "quiet", "strangers", `{"data":{"k":"v"}}`, "rogue")
	time.Sleep(200 * time.Millisecond) // the Deployment's watch is another one than the canary's
	s.quiet()
}

func TestOurOwnWritesWakeNobodyAndOthersMeanwhileAreNotLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, kubetest.Shared(t).Config(), "own")
	s.apply("ConfigMap", "own", "canary", `{"data":{"k":"v"}}`)
	s.apply("ConfigMap", "own", "ours", `{"data":{"k":"v"}}`)
	s.apply("ConfigMap", "own", "theirs", `{"data":{"k":"v"}}`)
	s.track()
	intent := plan.Inventory{Entries: map[render.ID]plan.Entry{}}
	maps.Copy(intent.Entries, s.inv.Entries)
	made := render.ID{Kind: "ConfigMap", Namespace: "own", Name: "made"}
	intent.Entries[made] = plan.Entry{Component: "own", APIVersion: "v1", Pending: true}
	s.watcher.Hold(s.key, intent)
	s.apply("ConfigMap", "own", "ours", `{"data":{"k":"w"}}`)
	s.apply("ConfigMap", "own", "ours", `{"data":{"k":"x"}}`)
	s.apply("ConfigMap", "own", "made", `{"data":{"k":"v"}}`)
	s.write("ConfigMap", "own", "theirs", `{"data":{"k":"evil"}}`, "rogue")
	time.Sleep(300 * time.Millisecond) // all of it has been seen
	if len(s.bell) != 0 {
		t.Fatalf("woken while writing: %s", <-s.bell)
	}
	s.track()
	if got := <-s.bell; got != "theirs" {
		t.Errorf("%s woke, want theirs", got)
	}
	s.apply("ConfigMap", "own", "theirs", `{"data":{"k":"v"}}`)
	s.track()
	for len(s.bell) > 0 {
		<-s.bell
	}
	s.quiet()
}

func TestWhatHappenedBeforeTheWatchBeganIsFound(t *testing.T) {
	t.Parallel()
	s := newSite(t, kubetest.Shared(t).Config(), "before")
	s.apply("ConfigMap", "before", "deleted", `{"data":{"k":"v"}}`)
	s.apply("ConfigMap", "before", "edited", `{"data":{"k":"v"}}`)
	if err := s.client.Resource(kinds["ConfigMap"]).Namespace("before").Delete(t.Context(), "deleted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.write("ConfigMap", "before", "edited", `{"data":{"k":"evil"}}`, "rogue")
	s.track()
	got := map[string]bool{<-s.bell: true, <-s.bell: true}
	if !got["deleted"] || !got["edited"] {
		t.Errorf("woken by %v", got)
	}
}

func TestAnAPIServerThatComesBackIsWatchedAgainAndNothingWasMissed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts an API server of its own")
	}
	cluster, err := kubetest.Start(t.Context(), t.TempDir(), kubetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	s := newSite(t, cluster.Config(), "back")
	s.apply("ConfigMap", "back", "edited", `{"data":{"k":"v"}}`)
	s.track()
	cluster.KillAPIServer()
	if err := cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.write("ConfigMap", "back", "edited", `{"data":{"k":"evil"}}`, "rogue")
	t.Logf("woken %v after the edit", s.wakes("edited"))
}

func TestKindsAreWatchedAsLongAsTheyAreInventoried(t *testing.T) {
	t.Parallel()
	s := newSite(t, kubetest.Shared(t).Config(), "kinds")
	s.apply("ConfigMap", "kinds", "a", `{"data":{"k":"v"}}`)
	s.track()
	if n := s.watcher.Watches(); n != 2 {
		t.Errorf("%d watches, want 2", n)
	}
	s.watcher.Forget(s.key)
	if n := s.watcher.Watches(); n != 0 {
		t.Errorf("%d watches after all was forgotten", n)
	}
}

func TestAnEventOlderThanTheRecordIsNoNews(t *testing.T) { // rows G14, G15
	t.Parallel()
	entry := plan.Entry{Meta: plan.Meta{UID: "u", ResourceVersion: "100", Generation: 2, Fingerprint: "f"}}
	for name, tc := range map[string]struct {
		seen sighting
		want bool
	}{
		"the recorded state":          {sighting{meta: plan.Meta{UID: "u", ResourceVersion: "100"}}, false},
		"an older state":              {sighting{meta: plan.Meta{UID: "u", ResourceVersion: "99", Generation: 1}}, false},
		"an older deletion":           {sighting{gone: true, meta: plan.Meta{UID: "t", ResourceVersion: "98"}}, false},
		"a newer state":               {sighting{meta: plan.Meta{UID: "u", ResourceVersion: "101", Generation: 3, Fingerprint: "g"}}, true},
		"a newer status":              {sighting{meta: plan.Meta{UID: "u", ResourceVersion: "101", Generation: 2, Fingerprint: "f"}}, false},
		"a newer deletion":            {sighting{gone: true, meta: plan.Meta{UID: "u", ResourceVersion: "101"}}, true},
		"another object":              {sighting{meta: plan.Meta{UID: "v", ResourceVersion: "101", Generation: 2, Fingerprint: "f"}}, true},
		"being deleted":               {sighting{terminating: true, meta: plan.Meta{UID: "u", ResourceVersion: "101", Generation: 2, Fingerprint: "f"}}, true},
		"versions that are no number": {sighting{meta: plan.Meta{UID: "u", ResourceVersion: "abc"}}, true},
	} {
		if got := tc.seen.news(entry); got != tc.want {
			t.Errorf("%s: news %v, want %v", name, got, tc.want)
		}
	}
}

func TestWhatCannotBePutRightWakesOnceAndNotForEver(t *testing.T) {
	t.Parallel()
	s := newSite(t, kubetest.Shared(t).Config(), "once")
	s.apply("ConfigMap", "once", "canary", `{"data":{"k":"v"}}`)
	s.apply("ConfigMap", "once", "held", `{"metadata":{"finalizers":["example.org/hold"]},"data":{"k":"v"}}`)
	s.track()
	if err := s.client.Resource(kinds["ConfigMap"]).Namespace("once").Delete(t.Context(), "held", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.wakes("held")
	for range 3 { // passes that can do nothing about it
		s.watcher.Hold(s.key, s.inv)
		s.track()
	}
	s.quiet()
}

func TestWhatRestsWakesNobodyUntilItsRestIsOver(t *testing.T) { // row F06
	t.Parallel()
	s := newSite(t, kubetest.Shared(t).Config(), "rests")
	s.apply("ConfigMap", "rests", "canary", `{"data":{"k":"v"}}`)
	s.apply("ConfigMap", "rests", "fought", `{"data":{"k":"v"}}`)
	s.track()
	s.watcher.Rest(s.key, map[render.ID]bool{{Kind: "ConfigMap", Namespace: "rests", Name: "fought"}: true})
	s.write("ConfigMap", "rests", "fought", `{"data":{"k":"evil"}}`, "rogue")
	s.quiet() // the canary's event came later on the same watch, so the other was seen
	s.watcher.Rest(s.key, nil)
	s.track()
	s.wakes("fought")
}
