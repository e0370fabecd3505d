// Package engine evaluates policies against objects with Kyverno's own engine,
// as if each object were created, and validates Tekton's objects with Tekton's
// own code.
//
// What differs from admission in the cluster, on purpose: nothing is excluded
// (Kyverno skips its own and the system's namespaces); policies that can only
// be answered by a server are reported as not tested; PolicyExceptions do not
// count. And by necessity: an object is matched under the API version that it
// is written in, not under its equivalents.
package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"

	"millwright.dev/millwright/cmd/millwright-policy/internal/policy"
)

// Test answers a request.
func Test(ctx context.Context, req policy.Request) (policy.Verdict, error) {
	p, err := Prepare(ctx, req)
	if err != nil {
		return policy.Verdict{}, err
	}
	return p.Test(ctx, nil)
}

// Prepared are the policies of a request, compiled, with the objects of its first
// part.
type Prepared struct {
	tests []test
	set   *objects
	asked *outside
	user  authenticationv1.UserInfo
}

// Prepare does what can be done before the rest of a request is known. It tries
// the policies on the objects that it has and forgets what they say, since much of
// the engine is only made when it is first used.
func Prepare(ctx context.Context, req policy.Request) (*Prepared, error) {
	p := &Prepared{set: newObjects(), asked: newOutside(), user: user(req.User)}
	if err := p.set.add(req.Objects); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, raw := range req.Policies {
		t, err := compile(raw, p.set, p.asked)
		if err != nil {
			return nil, err
		}
		if key := t.result.Kind + "/" + t.result.Name; seen[key] {
			t.result.Invalid = "another policy has the same name"
		} else {
			seen[key] = true
		}
		p.tests = append(p.tests, t)
	}
	if req.More {
		p.try(ctx)
	}
	return p, nil
}

// try runs copies of the tests: what they count is not counted.
func (p *Prepared) try(ctx context.Context) {
	p.set.resolve()
	for _, t := range p.tests {
		if t.runs() {
			_ = t.run(ctx, *p.set, p.user, &policy.Verdict{}) // the real run says what is wrong
		}
	}
	p.asked.take()
}

// Test answers a request with the rest of its objects.
func (p *Prepared) Test(ctx context.Context, more []json.RawMessage) (policy.Verdict, error) {
	if err := p.set.add(more); err != nil {
		return policy.Verdict{}, err
	}
	p.set.resolve()
	v := policy.Verdict{
		APIVersion: policy.VerdictVersion, Engine: engineVersion(), Objects: len(p.set.list),
		Policies: []policy.PolicyResult{}, Violations: []policy.Violation{}, Warnings: []policy.Violation{},
	}
	for _, t := range p.tests {
		if t.runs() {
			if err := t.run(ctx, *p.set, p.user, &v); err != nil {
				return policy.Verdict{}, err
			}
		}
		v.Policies = append(v.Policies, t.result)
		v.Matches = append(v.Matches, t.matched)
	}
	tekton, err := validateTekton(ctx, *p.set)
	if err != nil {
		return policy.Verdict{}, err
	}
	v.Violations = append(v.Violations, tekton...)
	finish(&v)
	return v, nil
}

// finish puts the violations into an order that does not depend on how they
// were found, and keeps the answer small enough to be taken.
func finish(v *policy.Verdict) {
	for _, list := range []*[]policy.Violation{&v.Violations, &v.Warnings} {
		slices.SortStableFunc(*list, func(a, b policy.Violation) int {
			return cmp.Or(
				cmp.Compare(a.Policy, b.Policy),
				cmp.Compare(a.Object.String(), b.Object.String()),
				cmp.Compare(a.Rule, b.Rule),
				cmp.Compare(a.Message, b.Message),
			)
		})
		if extra := len(*list) - policy.MaxViolations; extra > 0 {
			v.Omitted += extra
			*list = (*list)[:policy.MaxViolations]
		}
	}
}

// engineVersion reads the versions out of the program itself, so that they
// cannot differ from what was linked.
func engineVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	names := map[string]string{
		"github.com/kyverno/kyverno":   "kyverno",
		"github.com/tektoncd/pipeline": "tekton",
	}
	var found []string
	for _, m := range info.Deps {
		if name, ok := names[m.Path]; ok {
			found = append(found, fmt.Sprintf("%s %s", name, m.Version))
		}
	}
	slices.Sort(found)
	return strings.Join(found, ", ")
}
