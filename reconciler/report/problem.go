package report

import (
	"errors"
	"strings"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/source"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
	"millwright.dev/millwright/render/policy"
)

// Class is one of the two ways in which an answer is not yes.
type Class string

// The classes.
const (
	// No is final until the input changes: a refusal.
	No Class = "No"
	// CouldNotTell is retried with backoff.
	CouldNotTell Class = "CouldNotTell"
)

// Problem is an answer that is not yes, in the words of status, events, JSON
// and docs. It holds no values of objects and no secrets.
type Problem struct {
	Class  Class  `json:"class"`
	Reason string `json:"reason"`
	// Code is the finer stable code, for example sig/missing.
	Code   string `json:"code,omitempty"`
	Commit string `json:"commit,omitempty"`
	Path   string `json:"path,omitempty"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
	// Needs are the rules of the trust policy that are not met yet.
	Needs []v1alpha1.Need `json:"needs,omitempty"`
}

// maxDetail keeps a hostile repository from filling conditions and events.
const maxDetail = 600

// Describe turns the error of a stage into a problem. What no package has
// named is an inability to tell, with the given reason.
func Describe(err error, otherwise string) Problem {
	p := describe(err, otherwise)
	p.Detail, p.Path = OneLine(p.Detail), OneLine(p.Path)
	if p.Hint == "" {
		p.Hint = hintFor(p.Reason)
	}
	return p
}

func describe(err error, otherwise string) Problem {
	var (
		verify *gitverify.Refusal
		rend   *render.Refusal
		config *factory.Refusal
		tested *policy.Refusal
		plans  *plan.Refusal
		fetch  *source.Error
		trust  *tufroot.Error
	)
	switch {
	case errors.As(err, &verify):
		return Problem{Class: No, Reason: verify.Reason, Code: verify.Code, Commit: string(verify.Commit), Path: verify.Path, Detail: verify.Detail, Hint: verify.Hint, Needs: needsOf(verify.Needs)}
	case errors.As(err, &rend):
		return Problem{Class: No, Reason: rend.Reason, Code: rend.Code, Path: rend.Path, Detail: rend.Detail, Hint: rend.Hint}
	case errors.As(err, &config):
		return Problem{Class: No, Reason: config.Reason, Code: config.Code, Path: factory.Path, Detail: config.Field + ": " + config.Detail, Hint: config.Hint}
	case errors.As(err, &tested):
		return Problem{Class: No, Reason: tested.Reason, Code: tested.Code, Path: tested.Object.String(), Detail: tested.Detail, Hint: tested.Hint}
	case errors.As(err, &plans):
		return Problem{Class: No, Reason: plans.Reason, Code: plans.Code, Path: plans.Object, Detail: plans.Detail, Hint: plans.Hint}
	case errors.As(err, &fetch):
		return Problem{Class: CouldNotTell, Reason: fetch.Reason, Detail: fetch.Error()}
	case errors.As(err, &trust):
		return Problem{Class: CouldNotTell, Reason: trustReason(trust.Code), Code: trust.Code, Path: trust.Role, Detail: trust.Err.Error(), Hint: trust.Hint}
	default:
		return Problem{Class: CouldNotTell, Reason: otherwise, Detail: err.Error()}
	}
}

// OneLine makes text from outside fit for a terminal and a condition: one
// line, no control characters, bounded (attack row D34).
func OneLine(s string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == 0x2028 || r == 0x2029 || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return ' '
		}
		return r
	}, s)
	clean = strings.Join(strings.Fields(clean), " ")
	if len(clean) > maxDetail {
		clean = strings.ToValidUTF8(clean[:maxDetail], "") + "…"
	}
	return clean
}

// Text is the problem for people: what, where, why, and what to do.
func (p Problem) Text() string {
	var b strings.Builder
	b.WriteString(p.Reason)
	if p.Code != "" {
		b.WriteString(" (" + p.Code + ")")
	}
	if p.Commit != "" {
		b.WriteString(" commit " + p.Commit)
	}
	if p.Path != "" {
		b.WriteString(" at " + OneLine(p.Path))
	}
	b.WriteString(": " + p.Detail)
	if len(p.Needs) > 0 {
		b.WriteString("; " + NeedsText(p.Needs))
	}
	if p.Hint != "" {
		b.WriteString("; to mend it: " + p.Hint)
	}
	return b.String()
}
