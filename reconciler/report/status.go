// Package report turns the outcome of a pass into what people and machines
// read: the conditions and status of a Factory, events, metrics, and one table
// of reasons with hints.
//
// It decides nothing and talks to nobody. [Status] is a pure function of the
// status before and an [Outcome]; Ready is computed from the declared list of
// conditions and never set by hand. Conditions follow kstatus: Reconciling and
// Stalled exist only while they are true, every condition carries the
// generation that it is about. No text that comes from a repository or a
// server reaches a condition before [OneLine] has made it harmless.
package report

import (
	"fmt"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// Outcome is what one pass found and did.
type Outcome struct {
	Now        time.Time
	Generation int64
	Suspended  bool
	// Attempted is the tip of the ref, empty when it could not be fetched.
	Attempted string
	// Refused is set when the tip was not accepted, by the stage that said so.
	Refused *StageProblem
	// Applied is set when a revision is in force and in sync after this pass.
	Applied *v1alpha1.Applied
	// Failed is set when enforcing a revision failed, by the stage.
	Failed *StageProblem
	// Intent is carried until the revision is attested.
	Intent *v1alpha1.Intent
	Health Health
	// Drifts are the corrections of this pass.
	Drifts []v1alpha1.DriftRecord
	// Lost are definitions and namespaces that were deleted with all that they held.
	Lost []Loss
	// Open are the objects that are not kept as they are declared, and why.
	Open []v1alpha1.OpenDrift
	// Swept is the sweep of this pass, if there was one.
	Swept *v1alpha1.Sweep
	// Trust is what is known of the accepted history.
	Trust *Trust
	// Mended says that the pass only put drift back and asked the source nothing.
	Mended bool
	// PoliciesTested is how many policies allowed the accepted tip.
	PoliciesTested int
}

// Loss is a definition or a namespace that went away and is there again. What was
// of its kind or in it went with it (H03).
type Loss struct {
	Object string
	// Kind is the kind that a definition defines, empty for a namespace.
	Kind string
	// Declared is how many declared objects went with it.
	Declared int
}

// StageProblem is a problem and the condition of the stage it came from.
type StageProblem struct {
	Condition string
	Problem   Problem
}

// Health after a pass.
type Health struct {
	// Known is false when no health was judged in this pass.
	Known bool
	// Status is True, False or Unknown.
	Status  metav1.ConditionStatus
	Reason  string
	Message string
	// Waived says that the factory's own configuration declares health
	// unobservable here: Ready then rests on the other conditions.
	Waived bool
}

// stages in the order of the pipeline; Ready is computed from exactly these.
func stages() []string {
	return []string{
		v1alpha1.ConditionSourceVerified, v1alpha1.ConditionPolicyPassed, v1alpha1.ConditionApplied,
		v1alpha1.ConditionHealthy, v1alpha1.ConditionAttested,
	}
}

// Status computes the status after an outcome. It does not change before.
func Status(before *v1alpha1.Factory, o Outcome) v1alpha1.FactoryStatus {
	f := before.DeepCopy()
	f.Generation = o.Generation
	f.Status.ObservedGeneration = o.Generation
	if o.Suspended {
		conditions.Delete(f, v1alpha1.ConditionReconciling)
		conditions.MarkFalse(f, v1alpha1.ConditionReady, ReasonSuspended, "%s", "spec.suspend is true: nothing is fetched, applied or corrected")
		return f.Status
	}
	if o.Attempted != "" {
		f.Status.Attempted = o.Attempted
	}
	f.Status.Intent = o.Intent
	markAccepted(f, o)
	markRefused(f, o)
	markEnforced(f, o)
	markDrift(f, o)
	markTrust(f, o)
	markReady(f)
	return f.Status
}

// Progress is the status while a plan is carried out: the intent must be
// durable before the first write.
func Progress(before *v1alpha1.Factory, intent v1alpha1.Intent, changes int) v1alpha1.FactoryStatus {
	f := before.DeepCopy()
	f.Status.Intent = &intent
	conditions.MarkReconciling(f, ReasonProgressing, "applying %d changes of commit %s", changes, short(intent.Commit))
	conditions.MarkUnknown(f, v1alpha1.ConditionReady, ReasonProgressing, "applying %d changes of commit %s", changes, short(intent.Commit))
	return f.Status
}

// markAccepted says how far the tip came, whatever became of it later.
func markAccepted(f *v1alpha1.Factory, o Outcome) {
	if o.Attempted == "" {
		return
	}
	// A plan may be refused after everything else said yes.
	passed := o.Refused == nil || o.Refused.Condition == v1alpha1.ConditionApplied
	if passed || o.Refused.Condition == v1alpha1.ConditionPolicyPassed {
		conditions.MarkTrue(f, v1alpha1.ConditionSourceVerified, ReasonVerified, "every commit up to %s is signed as the policy asks", short(o.Attempted))
	}
	if passed {
		conditions.MarkTrue(f, v1alpha1.ConditionPolicyPassed, ReasonPassed, "%d policies of the factory allow the manifests of %s", o.PoliciesTested, short(o.Attempted))
	}
}

func markRefused(f *v1alpha1.Factory, o Outcome) {
	f.Status.Refused = nil
	if o.Refused == nil || o.Refused.Problem.Class != No {
		conditions.Delete(f, v1alpha1.ConditionStalled)
	}
	if o.Refused == nil {
		return
	}
	mark(f, *o.Refused)
	p := o.Refused.Problem
	if p.Class == No { // still or anew: a condition that is set again as it was keeps its time
		f.Status.Refused = &v1alpha1.Refused{Reason: p.Reason, Code: p.Code, Commit: p.Commit, Path: p.Path, Detail: p.Detail, Hint: p.Hint, Needs: p.Needs}
		conditions.MarkStalled(f, p.Reason, "%s", p.Text())
	}
}

func markEnforced(f *v1alpha1.Factory, o Outcome) {
	if o.Failed != nil {
		mark(f, *o.Failed)
	}
	if o.Applied != nil {
		f.Status.Applied = o.Applied
		if reason, message := contested(o.Open); reason != "" {
			conditions.MarkFalse(f, v1alpha1.ConditionApplied, reason, "%s", message)
		} else if !about(o.Refused, v1alpha1.ConditionApplied) && !about(o.Failed, v1alpha1.ConditionApplied) {
			conditions.MarkTrue(f, v1alpha1.ConditionApplied, ReasonInSync, "%d objects are as commit %s declares them", o.Applied.Objects, short(o.Applied.Commit))
		}
		if o.Applied.Attestation != "" && (o.Failed == nil || o.Failed.Condition != v1alpha1.ConditionAttested) {
			conditions.MarkTrue(f, v1alpha1.ConditionAttested, ReasonAttested, "record %d, %s", o.Applied.Sequence, o.Applied.Attestation)
		}
	}
	if o.Health.Known {
		conditions.Set(f, &metav1.Condition{Type: v1alpha1.ConditionHealthy, Status: o.Health.Status, Reason: o.Health.Reason, Message: OneLine(o.Health.Message)})
	}
}

func about(s *StageProblem, condition string) bool { return s != nil && s.Condition == condition }

func mark(f *v1alpha1.Factory, s StageProblem) {
	status := metav1.ConditionUnknown
	if s.Problem.Class == No || s.Condition == v1alpha1.ConditionApplied || s.Condition == v1alpha1.ConditionAttested {
		status = metav1.ConditionFalse
	}
	conditions.Set(f, &metav1.Condition{Type: s.Condition, Status: status, Reason: s.Problem.Reason, Message: s.Problem.Text()})
}

func markReady(f *v1alpha1.Factory) {
	conditions.Delete(f, v1alpha1.ConditionReconciling)
	for _, stage := range stages() {
		c := conditions.Get(f, stage)
		switch {
		case c == nil:
			conditions.MarkUnknown(f, v1alpha1.ConditionReady, ReasonProgressing, "%s is not known yet", stage)
		case c.Status == metav1.ConditionTrue:
			continue
		case stage == v1alpha1.ConditionHealthy && c.Reason == ReasonHealthUnobserved:
			continue
		default:
			conditions.Set(f, &metav1.Condition{Type: v1alpha1.ConditionReady, Status: c.Status, Reason: c.Reason, Message: fmt.Sprintf("%s: %s", stage, c.Message)})
		}
		return
	}
	conditions.MarkTrue(f, v1alpha1.ConditionReady, ReasonSucceeded, "commit %s is applied and attested", short(commitOf(f)))
}

func commitOf(f *v1alpha1.Factory) string {
	if f.Status.Applied == nil {
		return ""
	}
	return f.Status.Applied.Commit
}

func short(commit string) string { return commit[:min(len(commit), 12)] }
