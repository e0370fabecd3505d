// Package health judges objects of kinds that Kubernetes does not know, by
// expressions that a factory's configuration gives.
//
// A [Check] has the expressions of one kind in the Common Expression Language:
// current says that an object works, failed that it will not without help. Both
// see the object as the variable object, as in admission policies:
//
//	current: object.status.phase == "Ready"
//	failed:  object.status.phase == "Broken"
//
// [Compile] refuses what does not compile, what can be no boolean, and what is
// longer than [MaxExpression]. [Check.Judge] is pure and bounded: an expression
// that costs too much is stopped. What cannot be evaluated, most often because
// the status does not have the field yet, is not yes: the object is in progress,
// and the message says what is missing. An object whose controller has not seen
// its newest generation is in progress whatever the expressions say.
//
// Values of the object reach no message: errors of evaluation are told by their
// kind.
package health

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
)

const (
	// MaxExpression bounds the length of an expression.
	MaxExpression = 1024
	// maxCost bounds one evaluation: far above what reading a status costs.
	maxCost = 100_000
)

// Verdict is what an object's status says.
type Verdict string

// The verdicts.
const (
	Current    Verdict = "Current"
	InProgress Verdict = "InProgress"
	Failed     Verdict = "Failed"
)

// Check judges the objects of one kind. [Compile] makes one.
type Check struct {
	apiVersion, kind string
	current, failed  cel.Program
}

// Compile makes a check; failed may be empty. The error names the expression
// that is wrong and where.
func Compile(apiVersion, kind, current, failed string) (Check, error) {
	env, err := cel.NewEnv(cel.Variable("object", cel.DynType))
	if err != nil {
		return Check{}, fmt.Errorf("preparing expressions: %w", err)
	}
	c := Check{apiVersion: apiVersion, kind: kind}
	if c.current, err = compile(env, current); err != nil {
		return Check{}, fmt.Errorf("current: %w", err)
	}
	if failed == "" {
		return c, nil
	}
	if c.failed, err = compile(env, failed); err != nil {
		return Check{}, fmt.Errorf("failed: %w", err)
	}
	return c, nil
}

func compile(env *cel.Env, text string) (cel.Program, error) {
	if text == "" || len(text) > MaxExpression {
		return nil, fmt.Errorf("%d bytes, not between 1 and %d", len(text), MaxExpression)
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, errors.New(strings.Join(strings.Fields(issues.Err().Error()), " "))
	}
	if t := ast.OutputType(); t != cel.BoolType && t != cel.DynType {
		return nil, fmt.Errorf("gives a %s, not a boolean", t)
	}
	return env.Program(ast, cel.CostLimit(maxCost))
}

// For says whether a check is about a kind. Versions do not matter beyond the
// one that it was written for: fields may differ.
func (c Check) For(apiVersion, kind string) bool { return c.apiVersion == apiVersion && c.kind == kind }

// Judge judges a live object by its content.
func (c Check) Judge(object map[string]any) (Verdict, string) {
	if seen, want, both := generations(object); both && seen < want {
		return InProgress, "its controller has not seen the newest generation yet"
	}
	if c.failed != nil {
		// That failed cannot be evaluated yet says nothing.
		if yes, _ := ask(c.failed, object); yes {
			return Failed, "the expression failed holds"
		}
	}
	yes, problem := ask(c.current, object)
	switch {
	case yes:
		return Current, ""
	case problem != "":
		return InProgress, "the expression current cannot be evaluated yet: " + problem
	}
	return InProgress, "the expression current does not hold yet"
}

func generations(object map[string]any) (seen, want int64, both bool) {
	status, _ := object["status"].(map[string]any)
	metadata, _ := object["metadata"].(map[string]any)
	seen, a := status["observedGeneration"].(int64)
	want, b := metadata["generation"].(int64)
	return seen, want, a && b
}

// ask evaluates. The words of the library quote values, so only what kind of
// error it was goes out.
func ask(p cel.Program, object map[string]any) (yes bool, problem string) {
	out, _, err := p.Eval(map[string]any{"object": object})
	switch {
	case err == nil:
		if out.Type() != types.BoolType {
			return false, "it gives no boolean"
		}
		return out.Value() == true, ""
	case strings.Contains(err.Error(), "no such key"):
		return false, "a field that it reads is not there"
	case strings.Contains(err.Error(), "cost limit"):
		return false, "it costs too much"
	}
	return false, "it does not fit the object"
}
