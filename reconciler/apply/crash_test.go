package apply

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

func TestAProcessKilledAnywhereBetweenTwoWritesFindsEverythingAgain(t *testing.T) {
	t.Parallel()
	for after := range 6 {
		t.Run(fmt.Sprintf("after %d writes", after), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, fmt.Sprintf("killed%d", after))
			m := s.component(namespaceDoc("NAME"), definition, custom, deployment, configMap("NAME", "a", "x"), configMap("NAME", "b", "x"))
			s.killAfter(after, s.plan(m))
			s.restart()
			// What was made is ours: a revision that declares nothing of it any
			// more would prune it, so it is in the inventory.
			inv, err := s.LoadInventory(t.Context(), m)
			if err != nil || len(inv.Rebuilt) != 0 {
				t.Fatal(err, inv.Rebuilt)
			}
			if len(inv.Entries) != 6 {
				t.Errorf("the record of a killed process names %d objects, want all 6", len(inv.Entries))
			}
			s.converge(m)
		})
	}
}

// killAfter carries a plan out up to a number of writes and then loses
// everything: no more requests, no final record.
func (s *site) killAfter(writes int, p plan.Plan) {
	s.t.Helper()
	left := writes
	ctx, kill := context.WithCancelCause(s.t.Context())
	s.opts.Concurrency, s.opts.DefinitionConcurrency = 1, 1
	s.beforeWrite = func(render.ID) error {
		if left == 0 {
			kill(errStopped)
			return errStopped
		}
		left--
		return nil
	}
	r := run{engine: s.Engine, failed: map[render.ID]bool{}, results: map[render.ID]Result{}}
	inv, err := s.intend(ctx, p.Inventory())
	if err != nil {
		s.t.Fatal(err)
	}
	r.inv = inv
	if err := r.batches(ctx, p); err == nil && writes < len(p.Changes()) {
		s.t.Fatal("the engine did not stop")
	}
}

func TestAProcessKilledBeforeTheLastRecordOnlyWritesTheRecord(t *testing.T) {
	t.Parallel()
	s := newSite(t, "lastrecord")
	s.namespace("lastrecord")
	m := s.component(configMap("NAME", "a", "x"), configMap("NAME", "b", "x"))
	s.killAfter(2, s.plan(m))
	s.restart()
	p, set := s.pass(m)
	if len(p.Changes()) != 0 || !p.RestoreInventory() || p.Empty() {
		t.Errorf("plan:\n%s", p.Text())
	}
	if !set.Complete() || set.Inventory.Entries[set.Inventory.IDs()[0]].Pending {
		t.Error("the record was not completed")
	}
	s.inSync(m)
}

func TestALostOrDamagedInventoryIsRebuiltAndNothingIsPrunedInThatPass(t *testing.T) { // row F08
	t.Parallel()
	for name, spoil := range map[string]func(*site, string){
		"deleted": func(s *site, record string) { s.remove(configMaps, s.name+"-system", record) },
		"emptied": func(s *site, record string) {
			s.edit(configMaps, s.name+"-system", record, "hand", map[string]any{"data": nil})
		},
		"edited": func(s *site, record string) {
			s.edit(configMaps, s.name+"-system", record, "hand", map[string]any{"data": map[string]any{recordKey: `{"version":1}`}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "lost"+name)
			s.namespace(s.name)
			rest := []string{configMap("NAME", "a", "x"), configMap("NAME", "b", "x"), configMap("NAME", "c", "x")}
			s.converge(s.component(append(rest, configMap("NAME", "old", "x"))...))
			spoil(s, s.recordName(s.name))
			s.restart()
			m := s.component(rest...)
			p, set := s.pass(m)
			if s.get(configMaps, s.name, "old") == nil || len(p.Changes()) != 0 || len(set.Inventory.Entries) != 4 {
				t.Fatalf("%s%s", p.Text(), describe(set))
			}
			// The next pass has a whole inventory and prunes.
			if set := s.converge(m); set.Count()[Pruned] != 1 {
				t.Error(describe(set))
			}
		})
	}
}

func TestAnAPIServerThatIsAwayIsNoAnswerAndNothingIsLost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts an API server of its own")
	}
	cluster, err := kubetest.Start(t.Context(), t.TempDir(), kubetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	s := siteAt(t, cluster.Config(), "away")
	s.opts.RequestTimeout = 5 * time.Second
	m := s.component(namespaceDoc("NAME"), configMap("NAME", "a", "x"), configMap("NAME", "b", "x"), configMap("NAME", "c", "x"))
	p := s.plan(m)
	left := 2
	s.opts.Concurrency = 1
	s.beforeWrite = func(render.ID) error {
		if left--; left < 0 {
			cluster.KillAPIServer()
		}
		return nil
	}
	started := time.Now()
	set, err := s.Apply(t.Context(), p)
	if err == nil || set.Complete() {
		t.Fatalf("applied without an API server: %v\n%s", err, describe(set))
	}
	t.Logf("gave up after %v: %v", time.Since(started), err)
	s.beforeWrite = nil
	if _, err := s.tryPlan(t.Context(), m, plan.DefaultLimits()); err == nil || errors.As(err, new(*plan.Refusal)) {
		t.Errorf("planning without an API server: %v, want could not tell", err)
	}
	if err := cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.converge(m)
	// Hanging is as good as away, and no request outlives its deadline.
	if err := cluster.PauseAPIServer(); err != nil {
		t.Fatal(err)
	}
	s.opts.RequestTimeout = time.Second
	started = time.Now()
	if _, err := s.tryPlan(t.Context(), m, plan.DefaultLimits()); err == nil || time.Since(started) > 20*time.Second {
		t.Errorf("planning with an API server that hangs: %v after %v", err, time.Since(started))
	}
	if err := cluster.ResumeAPIServer(); err != nil {
		t.Fatal(err)
	}
	s.opts.RequestTimeout = 30 * time.Second
	s.inSync(m)
}

