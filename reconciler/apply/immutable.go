package apply

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/plan"
)

// immutableWords are how the API server's own kinds say that a field cannot be
// changed in place, at the end of what it says about the field. A definition's
// transition rules say whatever their authors wrote; most say immutable.
func immutableWords() []string {
	return []string{
		"field is immutable", "is immutable", "field is immutable when `immutable` is set", "may not change once set",
		"may not be changed in an update", "cannot change roleRef", "may not be changed", "field cannot be changed",
		"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
	}
}

// immutable says whether all that is wrong with an object is that fields of it
// cannot be changed in place. If anything else is wrong too, making it anew would
// not help.
func immutable(s metav1.Status) bool {
	if s.Code != http.StatusUnprocessableEntity || s.Details == nil || len(s.Details.Causes) == 0 {
		return false
	}
	return !slices.ContainsFunc(s.Details.Causes, func(c metav1.StatusCause) bool { return !unchangeable(c.Message) })
}

func unchangeable(message string) bool {
	for _, words := range immutableWords() {
		if strings.HasSuffix(message, words) {
			return true
		}
	}
	// Sets of fields, as of a StatefulSet or a Pod: "updates to … are forbidden".
	return strings.Contains(message, "updates to ") && strings.Contains(message, "forbidden") ||
		strings.Contains(message, "updates may not change fields other than")
}

// immutableText names the fields and no value: the server quotes the new ones.
func immutableText(s metav1.Status) string {
	var names []string
	for _, c := range s.Details.Causes {
		if !slices.Contains(names, c.Field) {
			names = append(names, c.Field)
		}
	}
	return clean("cannot be changed in place: " + strings.Join(names, ", ") +
		"; declare it under a new name, or permit recreate: true for it in factory.yaml")
}

func immutableFields(err error) []plan.Difference {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var out []plan.Difference
	for _, c := range status.Status().Details.Causes {
		if path := clean("." + c.Field); len(out) < 20 && !slices.ContainsFunc(out, func(d plan.Difference) bool { return d.Path == path }) {
			out = append(out, plan.Difference{Path: path})
		}
	}
	return out
}
