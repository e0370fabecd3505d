package reconciler

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// resting says whether an object was put back so lately that it is not looked
// at yet.
func (p *pass) resting(id render.ID, declared string) bool {
	return p.plant.repairs.Resting(id, declared, p.plant.setup.Clock())
}

// damp puts off the corrections of objects that were put back a moment ago.
func (p *pass) damp(todo plan.Plan) plan.Plan {
	todo, p.plant.repairs = p.plant.repairs.Damp(todo, p.plant.setup.Clock())
	p.rest()
	return todo
}

// repaired takes note of what was put back.
func (p *pass) repaired(changes apply.ChangeSet) {
	corrected := changes.Corrected()
	if len(corrected) == 0 {
		return
	}
	ids := make([]render.ID, 0, len(corrected))
	for _, r := range corrected {
		ids = append(ids, r.ID)
	}
	p.plant.repairs = p.plant.repairs.Repaired(ids, p.plant.setup.Clock())
	p.rest()
}

// rest says of which objects nothing is news for now, and when to look again.
func (p *pass) rest() {
	now := p.plant.setup.Clock()
	p.plant.setup.Watcher.Rest(p.plant.key, p.plant.repairs.Rests(now))
	p.plant.look = p.plant.repairs.Wake(now)
}

// fights are the objects that somebody keeps changing.
func fights(history plan.History) []v1alpha1.OpenDrift {
	var out []v1alpha1.OpenDrift
	for _, f := range history.Fights() {
		next := metav1.NewTime(f.Next)
		out = append(out, v1alpha1.OpenDrift{
			DriftRecord: driftRecord(f.ID, f.Component, f.Differences, f.Times[0]), Reason: plan.ReasonFight,
			Repairs: int32(min(f.Count, 1_000_000)), Next: &next, //nolint:gosec // bounded right here
		})
	}
	return out
}

// soonest is the earlier of an interval from now and a time.
func soonest(interval time.Duration, now, at time.Time) time.Duration {
	if at.IsZero() {
		return interval
	}
	// A moment later than the rest ends: a pass that comes too early would be
	// another one for nothing.
	return min(interval, max(at.Sub(now)+5*time.Millisecond, 50*time.Millisecond))
}
