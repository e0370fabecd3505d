package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"millwright.dev/millwright/render"
)

const (
	// fightAfter repairs of one object in a row are a fight with somebody.
	fightAfter = 3
	// fightWindow is how soon after a repair the object has to differ again for
	// the next repair to be one in a row. It is also how long an object must have
	// stayed as declared for a fight to be over.
	fightWindow = 2 * time.Minute
	// firstRest is the pause after every repair, so that no object is written
	// more often than once a second whatever others do; it doubles in a fight.
	firstRest = time.Second
	maxRest   = 4 * time.Minute
	// maxGuardRest bounds the pause for what guards the cluster: backing off must
	// not be a way to keep a changed role or policy in force.
	maxGuardRest = 5 * time.Second
	// maxRepairTimes of the newest repairs are remembered of each object.
	maxRepairTimes = 8
)

// History is what was put back lately, by object. It is the memory that makes a
// fight visible: one plan alone cannot tell the tenth repair from the first.
// Like every value here it is never changed, only replaced. It is bounded by
// the objects of the inventory, and forgets what stayed quiet.
type History map[render.ID]Repairs

// Repairs are those of one object.
type Repairs struct {
	Component string
	// Declared is the digest that was put back; another declaration begins anew.
	Declared string
	// Count is the number of repairs in a row, Times when the newest of them were
	// made, oldest first.
	Count int
	Times []time.Time
	// Differs says that the object was seen to differ again since.
	Differs bool
	// Differences are those that were put back last, or wait to be.
	Differences []Difference
}

// Fighting says that somebody else wants the object to be something else.
func (r Repairs) Fighting() bool { return r.Count >= fightAfter }

func (r Repairs) last() time.Time {
	if len(r.Times) == 0 {
		return time.Time{}
	}
	return r.Times[len(r.Times)-1]
}

// next is when the object may be written again.
func (r Repairs) next(id render.ID) time.Time {
	rest, most := firstRest, maxRest
	if Protected(id) {
		most = maxGuardRest
	}
	for range r.Count - fightAfter + 1 {
		if rest = 2 * rest; rest >= most {
			rest = most
			break
		}
	}
	return r.last().Add(rest)
}

// Resting says that an object was put back so lately that it must not be
// written again now, as long as its declaration is the same. It need not even
// be compared before that.
func (h History) Resting(id render.ID, declared string, now time.Time) bool {
	r, known := h[id]
	return known && r.Declared == declared && now.Before(r.next(id))
}

// Rests lists the objects that rest.
func (h History) Rests(now time.Time) map[render.ID]bool {
	out := map[render.ID]bool{}
	for id, r := range h {
		if now.Before(r.next(id)) {
			out[id] = true
		}
	}
	return out
}

// Wake is when the first rest ends, or the first fight is over: the next pass
// must not be later. Zero if nothing is awaited.
func (h History) Wake(now time.Time) time.Time {
	var first time.Time
	for id, r := range h {
		at := r.next(id)
		if !now.Before(at) {
			if !r.Fighting() {
				continue
			}
			if at = r.last().Add(fightWindow); !at.After(now) {
				continue // a repair that fails is repeated by whoever knows why
			}
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// Damp decides which corrections may be made now: not those of objects that
// were put back a moment ago. The first repair of an object is never put off,
// and neither is any write of a declaration that changed. It returns the plan
// without what is put off, which is Blocked in it, and the history as it is
// after looking at this plan.
func (h History) Damp(p Plan, now time.Time) (Plan, History) {
	d := dampening{now: now, history: maps.Clone(h), plan: p}
	if d.history == nil {
		d.history = History{}
	}
	d.plan.changes, d.plan.blocked = nil, nil
	seen := map[render.ID]bool{}
	for _, c := range p.changes {
		if !c.Drift {
			delete(d.history, c.ID)
			d.plan.changes = append(d.plan.changes, c)
			continue
		}
		seen[c.ID] = true
		d.correction(c)
	}
	for _, b := range p.blocked {
		if b.Reason == ReasonPutOff {
			seen[b.ID] = true
			b = d.history[b.ID].putOff(b)
		}
		d.plan.blocked = append(d.plan.blocked, b)
	}
	for id, r := range d.history {
		if !seen[id] && now.Sub(r.last()) > fightWindow && !now.Before(r.next(id)) {
			delete(d.history, id)
		}
	}
	return d.plan, d.history
}

type dampening struct {
	now     time.Time
	history History
	plan    Plan
}

func (d *dampening) correction(c Change) {
	r, known := d.history[c.ID]
	// Long after its rest it was seen to be in order, or nobody looked: a new story.
	calm := !r.Differs && d.now.Sub(r.next(c.ID)) > fightWindow
	if !known || calm || r.Declared != c.Declared.Digest() {
		r = Repairs{Component: c.Component, Declared: c.Declared.Digest()}
	}
	r.Differs = true
	r.Differences = c.Differences
	d.history[c.ID] = r
	if r.Count > 0 && d.now.Before(r.next(c.ID)) {
		d.plan.blocked = append(d.plan.blocked, r.putOff(Blocked{ID: c.ID, Component: c.Component}))
		return
	}
	d.plan.changes = append(d.plan.changes, c)
}

// putOff says why an object is left as it is for now.
func (r Repairs) putOff(b Blocked) Blocked {
	b.Reason, b.Differences = ReasonPutOff, r.Differences
	b.Detail = "it was put back a moment ago"
	if r.Fighting() {
		b.Reason = ReasonFight
		b.Detail = fmt.Sprintf("it was put back %d times in a row; the next time is at %s",
			r.Count, r.next(b.ID).UTC().Format(time.RFC3339))
	}
	return b
}

// Repaired takes note of objects that were put back at a time. Objects that
// [History.Damp] did not let through are ignored.
func (h History) Repaired(ids []render.ID, now time.Time) History {
	out := maps.Clone(h)
	for _, id := range ids {
		r, known := out[id]
		if !known {
			continue
		}
		r.Count++
		r.Differs = false
		r.Times = append(slices.Clone(r.Times), now)
		r.Times = r.Times[max(0, len(r.Times)-maxRepairTimes):]
		out[id] = r
	}
	return out
}

// Fight is one object that is fought over.
type Fight struct {
	ID render.ID
	Repairs
	// Next is when it may be put back again.
	Next time.Time
}

// Fights lists the fights that are not over, in a stable order.
func (h History) Fights() []Fight {
	var out []Fight
	for _, id := range slices.SortedFunc(maps.Keys(h), compareID) {
		if r := h[id]; r.Fighting() {
			out = append(out, Fight{ID: id, Repairs: r, Next: r.next(id)})
		}
	}
	return out
}
