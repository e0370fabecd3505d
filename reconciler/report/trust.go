package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// Trust is what a pass knows of the accepted history beyond yes and no. It is
// nil where nothing could be verified: then the conditions stay as they were.
type Trust struct {
	// Accepted is the newest commit that was accepted.
	Accepted string
	// Fresh is the proven time of the newest evidence, zero when nothing proves
	// one; MaxAge is how old it may be, zero for ever (rule T11).
	Fresh  time.Time
	MaxAge time.Duration
	// Behind is a commit that a heartbeat names and that is not part of what the
	// source serves; empty when there is none (rows C22, C23).
	Behind string
	// Heartbeat says why the heartbeat that the source has does not count.
	Heartbeat string
	// Revoked are the commits that were revoked after they were accepted and of
	// which something is still there, with the policy's reason (rule T9).
	Revoked []Revoked
}

// Revoked is a commit that must not be applied any more.
type Revoked struct{ Commit, Why string }

// markTrust sets the alarms. They are no stage: what is in force stays in
// force, and a good new commit is taken as ever.
func markTrust(f *v1alpha1.Factory, o Outcome) {
	if o.Trust == nil {
		return
	}
	t := o.Trust
	if t.Accepted != "" {
		f.Status.Accepted = t.Accepted
	}
	if at := metav1.NewTime(t.Fresh.Truncate(time.Second)); !t.Fresh.IsZero() && !f.Status.Fresh.Equal(&at) {
		f.Status.Fresh = &at
	}
	markStale(f, o.Now, *t)
	if len(t.Revoked) == 0 {
		conditions.Delete(f, v1alpha1.ConditionRevoked)
		return
	}
	first := t.Revoked[0]
	conditions.MarkTrue(f, v1alpha1.ConditionRevoked, ReasonRevokedApplied, "%s", OneLine(fmt.Sprintf(
		"%d commits of the applied revision are revoked, first %s (%s); to mend it: %s", len(t.Revoked), first.Commit, first.Why, hintFor(ReasonRevokedApplied))))
}

func markStale(f *v1alpha1.Factory, now time.Time, t Trust) {
	switch {
	case t.Behind != "":
		conditions.MarkTrue(f, v1alpha1.ConditionStale, ReasonSourceBehind, "%s", OneLine(fmt.Sprintf(
			"a signed heartbeat names commit %s, which is not part of what the source serves; to mend it: %s", t.Behind, hintFor(ReasonSourceBehind))))
	case t.MaxAge > 0 && now.Sub(t.Fresh) > t.MaxAge:
		ignored := ""
		if t.Heartbeat != "" {
			ignored = " (the heartbeat does not count: " + t.Heartbeat + ")"
		}
		conditions.MarkTrue(f, v1alpha1.ConditionStale, ReasonSourceStale, "%s", OneLine(fmt.Sprintf(
			"%s, and the policy asks for evidence that is no older than %s%s; to mend it: %s", newestEvidence(t.Fresh), t.MaxAge, ignored, hintFor(ReasonSourceStale))))
	default:
		conditions.Delete(f, v1alpha1.ConditionStale)
	}
}

func newestEvidence(fresh time.Time) string {
	if fresh.IsZero() {
		return "no signature proves when the source was current"
	}
	return "the newest signature that proves the source current is of " + fresh.UTC().Format(time.RFC3339)
}

// Bounds of what a refusal lists: those of the API.
const (
	maxNeeds  = 20
	maxPeople = 20
)

// needsOf takes the rulings that are not met.
func needsOf(rulings []gitverify.Ruling) []v1alpha1.Need {
	var out []v1alpha1.Need
	for _, r := range rulings {
		if r.Missing == 0 || len(out) == maxNeeds {
			continue
		}
		out = append(out, v1alpha1.Need{
			Rule: OneLine(r.Rule), Role: OneLine(r.Role), Threshold: int32(r.Threshold), Missing: int32(r.Missing), //nolint:gosec // persons of a policy
			Vouched: people(r.Vouchers), Candidates: people(r.Candidates),
		})
	}
	return out
}

func people(names []string) []string {
	var out []string
	for _, name := range names[:min(len(names), maxPeople)] {
		out = append(out, OneLine(name))
	}
	return out
}

// NeedsText says what is missing: "needs 1 more of role security: alice or bob".
func NeedsText(needs []v1alpha1.Need) string {
	parts := make([]string, 0, len(needs))
	for _, n := range needs {
		text := fmt.Sprintf("needs %d more of role %s", n.Missing, OneLine(n.Role))
		if len(n.Candidates) > 0 {
			text += ": " + OneLine(strings.Join(n.Candidates, " or "))
		}
		if text += " (rule " + OneLine(n.Rule) + ")"; !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

func alarmEvent(c metav1.Condition) Event {
	return Event{Type: "Warning", Reason: c.Reason, Action: actionVerify, Message: c.Message}
}

// alarms are the conditions that are true only while something is wrong with
// what is in force, and that no stage reports.
func alarms() []string { return []string{v1alpha1.ConditionStale, v1alpha1.ConditionRevoked} }

// newAlarms are those that were not told before.
func newAlarms(before, after *v1alpha1.Factory) []Event {
	var out []Event
	for _, name := range alarms() {
		now, was := conditions.Get(after, name), conditions.Get(before, name)
		if now != nil && (was == nil || was.Reason != now.Reason || was.Message != now.Message) {
			out = append(out, alarmEvent(*now))
		}
	}
	return out
}
