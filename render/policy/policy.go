// Package policy tests rendered manifests against the factory's own policies
// before the cluster sees them.
//
// The policies are the ValidatingPolicy objects (policies.kyverno.io) among the
// manifests themselves, so a revision is judged by what it would install. They
// are evaluated by Kyverno's own engine, and every Tekton object by Tekton's own
// validation, in a process of their own (cmd/millwright-policy): a policy that
// panics, loops or eats memory takes down a child and not the reconciler, and
// the engine's dependencies never enter this module.
//
// There are three outcomes. A [Verdict] whose Refusal is nil is yes. A Verdict
// with a [Refusal] is no, final until the revision changes. An error from
// [Runner.Test] is "could not tell": the process could not be started, was
// killed at its deadline or its memory limit, panicked, or answered something
// that is not a verdict on exactly what it was asked. It is never a pass.
//
// What it refuses to do: it never asks a cluster or a registry or any other
// server, and says of a policy that wants to ([PolicyResult.NotTested]) that
// nothing was learnt; it honours no PolicyException; it never hands values of
// Secrets to a policy.
package policy

import (
	"fmt"
	"strings"
)

// Reasons and codes of a [Refusal].
const (
	ReasonViolation = "PolicyViolation"
	ReasonInvalid   = "PolicyInvalid"

	CodeViolated   = "policy/violated"
	CodeTekton     = "policy/tekton-invalid"
	CodeNotAPolicy = "policy/does-not-compile"
	CodeNoVerdict  = "policy/no-verdict"

	hintViolation = "change the object or the policy in a new signed commit; millwright render shows both"
	hintInvalid   = "correct the policy in a new signed commit"

	shownInARefusal = 3
)

// Refusal is a definite no: final until the revision changes.
type Refusal struct {
	// Reason is the CamelCase condition reason.
	Reason string
	// Code is the finer stable code.
	Code string
	// Object is the first object or policy concerned.
	Object Object
	// Detail says what was found; Hint what would mend it.
	Detail, Hint string
}

// Error is the refusal on one line.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s (%s): %s", r.Reason, r.Code, r.Detail)
}

// Refusal is nil when nothing forbids the revision. The zero Verdict, which
// comes with an error, forbids everything.
func (v Verdict) Refusal() *Refusal {
	if v.APIVersion != VerdictVersion {
		return &Refusal{Reason: ReasonInvalid, Code: CodeNoVerdict, Detail: "the policies were not tested", Hint: "test them first"}
	}
	for _, p := range v.Policies {
		if p.Invalid != "" {
			return &Refusal{
				Reason: ReasonInvalid, Code: CodeNotAPolicy,
				Object: Object{Group: Group, Kind: p.Kind, Name: p.Name},
				Detail: fmt.Sprintf("policy %s: %s", p.Name, p.Invalid), Hint: hintInvalid,
			}
		}
	}
	if len(v.Violations) == 0 {
		return nil
	}
	first := v.Violations[0]
	code := CodeViolated
	if first.Rule == TektonRule {
		code = CodeTekton
	}
	return &Refusal{
		Reason: ReasonViolation, Code: code, Object: first.Object,
		Detail: v.describe(), Hint: hintViolation,
	}
}

// describe shows the first violations and counts the rest.
func (v Verdict) describe() string {
	shown := v.Violations
	if len(shown) > shownInARefusal {
		shown = shown[:shownInARefusal]
	}
	lines := make([]string, 0, len(shown)+1)
	for _, violation := range shown {
		lines = append(lines, violation.String())
	}
	if rest := len(v.Violations) + v.Omitted - len(shown); rest > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(lines, "; ")
}
