package reconciler

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render"
)

// stretch gathers what becomes of the revision in force from the newest record
// on, for the next one. All of it is memory: what a process forgets, the next
// record calls a gap, unless every object is still in the version that the
// record before signed.
type stretch struct {
	// after is the digest of the record that it follows, from where that ends.
	after string
	from  time.Time
	// last is the newest complete look, or the end of the record before. missed is
	// why looks have not been complete since.
	last   look
	missed string

	looks, sweeps, objects int
	gaps                   []attest.Gap
	// ended are the newest sightings that are over, seen counts all of them, and
	// since is when the first one that is in no record was made.
	ended []attest.Sighting
	seen  int
	since time.Time
	open  map[string]attest.Sighting
	// frozen is when another revision was begun: from then on its own record
	// speaks.
	frozen    time.Time
	inventory plan.Inventory
}

// look is the beginning of one look at everything, and what it found. Breaks
// and whole are what the watcher said before it.
type look struct {
	at     time.Time
	state  string
	breaks uint64
	whole  bool
}

// joined says that nothing can have happened unseen from one look to another.
func (l look) joined(next look) bool {
	same := l.state != "" && l.state == next.state
	return same || l.whole && next.whole && l.breaks == next.breaks
}

// follow returns the stretch that follows the newest record.
func (p *pass) follow() *stretch {
	s := &p.plant.stretch
	if p.head.sequence == 0 || s.after == p.head.digest {
		return s
	}
	*s = stretch{
		after: p.head.digest, from: p.head.until, missed: attest.GapRestart,
		last: look{at: p.head.until, state: p.head.state}, open: map[string]attest.Sighting{},
	}
	// What the process before put back and had not recorded yet. Whoever edits the
	// status can only add drift, or leave a gap.
	for _, d := range slices.Backward(p.factory.Status.Drift.Last) {
		if seen := d.Time.Time; seen.After(s.from) && !seen.After(p.started) {
			sighting := sightingOf(d, attest.ActionCorrected, s.from)
			sighting.EndedOn = seen
			s.end(sighting)
		}
	}
	return s
}

// mark asks the watcher before a look begins.
func (p *pass) mark() look {
	at := moment(p.started)
	if s := p.follow(); at.Before(s.last.at) {
		at = s.last.at // a clock that was put back takes nothing back
	}
	now := look{at: at}
	if w := p.plant.setup.Watcher; w != nil { // a preview has none
		now.breaks, now.whole = w.Held(p.plant.key)
	}
	return now
}

// arrive takes note of a look, before anything is written because of it.
func (p *pass) arrive(revision accepted, now look, o plan.Observation, sweep bool) {
	s := p.follow()
	if p.head.sequence == 0 || !s.frozen.IsZero() && !p.attested(revision) {
		return
	}
	if !s.frozen.IsZero() {
		s.gap(s.frozen, now.at, attest.GapAttempt)
		s.frozen, s.last = time.Time{}, look{at: now.at}
	}
	if !p.complete(o) {
		s.missed = cmp.Or(s.missed, attest.GapUnobserved)
		return
	}
	now.state = observedState(o)
	if !s.last.joined(now) {
		s.gap(s.last.at, now.at, cmp.Or(s.missed, attest.GapWatch))
	}
	s.last, s.missed, s.objects, s.inventory = now, "", len(o.Live), o.Inventory
	s.looks++
	if sweep {
		s.sweeps++
	}
}

// complete says that every object was looked at. One that is fought over is on
// record for itself while it rests.
func (p *pass) complete(o plan.Observation) bool {
	fought := map[render.ID]bool{}
	for _, f := range p.plant.repairs.Fights() {
		fought[f.ID] = true
	}
	for id, live := range o.Live {
		if live.State == plan.Unknown || live.State == plan.Resting && !fought[id] {
			return false
		}
	}
	return true
}

// changed takes note of what a pass put back, and of what it could not.
func (p *pass) changed(revision accepted, before time.Time, changes apply.ChangeSet) {
	s := p.follow()
	if p.head.sequence == 0 || !p.attested(revision) {
		return
	}
	now := p.plant.setup.Clock()
	for _, d := range driftRecords(changes.Corrected(), p.started) {
		sighting := sightingOf(d, attest.ActionCorrected, before)
		if was, open := s.open[d.Object]; open {
			sighting.After, sighting.SeenOn = was.After, was.SeenOn
			delete(s.open, d.Object)
		}
		sighting.EndedOn = latest(now, sighting.SeenOn)
		s.end(sighting)
	}
	standing := map[string]attest.Sighting{}
	for _, r := range changes.Results {
		if r.Drift && (r.Action == apply.Failed || r.Action == apply.Waiting) {
			d := driftRecord(r.ID, r.Component, r.Differences, p.started)
			standing[d.Object] = sightingOf(d, attest.ActionFailed, before)
		}
	}
	p.standing(s, standing, before)
	if len(changes.Results) > 0 {
		s.last.state, s.inventory = inventoryState(changes.Inventory), changes.Inventory
	}
}

