package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Manifest is a rendered object with the digest of its bytes, which the caller
// has computed already.
type Manifest struct {
	Digest string
	JSON   json.RawMessage
}

// Tester tests the revisions of one factory one after the other, as [Runner]
// does, but asks only about objects that changed since the last revision that
// passed. Policies judge each object by itself, so what they said of the others
// stands, as long as everything that an answer depends on is the same: the
// policies, the namespaces, the definitions and Tekton's configuration. When one
// of these changes, or when anything is found wrong, everything is asked again.
//
// What a policy says of the whole is counted (how many objects it matched), so
// the counts of the changed objects as they were are taken away, and those of
// the objects as they are added.
//
// The zero value knows of no revision.
type Tester struct {
	mu   sync.Mutex
	last *passed
	// next is the process that waits for the next test.
	next   *prepared
	closed bool
	// answers are the newest verdicts on parts of a revision.
	answers []answer
}

// passed is a revision of which nothing was found wrong.
type passed struct {
	set     set
	verdict Verdict
}

// answer is a verdict on exactly these objects.
type answer struct {
	asked   string
	verdict Verdict
}

// mostAnswers is how many are remembered: what a commit changed is often what
// the commit before changed.
const mostAnswers = 4

// set is the objects of a revision in their order.
type set struct {
	parts    []part
	byDigest map[string]part
}

// part is an object with what decides how it is treated.
type part struct {
	Manifest
	// context says that answers about other objects depend on it; defines is the
	// group of the kind that it defines, group the object's own.
	context        bool
	defines, group string
}

// Test is [Runner.Test] of all objects.
func (t *Tester) Test(ctx context.Context, r Runner, objects []Manifest) (Verdict, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, err := t.read(objects)
	if err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrCouldNotTell, err)
	}
	if t.last != nil {
		v, told, err := t.difference(ctx, r, now)
		if err != nil {
			return Verdict{}, err
		}
		if told {
			t.last = &passed{set: now, verdict: v}
			return clone(v), nil
		}
	}
	v, err := r.Test(ctx, now.raw())
	if err == nil && v.clean() {
		t.last = &passed{set: now, verdict: v}
	}
	return clone(v), err
}

// read looks at objects that were not there the last time.
func (t *Tester) read(objects []Manifest) (set, error) {
	s := set{byDigest: make(map[string]part, len(objects))}
	for i, m := range objects {
		var p part
		known := false
		if t.last != nil {
			p, known = t.last.set.byDigest[m.Digest]
		}
		if !known {
			var err error
			if p, err = partOf(m); err != nil {
				return set{}, fmt.Errorf("rendered object %d: %w", i, err)
			}
		}
		s.parts = append(s.parts, p)
		s.byDigest[m.Digest] = p
	}
	return s, nil
}

func partOf(m Manifest) (part, error) {
	o, err := Identify(m.JSON)
	if err != nil {
		return part{}, err
	}
	p := part{Manifest: m, group: o.Group}
	_, not := untested[o.Group+"/"+o.Kind]
	switch {
	case o.Group == Group || not, o.Group == "" && o.Kind == "Namespace":
		p.context = true
	case o.Group == "" && o.Kind == "ConfigMap":
		var c struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(m.JSON, &c); err != nil {
			return part{}, err
		}
		p.context = c.Metadata.Labels["app.kubernetes.io/part-of"] == "tekton-pipelines"
	case o.Group == "apiextensions.k8s.io" && o.Kind == "CustomResourceDefinition":
		var d struct {
			Spec struct {
				Group string `json:"group"`
			} `json:"spec"`
		}
		if err := json.Unmarshal(m.JSON, &d); err != nil {
			return part{}, err
		}
		p.defines = d.Spec.Group
	}
	return p, nil
}

// difference asks about what changed. It does not tell when what changed is what
// other answers depend on, or when anything is not as clean as it was.
func (t *Tester) difference(ctx context.Context, r Runner, now set) (v Verdict, told bool, err error) {
	if !slices.Equal(t.last.set.context(), now.context()) {
		return Verdict{}, false, nil
	}
	gone, come := t.last.set.without(now), now.without(t.last.set)
	if len(gone)+len(come) == 0 && len(now.parts) == len(t.last.set.parts) {
		return t.last.verdict, true, nil
	}
	groups := map[string]bool{}
	for _, p := range append(slices.Clone(gone), come...) {
		if p.defines != "" {
			return Verdict{}, false, nil
		}
		groups[p.group] = true
	}
	before, after, err := t.both(ctx, r, t.last.set.around(gone, groups), now.around(come, groups))
	if err != nil {
		return Verdict{}, false, err
	}
	v, told = exchange(t.last.verdict, before, after)
	v.Objects = len(now.parts)
	return v, told, nil
}

