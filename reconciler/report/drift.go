package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/runtime/conditions"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/plan"
)

const (
	// maxLast is the number of drift records that the status keeps, maxOpen that
	// of open ones.
	maxLast = 10
	maxOpen = 10
	// maxNamed objects are named in a condition.
	maxNamed = 5
)

// contesting are the reasons for which the cluster is not what was applied
// although it should be put back.
func contesting() []string { return []string{plan.ReasonFight, plan.ReasonMutated} }

// alarming are the reasons of open drift that make the condition Drifted, the
// gravest first. Extra fields alone are no alarm: most are what they are for,
// such as the replicas of an autoscaler.
func alarming() []string {
	return append(contesting(), ReasonDriftReported)
}

// contested says whether something in the cluster is not what was applied.
func contested(open []v1alpha1.OpenDrift) (reason, message string) {
	for _, reason := range contesting() {
		if some := withReason(open, reason); len(some) > 0 {
			return reason, openText(some)
		}
	}
	return "", ""
}

func markDrift(f *v1alpha1.Factory, o Outcome) {
	drift := &f.Status.Drift
	drift.Corrected += int64(len(o.Drifts))
	last := append(slices.Clone(o.Drifts), drift.Last...)
	drift.Last = last[:min(len(last), maxLast)]
	slices.SortStableFunc(o.Open, func(a, b v1alpha1.OpenDrift) int { return gravity(a.Reason) - gravity(b.Reason) })
	drift.Open = remembered(o.Open[:min(len(o.Open), maxOpen)], drift.Open)
	if o.Swept != nil {
		drift.Swept = o.Swept
	}
	drift.OpenTotal = int32(len(o.Open)) //nolint:gosec // bounded by the objects of a factory
	for _, reason := range alarming() {
		if open := withReason(o.Open, reason); len(open) > 0 {
			conditions.MarkTrue(f, v1alpha1.ConditionDrifted, reason, "%s", openText(open))
			return
		}
	}
	conditions.Delete(f, v1alpha1.ConditionDrifted)
}

// gravity orders open drift: what alarms comes first.
func gravity(reason string) int {
	if i := slices.Index(alarming(), reason); i >= 0 {
		return i
	}
	return len(alarming())
}

// remembered keeps the time at which open drift was first seen: the same drift
// in the next pass changes no status.
func remembered(now, before []v1alpha1.OpenDrift) []v1alpha1.OpenDrift {
	var out []v1alpha1.OpenDrift
	for _, d := range now {
		for _, b := range before {
			if b.Object == d.Object && b.Reason == d.Reason {
				d.Time = b.Time
			}
		}
		out = append(out, d)
	}
	return out
}

func withReason(open []v1alpha1.OpenDrift, reason string) []v1alpha1.OpenDrift {
	var out []v1alpha1.OpenDrift
	for _, d := range open {
		if d.Reason == reason {
			out = append(out, d)
		}
	}
	return out
}

// openText names some objects, and who changed what.
func openText(open []v1alpha1.OpenDrift) string {
	named := make([]string, 0, maxNamed)
	for _, d := range open[:min(len(open), maxNamed)] {
		text := strings.TrimSpace(d.Object + " " + Culprit(d.DriftRecord))
		if d.Repairs > 0 {
			text += fmt.Sprintf(" (put back %d times)", d.Repairs)
		}
		named = append(named, text)
	}
	objects := "objects are"
	if len(open) == 1 {
		objects = "object is"
	}
	return OneLine(fmt.Sprintf("%d %s not kept as declared: %s", len(open), objects, strings.Join(named, "; ")))
}

// maxDriftEvents bounds the events of one pass: a thousand objects at once are
// one story, not a thousand.
const maxDriftEvents = 20

// driftEvents tell what was put back, and which fights began.
func driftEvents(before *v1alpha1.Factory, o Outcome) []Event {
	var out []Event
	for _, d := range o.Drifts {
		out = append(out, driftEvent(d))
	}
	if len(out) > maxDriftEvents {
		more := fmt.Sprintf("%d more objects were changed; put back", len(out)-maxDriftEvents)
		out = append(out[:maxDriftEvents], driftWarning(ReasonDriftCorrected, more))
	}
	// Fights are told together, when there are more of them than before.
	for _, reason := range contesting() {
		open := withReason(o.Open, reason)
		if len(open) > 0 && !sameObjects(open, withReason(before.Status.Drift.Open, reason), before.Status.Drift.OpenTotal) {
			out = append(out, driftWarning(reason, openText(open)))
		}
	}
	return out
}

// sameObjects says whether every open object was open before. Beyond those that
// a status can hold only their number tells.
func sameObjects(now, before []v1alpha1.OpenDrift, total int32) bool {
	if len(now) > maxOpen {
		return len(now) <= int(total)
	}
	for _, d := range now {
		if !slices.ContainsFunc(before, func(b v1alpha1.OpenDrift) bool { return b.Object == d.Object }) {
			return false
		}
	}
	return true
}
