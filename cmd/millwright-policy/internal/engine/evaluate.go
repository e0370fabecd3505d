package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	policieskyvernoio "github.com/kyverno/api/api/policies.kyverno.io"
	policiesv1beta1 "github.com/kyverno/api/api/policies.kyverno.io/v1beta1"
	celcompiler "github.com/kyverno/kyverno/pkg/cel/compiler"
	celengine "github.com/kyverno/kyverno/pkg/cel/engine"
	"github.com/kyverno/kyverno/pkg/cel/matching"
	"github.com/kyverno/kyverno/pkg/cel/policies/vpol"
	vpolcompiler "github.com/kyverno/kyverno/pkg/cel/policies/vpol/compiler"
	vpolengine "github.com/kyverno/kyverno/pkg/cel/policies/vpol/engine"
	engineapi "github.com/kyverno/kyverno/pkg/engine/api"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	kjson "sigs.k8s.io/json"

	"millwright.dev/millwright/cmd/millwright-policy/internal/policy"
)

// test is one policy ready to be run.
type test struct {
	result policy.PolicyResult
	policy policiesv1beta1.ValidatingPolicyLike
	engine vpolengine.Engine
	asked  *outside
	// matched are the places of the objects that were counted.
	matched []int
}

// compile makes a test of a policy's bytes. A policy that is not one is a
// result, not an error: the same bytes will never be better.
func compile(raw json.RawMessage, set *objects, asked *outside) (test, error) {
	ref, err := policy.Identify(raw)
	if err != nil {
		return test{}, fmt.Errorf("policy: %w", err)
	}
	t := test{asked: asked, result: policy.PolicyResult{
		Name: ref.PolicyName(), Kind: ref.Kind, Digest: policy.Digest(raw),
	}}
	if t.policy, err = decodePolicy(raw, ref); err != nil {
		t.result.Invalid = policy.Printable(err.Error())
		return t, nil
	}
	if _, err := vpol.Validate(t.policy); err != nil {
		t.result.Invalid = policy.Printable(err.Error())
		return t, nil
	}
	spec := t.policy.GetValidatingPolicySpec()
	switch {
	case spec.EvaluationMode() == policieskyvernoio.EvaluationModeJSON:
		t.result.NotTested = "its evaluation mode is JSON: it is not about objects"
	case celcompiler.ExpressionsUseHTTP(expressions(spec)...):
		t.result.NotTested = "asks a server over HTTP"
	default:
		provider, err := vpolengine.NewProvider(vpolcompiler.NewCompiler(), []policiesv1beta1.ValidatingPolicyLike{t.policy}, nil)
		if err != nil {
			t.result.Invalid = policy.Printable(err.Error())
			return t, nil
		}
		t.engine = vpolengine.NewEngine(provider, set.namespace, matching.NewMatcher())
	}
	return t, nil
}

// decodePolicy reads the policy as strictly as the API server would with field
// validation: a misspelt field would leave a hole where a rule was meant.
func decodePolicy(raw json.RawMessage, ref policy.Object) (policiesv1beta1.ValidatingPolicyLike, error) {
	var p policiesv1beta1.ValidatingPolicyLike
	switch ref.Kind {
	case policieskyvernoio.ValidatingPolicyKind:
		p = &policiesv1beta1.ValidatingPolicy{}
	case policieskyvernoio.NamespacedValidatingPolicyKind:
		p = &policiesv1beta1.NamespacedValidatingPolicy{}
	default:
		return nil, fmt.Errorf("kind %s is not evaluated here", ref.Kind)
	}
	strict, err := kjson.UnmarshalStrict(raw, p)
	if err := errors.Join(append(strict, err)...); err != nil {
		return nil, err
	}
	return p, nil
}

// runs says whether there is anything to be evaluated.
func (t *test) runs() bool { return t.result.Invalid == "" && t.result.NotTested == "" }

// run evaluates the policy for every object and notes what it says.
func (t *test) run(ctx context.Context, set objects, who authenticationv1.UserInfo, v *policy.Verdict) error {
	for i, o := range set.list {
		if ns := t.policy.GetNamespace(); ns != "" && ns != o.ref.Namespace {
			continue
		}
		request := celengine.Request(t.asked, o.kind, o.resource, "", o.ref.Name, o.namespace,
			admissionv1.Create, who, o.content, nil, false, nil)
		response, err := t.engine.Handle(ctx, request, nil)
		if err != nil {
			return fmt.Errorf("policy %s on %s: %w", t.result.Name, o.ref, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		before := t.result.Matched
		for _, p := range response.Policies {
			for _, rule := range p.Rules {
				t.note(o, rule, v)
			}
		}
		for range t.result.Matched - before {
			t.matched = append(t.matched, i)
		}
		if question := t.asked.take(); question != "" {
			t.result.NotTested = policy.Printable("asks the cluster: " + question)
		}
	}
	return nil
}

// note counts one answer of the engine and keeps it if it is a no. An
// expression that fails is a no where admission would make it one: trying again
// would not change it. One that failed for want of an answer from outside is
// neither.
func (t *test) note(o object, rule engineapi.RuleResponse, v *policy.Verdict) {
	violation := policy.Violation{Policy: t.result.Name, Rule: position(rule), Object: o.ref}
	switch rule.Status() {
	case engineapi.RuleStatusPass:
		t.result.Matched++
		return
	case engineapi.RuleStatusFail, engineapi.RuleStatusWarn:
		t.result.Matched++
		t.result.Failed++
		violation.Message = policy.Printable(rule.Message())
	case engineapi.RuleStatusError:
		t.result.Matched++
		t.result.Errors++
		if t.asked.question != "" || t.policy.GetFailurePolicy(false) == admissionregistrationv1.Ignore {
			return
		}
		violation.Message = policy.Printable("cannot be evaluated: " + rule.Message())
	default:
		return
	}
	if t.denies() {
		v.Violations = append(v.Violations, violation)
	} else {
		v.Warnings = append(v.Warnings, violation)
	}
}

// denies says whether admission would refuse on this policy's no.
func (t *test) denies() bool {
	spec := t.policy.GetValidatingPolicySpec()
	if !spec.AdmissionEnabled() {
		return false
	}
	return slices.Contains(spec.ValidationActions(), admissionregistrationv1.Deny)
}

// position says which expression spoke.
func position(rule engineapi.RuleResponse) string {
	if index, ok := rule.Properties()["cel.validationIndex"]; ok {
		return "validations[" + index + "]"
	}
	if rule.Name() != "" {
		return rule.Name()
	}
	return "validations"
}

// expressions is all CEL of a policy.
func expressions(spec *policiesv1beta1.ValidatingPolicySpec) []string {
	var all []string
	for _, v := range spec.Variables {
		all = append(all, v.Expression)
	}
	for _, c := range spec.MatchConditions {
		all = append(all, c.Expression)
	}
	for _, v := range spec.Validations {
		all = append(all, v.Expression, v.MessageExpression)
	}
	for _, a := range spec.AuditAnnotations {
		all = append(all, a.ValueExpression)
	}
	return all
}

// user is the requester as the API server would present a service account.
func user(name string) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: name, Groups: []string{"system:authenticated"}}
	if account, ok := strings.CutPrefix(name, "system:serviceaccount:"); ok {
		namespace, _, _ := strings.Cut(account, ":")
		info.Groups = append(info.Groups, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	}
	return info
}