// both asks about a part of a revision as it was and as it is, at the same time,
// unless the answers are known.
func (t *Tester) both(ctx context.Context, r Runner, was, is set) (before, after Verdict, err error) {
	before, known := t.recall(was)
	failed := make(chan error, 1)
	if known {
		failed <- nil
	} else {
		go func() {
			var err error
			before, err = r.Test(ctx, was.raw())
			failed <- err
		}()
	}
	after, known = t.recall(is)
	if !known {
		after, err = t.ask(ctx, r, is)
	}
	if err := errors.Join(err, <-failed); err != nil {
		return Verdict{}, Verdict{}, err
	}
	t.note(was, before)
	t.note(is, after)
	return before, after, nil
}

func (t *Tester) recall(s set) (Verdict, bool) {
	asked := s.digest()
	for _, a := range t.answers {
		if a.asked == asked {
			return a.verdict, true
		}
	}
	return Verdict{}, false
}

func (t *Tester) note(s set, v Verdict) {
	if _, known := t.recall(s); known {
		return
	}
	if len(t.answers) == mostAnswers {
		t.answers = t.answers[1:]
	}
	t.answers = append(t.answers, answer{s.digest(), v})
}

// exchange is the verdict on the whole with the counts of one part in place of
// those of another.
func exchange(whole, before, after Verdict) (Verdict, bool) {
	out := clone(whole)
	for _, v := range []Verdict{before, after} {
		if !v.clean() || v.APIVersion != whole.APIVersion || v.Engine != whole.Engine || len(v.Policies) != len(whole.Policies) {
			return Verdict{}, false
		}
	}
	for i := range out.Policies {
		p, b, a := &out.Policies[i], before.Policies[i], after.Policies[i]
		for _, other := range []PolicyResult{b, a} {
			if other.Name != p.Name || other.Kind != p.Kind || other.Digest != p.Digest || other.NotTested != p.NotTested {
				return Verdict{}, false
			}
		}
		if p.Matched += a.Matched - b.Matched; p.Matched < 0 {
			return Verdict{}, false
		}
	}
	out.Isolation = after.Isolation
	return out, true
}

// clean says that nothing at all was found.
func (v Verdict) clean() bool {
	return v.APIVersion == VerdictVersion && len(v.Violations)+len(v.Warnings)+v.Omitted == 0 &&
		!slices.ContainsFunc(v.Policies, func(p PolicyResult) bool { return p.Failed+p.Errors > 0 || p.Invalid != "" })
}

// clone keeps what is remembered from who gets it.
func clone(v Verdict) Verdict {
	v.Policies = slices.Clone(v.Policies)
	v.Violations = slices.Clone(v.Violations)
	v.Warnings = slices.Clone(v.Warnings)
	return v
}

// without lists the parts that the other set does not have.
func (s set) without(other set) []part {
	var out []part
	for _, p := range s.parts {
		if _, known := other.byDigest[p.Digest]; !known {
			out = append(out, p)
		}
	}
	return out
}

// context are the digests of what every answer depends on, in their order.
func (s set) context() []string {
	var out []string
	for _, p := range s.parts {
		if p.context {
			out = append(out, p.Digest)
		}
	}
	return out
}

// around is the set with nothing but some parts and what answers about them
// depend on.
func (s set) around(some []part, groups map[string]bool) set {
	wanted := map[string]bool{}
	for _, p := range some {
		wanted[p.Digest] = true
	}
	var out set
	for _, p := range s.parts {
		if p.context || wanted[p.Digest] || p.defines != "" && groups[p.defines] {
			out.parts = append(out.parts, p)
		}
	}
	return out
}

func (s set) raw() []json.RawMessage {
	out := make([]json.RawMessage, 0, len(s.parts))
	for _, p := range s.parts {
		out = append(out, p.JSON)
	}
	return out
}

func (s set) digest() string {
	var b strings.Builder
	for _, p := range s.parts {
		b.WriteString(p.Digest + "\n")
	}
	return Digest([]byte(b.String()))
}
