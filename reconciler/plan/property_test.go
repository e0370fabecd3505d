package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"millwright.dev/millwright/render"
)

// world is a cluster as far as plans go.
type world map[render.ID]Live

// carryOut does what a plan says, without any judgement of its own.
func (w world) carryOut(p Plan) Inventory {
	inv := p.Inventory()
	inv.Rebuilt = nil
	for _, c := range p.Changes() {
		if c.Op == Prune {
			delete(w, c.ID)
			delete(inv.Entries, c.ID)
			continue
		}
		uid := c.Live.UID
		if uid == "" {
			uid = "made"
		}
		w[c.ID] = Live{State: InSync, Meta: meta(uid), Managed: true}
		inv.Entries[c.ID] = Entry{Component: c.Component, APIVersion: c.APIVersion, Declared: c.Declared.Digest(), Meta: meta(uid)}
	}
	return inv
}

// see gives every object of declared ∪ inventory the state that it has.
func (w world) see(m render.Manifests, inv Inventory) Observation {
	obs := Observation{Inventory: inv, Live: map[render.ID]Live{}}
	look := func(id render.ID) {
		if live, ok := w[id]; ok {
			obs.Live[id] = live
		} else {
			obs.Live[id] = Live{State: Absent}
		}
	}
	for _, o := range m.Objects() {
		look(o.ID())
	}
	for id := range inv.Entries {
		look(id)
	}
	return obs
}

func TestAPlanThatWasCarriedOutLeavesAnEmptyOneAndTouchesNothingElse(t *testing.T) {
	t.Parallel()
	limits := Limits{MaxPrune: 1000, MaxPrunePercent: 100, AllowProtected: true}
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		w, inv := world{}, Inventory{}
		for range 4 {
			var docs []string
			for i := range 8 {
				if rnd.IntN(3) > 0 {
					docs = append(docs, cm(fmt.Sprintf("c%d", i), fmt.Sprint(rnd.IntN(3))))
				}
			}
			m := one(t, docs...)
			w.disturb(rnd, m, inv)
			obs := w.see(m, inv)
			p, err := Compute(m, obs, limits)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range p.Changes() {
				if _, in := obs.Live[c.ID]; !in {
					t.Fatalf("seed %d: %s is outside of declared ∪ inventory", seed, Name(c.ID))
				}
			}
			inv = w.carryOut(p)
			p, err = Compute(m, w.see(m, inv), limits)
			if err != nil || !p.Empty() {
				t.Fatalf("seed %d: %v\n%s", seed, err, p.Text())
			}
		}
	}
}

// disturb has somebody delete and edit, and new declarations differ from live.
func (w world) disturb(rnd *rand.Rand, m render.Manifests, inv Inventory) {
	w[cmID("stranger")] = Live{State: Present, Meta: meta("s")}
	for i := range 8 {
		id := cmID(fmt.Sprintf("c%d", i))
		live, there := w[id]
		if !there {
			continue
		}
		live.State = Present
		for _, o := range m.Objects() {
			if o.ID() != id {
				continue
			}
			live.State = InSync
			if inv.Entries[id].Declared != o.Digest() || rnd.IntN(4) == 0 {
				live.State = Differs
			}
		}
		w[id] = live
		if rnd.IntN(6) == 0 {
			delete(w, id)
		}
	}
}
