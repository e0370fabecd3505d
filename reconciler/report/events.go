package report

import (
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// Event is a Kubernetes event as a value. Only the constructors here make one.
type Event struct {
	Type, Reason, Action, Message string
}

// Actions of events.
const (
	actionVerify  = "Verify"
	actionApply   = "Apply"
	actionCorrect = "Correct"
)

func refusedEvent(p Problem) Event {
	return Event{Type: corev1.EventTypeWarning, Reason: p.Reason, Action: actionVerify, Message: OneLine(p.Text())}
}

func appliedEvent(a v1alpha1.Applied) Event {
	return Event{
		Type: corev1.EventTypeNormal, Reason: ReasonAttested, Action: actionApply,
		Message: OneLine(fmt.Sprintf("revision %s by %s: %d objects, record %d, %s", a.Revision, a.Signer, a.Objects, a.Sequence, a.Attestation)),
	}
}

func driftEvent(d v1alpha1.DriftRecord) Event {
	message := OneLine(d.Object + " was changed " + Culprit(d))
	if Deleted(d) {
		message = d.Object + " was " + Culprit(d)
	}
	return driftWarning(ReasonDriftCorrected, message+"; put back")
}

func lostEvent(l Loss) Event {
	of := "in it"
	if l.Kind != "" {
		of = "of the kind " + l.Kind
	}
	return driftWarning(ReasonDataLost, fmt.Sprintf(
		"%s was deleted and is there again, without anything that was %s: %d declared objects are made anew, what nobody declared is lost", l.Object, of, l.Declared))
}

func driftWarning(reason, message string) Event {
	return Event{Type: corev1.EventTypeWarning, Reason: reason, Action: actionCorrect, Message: OneLine(message)}
}

// Deleted says that the whole object was gone. Who did it is known only of what
// was collected with another object: field managers go with the object.
func Deleted(d v1alpha1.DriftRecord) bool { return len(d.Paths) > 0 && d.Paths[0] == "." }

// Culprit says who changed what and when, as far as the object told: "by
// kubectl (Update, 2026-11-26T12:00:00Z) at .data.key", or that it was deleted.
func Culprit(d v1alpha1.DriftRecord) string {
	if Deleted(d) && len(d.Paths) > 1 {
		by := d
		by.Paths = d.Paths[1:]
		return "deleted with what it was made to depend on " + Culprit(by)
	}
	if Deleted(d) {
		return "deleted"
	}
	text := ""
	if d.Manager != "" {
		how := d.Operation
		if d.Changed != nil {
			how += ", " + d.Changed.UTC().Format(time.RFC3339)
		}
		text += fmt.Sprintf("by %s (%s)", d.Manager, how)
	}
	if len(d.Paths) > 0 {
		text += " at " + d.Paths[0]
	}
	if len(d.Paths) > 1 {
		text += fmt.Sprintf(" and %d more", len(d.Paths)-1)
	}
	return OneLine(text)
}

// Events says what is new since before: nothing is told twice.
func Events(before, after *v1alpha1.Factory, o Outcome) []Event {
	var out []Event
	for _, s := range []*StageProblem{o.Refused, o.Failed} {
		if s != nil && !known(before, *s) {
			out = append(out, refusedEvent(s.Problem))
		}
	}
	out = append(out, newAlarms(before, after)...)
	for _, l := range o.Lost {
		out = append(out, lostEvent(l))
	}
	out = append(out, driftEvents(before, o)...)
	now, was := after.Status.Applied, before.Status.Applied
	if now != nil && now.Attestation != "" && (was == nil || was.Attestation != now.Attestation) {
		out = append(out, appliedEvent(*now))
	}
	return out
}

// known says whether the condition said the same before.
func known(before *v1alpha1.Factory, s StageProblem) bool {
	for _, c := range before.Status.Conditions {
		if c.Type == s.Condition {
			return c.Reason == s.Problem.Reason && c.Message == s.Problem.Text()
		}
	}
	return false
}

// SameStatus says whether storing the status would tell anybody anything.
func SameStatus(a, b v1alpha1.FactoryStatus) bool { return reflect.DeepEqual(a, b) }
