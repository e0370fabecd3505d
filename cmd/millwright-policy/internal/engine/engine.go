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
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"millwright.dev/millwright/cmd/millwright-policy/internal/policy"
)

// Test answers a request.
func Test(ctx context.Context, req policy.Request) (policy.Verdict, error) {
	objects, err := decodeObjects(req.Objects)
	if err != nil {
		return policy.Verdict{}, err
	}
	v := policy.Verdict{
		APIVersion: policy.VerdictVersion, Engine: engineVersion(), Objects: len(objects.list),
		Policies: []policy.PolicyResult{}, Violations: []policy.Violation{}, Warnings: []policy.Violation{},
	}
	asked := newOutside()
	seen := map[string]bool{}
	for _, raw := range req.Policies {
		t, err := compile(raw, objects, asked)
		if err != nil {
			return policy.Verdict{}, err
		}
		if key := t.result.Kind + "/" + t.result.Name; seen[key] {
			t.result.Invalid = "another policy has the same name"
		} else {
			seen[key] = true
		}
		if t.result.Invalid == "" && t.result.NotTested == "" {
			if err := t.run(ctx, objects, user(req.User), &v); err != nil {
				return policy.Verdict{}, err
			}
		}
		v.Policies = append(v.Policies, t.result)
	}
	tekton, err := validateTekton(ctx, objects)
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
