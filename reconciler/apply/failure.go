package apply

import (
	"context"
	"errors"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// Reasons of failed objects, beside those of package plan.
const (
	// ReasonForbidden: our service account may not.
	ReasonForbidden = "Forbidden"
	// ReasonTooLarge: over the limit of the API server or of etcd (1.5 MiB).
	ReasonTooLarge = "TooLarge"
	// ReasonAdmissionDenied: an admission policy or webhook said no.
	ReasonAdmissionDenied = "AdmissionDenied"
	// ReasonWebhookUnavailable: a fail-closed webhook did not answer (H05), or one
	// that converts between the versions of a definition (H04).
	ReasonWebhookUnavailable = "WebhookUnavailable"
	// ReasonNotServed: the API server does not know the kind.
	ReasonNotServed = "NotServed"
	// ReasonNamespaceMissing: the namespace is not there or is terminating.
	ReasonNamespaceMissing = "NamespaceMissing"
	// ReasonUnreachable: the API server did not answer.
	ReasonUnreachable = "Unreachable"
	// ReasonServerError: the API server answered that it could not.
	ReasonServerError = "ServerError"
	// ReasonNotEstablished: a definition or namespace did not become usable.
	ReasonNotEstablished = "NotEstablished"
	// ReasonDependencyFailed: a definition or namespace that it needs failed.
	ReasonDependencyFailed = "DependencyFailed"
	// ReasonWebhookDeadlock: a fail-closed webhook did not answer, and what should
	// answer is ours and does not run.
	ReasonWebhookDeadlock = "WebhookDeadlock"
	// ReasonOverloaded: the API server sent us away until the deadline.
	ReasonOverloaded = "Overloaded"
	// ReasonGateFailed: a component that it depends on is not healthy in time.
	ReasonGateFailed = "HealthGateFailed"
	// ReasonGateClosed: a component that it depends on is not healthy yet.
	ReasonGateClosed = "HealthGateClosed"
	// ReasonRecreateDeferred: nothing is made anew after a failure in its stage.
	ReasonRecreateDeferred = "RecreateDeferred"
	// ReasonPruneDeferred: nothing is deleted after a failure in the same plan.
	ReasonPruneDeferred = "PruneDeferred"
)

const maxMessage = 512

// failure is what is wrong with one object.
type failure struct {
	reason, message string
	// retry says that the same request may succeed later.
	retry bool
	// away says that the API server did not answer at all.
	away bool
}

// explain sorts an error of a request about an object. The message is bounded,
// on one line, and for Secrets without anything the server quoted.
func explain(err error, id render.ID) failure {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		if errors.Is(err, ErrNotServed) {
			return failure{reason: ReasonNotServed, message: clean(err.Error()), retry: true}
		}
		if errors.Is(err, errGroupAway) {
			return failure{reason: ReasonServerError, message: clean(err.Error()), retry: true}
		}
		return failure{reason: ReasonUnreachable, message: clean(err.Error()), retry: true, away: true}
	}
	s := status.Status()
	f := failure{reason: reasonOf(err, s), message: messageOf(s, id)}
	switch f.reason {
	case ReasonTooLarge:
		f.message = clean("over what the API server stores (1.5 MiB with etcd's defaults; a ConfigMap or Secret 1 MiB): " + f.message)
	case plan.ReasonImmutableField:
		f.message = immutableText(s)
	case ReasonOverloaded:
		f.away, f.retry = true, true
	case plan.ReasonInvalid, plan.ReasonFieldConflict, ReasonAdmissionDenied:
	default:
		f.retry = true
	}
	return f
}

func reasonOf(err error, s metav1.Status) string {
	text := s.Message
	switch {
	case strings.Contains(text, "failed calling webhook"), strings.Contains(text, "conversion webhook for"):
		return ReasonWebhookUnavailable
	case strings.Contains(text, "admission webhook"), strings.Contains(text, "ValidatingAdmissionPolicy"):
		return ReasonAdmissionDenied
	case len(conflicts(err)) > 0:
		return plan.ReasonFieldConflict
	case s.Code == http.StatusRequestEntityTooLarge, strings.Contains(text, "request is too large"),
		strings.Contains(text, "Too long: may not be more than"), strings.Contains(text, "Too long: must have at most"):
		return ReasonTooLarge
	case apierrors.HasStatusCause(err, "NamespaceTerminating"),
		apierrors.IsNotFound(err) && s.Details != nil && s.Details.Kind == "namespaces":
		return ReasonNamespaceMissing
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return ReasonForbidden
	case strings.Contains(text, "failed to create typed patch object"):
		// A value of the wrong type comes back as an internal error.
		return plan.ReasonInvalid
	case immutable(s):
		return plan.ReasonImmutableField
	case apierrors.IsTooManyRequests(err):
		return ReasonOverloaded
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), s.Code == http.StatusUnprocessableEntity,
		s.Code == http.StatusUnsupportedMediaType:
		return plan.ReasonInvalid
	case apierrors.IsNotFound(err):
		return ReasonNotServed
	}
	return ReasonServerError
}

// messageOf never repeats what the server quotes from a Secret: validation
// messages hold values.
func messageOf(s metav1.Status, id render.ID) string {
	if id.Group != "" || id.Kind != "Secret" {
		return clean(s.Message)
	}
	out := []string{string(s.Reason)}
	if s.Details != nil {
		for _, c := range s.Details.Causes {
			out = append(out, c.Field)
		}
	}
	return clean(strings.Join(out, " "))
}

func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}

// conflicts lists the fields that other managers own.
func conflicts(err error) []plan.Difference {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var out []plan.Difference
	for _, c := range status.Status().Details.Causes {
		if c.Type != metav1.CauseTypeFieldManagerConflict || len(out) >= 20 {
			continue
		}
		d := plan.Difference{Path: clean(c.Field)}
		// The cause has no field for the manager; its message begins with
		// conflict with "<manager>".
		if _, rest, ok := strings.Cut(c.Message, `conflict with "`); ok {
			d.Manager, _, _ = strings.Cut(rest, `"`)
			d.Manager = clean(d.Manager)
		}
		out = append(out, d)
	}
	return out
}

// unreachable says whether an error means that nobody answered, so that going
// on with other objects is pointless.
func unreachable(err error) bool {
	var status apierrors.APIStatus
	if apierrors.IsTooManyRequests(err) {
		return true // it answers, but not us
	}
	return err != nil && !errors.As(err, &status) && !errors.Is(err, ErrNotServed) && !errors.Is(err, errGroupAway) && !errors.Is(err, context.Canceled)
}