// standing brings up to date what is not as declared and stays so for now.
func (p *pass) standing(s *stretch, now map[string]attest.Sighting, before time.Time) {
	actions := map[string]string{
		report.ReasonDriftReported: attest.ActionReported, plan.ReasonFight: attest.ActionFight, plan.ReasonMutated: attest.ActionMutated,
	}
	for _, o := range append(fights(p.plant.repairs), p.out.Open...) {
		if action := actions[o.Reason]; action != "" {
			now[o.Object] = sightingOf(o.DriftRecord, action, before)
		}
	}
	for object, was := range s.open {
		if _, still := now[object]; !still {
			was.EndedOn = latest(p.started, was.SeenOn)
			s.end(was)
			delete(s.open, object)
		}
	}
	for object, sighting := range now {
		if was, known := s.open[object]; known {
			was.Action = sighting.Action
			s.open[object] = was
			continue
		}
		s.open[object] = sighting
		s.news(sighting.SeenOn)
	}
}

// end keeps a sighting that is over.
func (s *stretch) end(d attest.Sighting) {
	s.seen++
	if s.ended = append(s.ended, d); len(s.ended) > attest.MaxDrift {
		s.ended = slices.Delete(s.ended, 0, 1)
	}
	s.news(d.SeenOn)
}

func (s *stretch) news(at time.Time) {
	if s.since.IsZero() {
		s.since = at
	}
}

func (s *stretch) gap(from, to time.Time, reason string) {
	if !to.After(from) {
		return
	}
	if s.gaps = append(s.gaps, attest.Gap{From: from, To: to, Reason: reason}); len(s.gaps) > 20*attest.MaxGaps {
		s.gaps = attest.NewGaps(s.gaps).Entries
	}
}

// until is the stretch as a record tells it that ends at a moment: after the
// newest look nothing is claimed.
func (s *stretch) until(to time.Time, reason string) attest.Stretch {
	to = latest(to, s.from)
	gaps := slices.Clone(s.gaps)
	if to.After(s.last.at) {
		gaps = append(gaps, attest.Gap{From: latest(s.last.at, s.from), To: to, Reason: reason})
	}
	var within []attest.Gap
	for _, g := range gaps {
		if g.To.After(to) {
			g.To = to
		}
		if g.To.After(g.From) {
			within = append(within, g)
		}
	}
	open := slices.SortedFunc(maps.Values(s.open), func(a, b attest.Sighting) int {
		return cmp.Or(a.SeenOn.Compare(b.SeenOn), cmp.Compare(a.Object, b.Object))
	})
	drift := attest.NewSightings(append(slices.Clone(s.ended), open...))
	drift.Total = s.seen + len(open)
	return attest.Stretch{
		From: s.from, To: to, Looks: s.looks, Sweeps: s.sweeps, Objects: s.objects, Gaps: attest.NewGaps(within), Drift: drift,
	}
}

func sightingOf(d v1alpha1.DriftRecord, action string, after time.Time) attest.Sighting {
	out := attest.Sighting{
		Object: d.Object, Component: d.Component, Paths: d.Paths, After: after, SeenOn: latest(d.Time.Time, after), Action: action,
	}
	if d.Manager != "" {
		out.Managers, out.Operations = []string{d.Manager}, []string{d.Operation}
	}
	if d.Changed != nil {
		out.ChangedOn = d.Changed.Time
	}
	return out
}

// observedState is the digest of the versions in which an observation found
// what is inventoried, inventoryState of those that an inventory names.
func observedState(o plan.Observation) string {
	return stateOf(o.Inventory, func(id render.ID) plan.Meta { return o.Live[id].Meta })
}

func inventoryState(inv plan.Inventory) string {
	return stateOf(inv, func(id render.ID) plan.Meta { return inv.Entries[id].Meta })
}

// stateOf names an object by its generation and fingerprint where its kind
// counts generations, since its status may move, and else by its version.
func stateOf(inv plan.Inventory, meta func(render.ID) plan.Meta) string {
	h := sha256.New()
	for _, id := range inv.IDs() {
		m := meta(id)
		version := m.ResourceVersion
		if m.Generation > 0 {
			version = fmt.Sprintf("%d %s", m.Generation, m.Fingerprint)
		}
		fmt.Fprintf(h, "%q %q %q\n", plan.Name(id), m.UID, version)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// moment is a time as statements write it.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
