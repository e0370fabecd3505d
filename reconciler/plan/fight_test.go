package plan

import (
	"testing"
	"time"

	"millwright.dev/millwright/render"
)

// quarrel is one object that somebody changes, looked at by a loop with a clock
// of its own.
type quarrel struct {
	t       *testing.T
	now     time.Time
	history History
	m       render.Manifests
	id      render.ID
	writes  []time.Time
}

func newQuarrel(t *testing.T, doc string, id render.ID) *quarrel {
	t.Helper()
	return &quarrel{t: t, now: time.Unix(1_800_000_000, 0), m: one(t, doc), id: id}
}

// look is one pass over the object in a state; it says what the plan does.
func (q *quarrel) look(state State) Plan {
	q.t.Helper()
	m, digest := q.m, digestOf(q.t, q.m, q.id)
	if state == Differs && q.history.Resting(q.id, digest, q.now) {
		state = Resting
	}
	live := Live{State: state, Meta: meta("u"), Managed: true}
	if state == Differs {
		live.Differences = []Difference{{Path: ".data.k", Manager: "rogue", Operation: "Update"}}
	}
	obs := Observation{
		Inventory: Inventory{Entries: map[render.ID]Entry{q.id: {Component: "mill", APIVersion: m.Objects()[0].APIVersion(), Declared: digest, Meta: meta("u")}}},
		Live:      map[render.ID]Live{q.id: live},
	}
	p, err := Compute(m, obs, DefaultLimits())
	if err != nil {
		q.t.Fatal(err)
	}
	p, q.history = q.history.Damp(p, q.now)
	for range p.Corrections() {
		q.writes = append(q.writes, q.now)
		q.history = q.history.Repaired([]render.ID{q.id}, q.now)
	}
	return p
}

// fight lets somebody change the object at once after every repair, and the
// loop look every step, for a time.
func (q *quarrel) fight(step, total time.Duration) {
	q.t.Helper()
	for end := q.now.Add(total); q.now.Before(end); q.now = q.now.Add(step) {
		q.look(Differs)
	}
}