func TestAnAccountThatMayNotDoOneKindFailsThereAndTheRestConverges(t *testing.T) { // row F14
	t.Parallel()
	cluster := kubetest.Shared(t)
	admin := newSite(t, "limited")
	admin.namespace("limited")
	admin.converge(admin.component(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: limited}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: limited}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: limited}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: limited-user}]`))
	cfg, err := cluster.ConfigFor("limited-user")
	if err != nil {
		t.Fatal(err)
	}
	admin.namespace("limiteduser-system")
	s := &site{t: t, cfg: cfg, name: "limiteduser", Engine: engineAt(t, cfg, "limiteduser")}
	m := s.component(configMap("limited", "a", "x"), "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: limited}\ntype: Opaque")
	var p plan.Plan
	for i := 0; ; i++ { // the new rights take a moment
		if p, err = s.tryPlan(t.Context(), m, plan.DefaultLimits()); err == nil {
			break
		}
		if i == 50 {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	set, err := s.Apply(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if f := set.Failed(); len(f) != 1 || f[0].ID.Kind != "Secret" || f[0].Reason != plan.ReasonUnobserved || !f[0].Retry {
		t.Error(describe(set))
	}
	if _, err := admin.dynamic.Resource(configMaps).Namespace("limited").Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestAnEngineNeedsToKnowWhoseItIs(t *testing.T) {
	t.Parallel()
	if _, err := New(&rest.Config{Host: "127.0.0.1:1"}, Options{}); err == nil {
		t.Error("an engine without a factory was made")
	}
}

func TestASecondWriterGivesUpBeforeItsFirstWrite(t *testing.T) {
	t.Parallel()
	s := newSite(t, "second")
	s.namespace("second")
	s.converge(s.component(configMap("NAME", "a", "x")))
	m := s.component(configMap("NAME", "a", "x"), configMap("NAME", "b", "x"))
	p := s.plan(m)
	other := &site{t: t, cfg: s.cfg, name: s.name, Engine: engineAt(t, s.cfg, s.name)}
	other.converge(s.component(configMap("NAME", "a", "x"), configMap("NAME", "c", "x")))
	if set, err := s.Apply(t.Context(), p); err == nil || len(set.Results) != 0 || s.get(configMaps, "second", "b") != nil {
		t.Errorf("%v\n%s", err, describe(set))
	}
}

func TestADefinitionThatSomebodyDeletedComesBackWithItsObjects(t *testing.T) { // row H03
	t.Parallel()
	s := newSite(t, "undefined")
	m := s.component(namespaceDoc("NAME"), definition, custom)
	s.converge(m)
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	if err := s.dynamic.Resource(crds).Delete(t.Context(), "mills.undefined.example.org", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := 0; s.get(crds, "", "mills.undefined.example.org") != nil; i++ {
		if i > 200 {
			t.Fatal("the definition does not go away")
		}
		time.Sleep(50 * time.Millisecond)
	}
	set := s.converge(m)
	if n := len(set.Corrected()); n != 2 {
		t.Errorf("%d objects were put back, want the definition and its object\n%s", n, describe(set))
	}
}

func TestARecordOfANewerVersionIsLeftAloneAndNothingIsWritten(t *testing.T) { // row K24
	t.Parallel()
	s := newSite(t, "newer")
	s.namespace("newer")
	m := s.component(configMap("NAME", "a", "x"), configMap("NAME", "b", "x"))
	s.converge(m)
	record := s.recordName("newer")
	old := s.get(configMaps, "newer-system", record)
	s.edit(configMaps, "newer-system", record, "hand", map[string]any{"data": map[string]any{recordKey: `{"version":2,"objects":[]}`}})
	s.restart()
	edited := s.get(configMaps, "newer-system", record).GetResourceVersion()
	_, err := s.tryPlan(t.Context(), s.component(configMap("NAME", "a", "y")), plan.DefaultLimits())
	if !errors.Is(err, plan.ErrRecordNewer) || s.get(configMaps, "newer-system", record).GetResourceVersion() != edited {
		t.Errorf("a record of a newer version: %v", err)
	}
	s.edit(configMaps, "newer-system", record, "hand", map[string]any{"data": old.Object["data"]})
	s.restart()
	s.inSync(m)
}
