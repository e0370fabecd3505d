package plan

import (
	"fmt"
	"testing"

	"millwright.dev/millwright/render"
)

// FuzzCompute gives Compute any combination of live states and entries: it
// must not panic, must not change anything outside of declared ∪ inventory, and
// must not delete what is not beyond doubt ours.
func FuzzCompute(f *testing.F) {
	f.Add([]byte{1, 0, 3, 7, 4, 1, 2, 5, 9})
	f.Add([]byte{0, 255, 16, 32, 64, 128})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 40 {
			return
		}
		var docs []string
		obs := Observation{Live: map[render.ID]Live{}, Inventory: Inventory{Entries: map[render.ID]Entry{}}}
		for i, b := range data {
			name := fmt.Sprintf("c%d", i)
			if b&1 != 0 {
				docs = append(docs, cm(name, "x"))
			}
			if b&2 != 0 {
				obs.Inventory.Entries[cmID(name)] = Entry{Component: "mill", APIVersion: "v1", Pending: b&4 != 0, Meta: meta("u")}
			}
			obs.Live[cmID(name)] = Live{State: State(b >> 5), Managed: b&8 != 0, Meta: meta([]string{"u", "v"}[b>>4&1])}
		}
		p, err := Compute(one(t, docs...), obs, Limits{MaxPrune: 100, MaxPrunePercent: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Changes() {
			entry, known := obs.Inventory.Entries[c.ID]
			live := obs.Live[c.ID]
			if c.Op == Prune && (!known || !live.Managed || live.State == Unknown || live.State == Absent || entry.Component != "mill") {
				t.Fatalf("pruned on doubt: %+v %+v", entry, live)
			}
			if c.Op != Prune && c.Declared == nil {
				t.Fatalf("%s of an object that is not declared", c.Op)
			}
			if _, noted := p.Inventory().Entries[c.ID]; !noted {
				t.Fatalf("%s %s is not in the inventory before the write", c.Op, Name(c.ID))
			}
		}
		_ = p.Text()
	})
}

func BenchmarkComputeOfTwoThousandObjectsInSync(b *testing.B) {
	docs := map[string][]string{}
	components := []string{"one", "two", "three", "four"}
	for i := range 2_000 {
		name := components[i%len(components)]
		docs[name] = append(docs[name], cm(fmt.Sprintf("c%d", i), "x"))
	}
	m := declare(b, components, docs)
	obs := Observation{Live: map[render.ID]Live{}, Inventory: Inventory{Entries: map[render.ID]Entry{}}}
	for _, o := range m.Objects() {
		obs.Inventory.Entries[o.ID()] = Entry{Component: o.Component(), APIVersion: "v1", Declared: o.Digest(), Meta: meta("u")}
		obs.Live[o.ID()] = Live{State: InSync, Meta: meta("u"), Managed: true}
	}
	for b.Loop() {
		if p, err := Compute(m, obs, Limits{}); err != nil || !p.Empty() {
			b.Fatal(err, p.Text())
		}
	}
}