func TestAFightIsDampedToldAndOver(t *testing.T) {
	t.Parallel()
	t.Run("F06 an object that is changed at once after each repair is written ever more rarely", func(t *testing.T) {
		t.Parallel()
		q := newQuarrel(t, cm("a", "x"), cmID("a"))
		q.fight(200*time.Millisecond, time.Hour)
		for i := 1; i < len(q.writes); i++ {
			pause := q.writes[i].Sub(q.writes[i-1])
			if pause < time.Second || pause > maxRest+time.Second {
				t.Errorf("write %d came %v after the one before", i, pause)
			}
			if i > 1 && pause < q.writes[i-1].Sub(q.writes[i-2]) {
				t.Errorf("write %d came sooner than the one before it: %v", i, pause)
			}
		}
		if len(q.writes) < 10 || len(q.writes) > 30 {
			t.Errorf("%d writes in an hour", len(q.writes))
		}
		f := q.history.Fights()
		if len(f) != 1 || f[0].Count != len(q.writes) || f[0].Differences[0].Manager != "rogue" || len(f[0].Times) != maxRepairTimes {
			t.Errorf("the fight is %+v", f)
		}
	})
	t.Run("the first repair is never put off, the second at most a second", func(t *testing.T) {
		t.Parallel()
		q := newQuarrel(t, cm("a", "x"), cmID("a"))
		if p := q.look(Differs); len(p.Corrections()) != 1 || len(q.history.Fights()) != 0 {
			t.Fatal("the first repair was put off, or is a fight")
		}
		q.now = q.now.Add(100 * time.Millisecond)
		if p := q.look(Differs); len(p.Corrections()) != 0 || p.Blocked()[0].Reason != ReasonPutOff || p.Blocked()[0].Differences[0].Path != ".data.k" {
			t.Fatalf("blocked: %+v", p.Blocked())
		}
		if wake := q.history.Wake(q.now); wake.Sub(q.writes[0]) != time.Second {
			t.Errorf("the next pass is %v after the repair", wake.Sub(q.writes[0]))
		}
		q.now = q.now.Add(900 * time.Millisecond)
		if p := q.look(Differs); len(p.Corrections()) != 1 {
			t.Error("the second repair came not after a second")
		}
	})
	t.Run("when they stop, the fight is over and forgotten", func(t *testing.T) {
		t.Parallel()
		q := newQuarrel(t, cm("a", "x"), cmID("a"))
		q.fight(time.Second, 20*time.Second)
		if len(q.history.Fights()) != 1 {
			t.Fatal("there was no fight")
		}
		last := q.writes[len(q.writes)-1]
		for range 10 { // only when the history asks to be looked at
			wake := q.history.Wake(q.now)
			if wake.IsZero() {
				break
			}
			q.now = wake.Add(time.Millisecond)
			q.look(InSync)
		}
		if len(q.history) != 0 || q.now.Sub(last) > 10*time.Minute {
			t.Errorf("%v after the last repair there is still %+v", q.now.Sub(last), q.history)
		}
		before := len(q.writes)
		if p := q.look(Differs); len(p.Corrections()) != 1 || len(q.writes) != before+1 {
			t.Error("a change after the fight is not put back at once")
		}
	})
	t.Run("repairs that are far apart are no fight", func(t *testing.T) {
		t.Parallel()
		q := newQuarrel(t, cm("a", "x"), cmID("a"))
		for range 10 {
			if p := q.look(Differs); len(p.Corrections()) != 1 {
				t.Fatal("put off")
			}
			q.now = q.now.Add(5 * time.Minute)
		}
		if f := q.history.Fights(); len(f) != 0 {
			t.Errorf("fights: %+v", f)
		}
	})
	t.Run("another declaration is written at once and begins anew", func(t *testing.T) {
		t.Parallel()
		q := newQuarrel(t, cm("a", "x"), cmID("a"))
		q.fight(time.Second, 20*time.Second)
		q.m = one(t, cm("a", "y"))
		if p := q.look(Differs); len(p.Corrections()) != 1 || len(q.history.Fights()) != 0 || q.history[q.id].Count != 1 {
			t.Errorf("a new declaration waits for an old fight: %+v", q.history)
		}
	})
	t.Run("F06 a fight over a role never leaves it for longer than five seconds", func(t *testing.T) {
		t.Parallel()
		id := render.ID{Group: groupRBAC, Kind: "ClusterRole", Name: "r"}
		q := newQuarrel(t, "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\nrules: []\n", id)
		q.fight(200*time.Millisecond, 10*time.Minute)
		for i := 1; i < len(q.writes); i++ {
			if pause := q.writes[i].Sub(q.writes[i-1]); pause < time.Second || pause > maxGuardRest+time.Second {
				t.Errorf("write %d came %v after the one before", i, pause)
			}
		}
	})
	t.Run("H20 a thousand objects that are fought over cost no more together than each", func(t *testing.T) {
		t.Parallel()
		h := History{}
		for i := range 1000 {
			h[render.ID{Kind: "CR", Name: string(rune('a' + i))}] = Repairs{Component: "mill", Declared: "d", Differs: true}
		}
		ids := make([]render.ID, 0, len(h))
		for id := range h {
			ids = append(ids, id)
		}
		now, writes := time.Unix(1_800_000_000, 0), 0
		for end := now.Add(10 * time.Minute); now.Before(end); now = now.Add(time.Second) {
			var due []render.ID
			for _, id := range ids {
				if !h.Resting(id, "d", now) {
					due = append(due, id)
				}
			}
			writes += len(due)
			h = h.Repaired(due, now)
		}
		if per := float64(writes) / 1000; per < 5 || per > 15 {
			t.Errorf("%.1f writes of each object in ten minutes", per)
		}
	})
}

func TestWhatGuardsTheClusterIsProtected(t *testing.T) {
	t.Parallel()
	for id, want := range map[render.ID]bool{
		{Group: groupRBAC, Kind: "RoleBinding", Namespace: "a", Name: "b"}:              true,
		{Group: groupAdmission, Kind: "MutatingWebhookConfiguration", Name: "b"}:        true,
		{Group: "kyverno.io", Kind: "ClusterPolicy", Name: "b"}:                         true,
		{Group: "policies.kyverno.io", Kind: "ValidatingPolicy", Name: "b"}:             true,
		{Group: "spire.spiffe.io", Kind: "ClusterSPIFFEID", Name: "b"}:                  true,
		{Group: "tekton.dev", Kind: "VerificationPolicy", Namespace: "a", Name: "b"}:    true,
		{Kind: "ConfigMap", Namespace: "tekton-chains", Name: "chains-config"}:          true,
		{Kind: "ConfigMap", Namespace: "tekton-pipelines", Name: "config-defaults"}:     true,
		{Kind: "ConfigMap", Namespace: "elsewhere", Name: "chains-config"}:              true,
		{Kind: "ConfigMap", Namespace: "work", Name: "settings"}:                        false,
		{Group: "apps", Kind: "Deployment", Namespace: "tekton-chains", Name: "chains"}: false,
		{Group: "tekton.dev", Kind: "Task", Namespace: "a", Name: "b"}:                  false,
	} {
		if got := Protected(id); got != want {
			t.Errorf("%s is protected: %v, want %v", Name(id), got, want)
		}
	}
}
