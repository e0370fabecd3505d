package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"millwright.dev/millwright/internal/parallel"
)

// Manifest is a rendered object with the digest of its bytes, which the caller
// has computed already. JSON gives the bytes; it is called for objects that are not
// known and for those that are asked about.
type Manifest struct {
	Digest string
	JSON   func() []byte
}

// Tester tests the revisions of one factory one after the other, as [Runner]
// does, but asks only about objects of which it does not know what the policies
// say. Policies judge each object by itself, so what they said of it stands, as
// long as everything that an answer depends on is the same: the policies, the
// namespaces, the definitions and Tekton's configuration. When one of these
// changes, or when anything is found wrong, everything is asked again.
//
// What a policy says of the whole is counted (how many objects it matched), so
// it is kept for each object how often each policy matched it.
//
// The zero value knows of no revision.
type Tester struct {
	mu   sync.Mutex
	last *passed
	// next is the process that waits for the next test.
	next   *prepared
	closed bool
}

// passed is a revision of which nothing was found wrong.
type passed struct {
	set     set
	verdict Verdict
	// matched is how often each tested policy matched an object, by the object's
	// digest. Objects of earlier revisions are among them, as long as what answers
	// depend on has not changed since.
	matched map[string][]int
}

// mostMatched bounds what is known of objects that are not declared any more.
const mostMatched = 10_000

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
			t.last.set, t.last.verdict = now, v
			return clone(v), nil
		}
	}
	v, err := t.ask(ctx, r, now, nil)
	if err == nil && v.clean() {
		t.last = &passed{set: now, verdict: v, matched: map[string][]int{}}
		t.last.learn(now, v)
	}
	return clone(v), err
}

// read looks at objects that were not there the last time.
func (t *Tester) read(objects []Manifest) (set, error) {
	parts, errs := make([]part, len(objects)), make([]error, len(objects))
	var unknown []int
	for i, m := range objects {
		known := false
		if t.last != nil {
			parts[i], known = t.last.set.byDigest[m.Digest]
		}
		if !known {
			unknown = append(unknown, i)
		}
	}
	parallel.Each(len(unknown), func(n int) {
		i := unknown[n]
		parts[i], errs[i] = partOf(objects[i])
	})
	s := set{parts: parts, byDigest: make(map[string]part, len(objects))}
	for i, p := range parts {
		if errs[i] != nil {
			return set{}, fmt.Errorf("rendered object %d: %w", i, errs[i])
		}
		s.byDigest[objects[i].Digest] = p
	}
	return s, nil
}

func partOf(m Manifest) (part, error) {
	raw := m.JSON()
	o, err := Identify(raw)
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
		if err := json.Unmarshal(raw, &c); err != nil {
			return part{}, err
		}
		p.context = c.Metadata.Labels["app.kubernetes.io/part-of"] == "tekton-pipelines"
	case o.Group == "apiextensions.k8s.io" && o.Kind == "CustomResourceDefinition":
		var d struct {
			Spec struct {
				Group string `json:"group"`
			} `json:"spec"`
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			return part{}, err
		}
		p.defines = d.Spec.Group
	}
	return p, nil
}

// difference asks about what is not known. It does not tell when what changed is
// what other answers depend on, or when anything is not as clean as it was.
func (t *Tester) difference(ctx context.Context, r Runner, now set) (v Verdict, told bool, err error) {
	if !slices.Equal(t.last.set.context(), now.context()) {
		return Verdict{}, false, nil
	}
	for _, p := range append(t.last.set.without(now), now.without(t.last.set)...) {
		if p.defines != "" {
			return Verdict{}, false, nil
		}
	}
	v = t.last.verdict
	if unknown, groups := t.last.unknown(now); len(unknown) > 0 {
		asked := now.around(unknown, groups)
		found, err := t.ask(ctx, r, asked, asked.context())
		if err != nil {
			return Verdict{}, false, err
		}
		if !found.clean() || !found.of(v) {
			return Verdict{}, false, nil
		}
		t.last.learn(asked, found)
		v.Isolation = found.Isolation
	}
	t.last.forget(now)
	return t.last.sum(v, now), true, nil
}

// unknown are the objects of which it is not known what the policies say, and the
// groups of their kinds.
func (l *passed) unknown(now set) (some []part, groups map[string]bool) {
	groups = map[string]bool{}
	for _, p := range now.parts {
		if _, known := l.matched[p.Digest]; !known {
			some = append(some, p)
			groups[p.group] = true
		}
	}
	return some, groups
}

// learn keeps what a verdict says of objects.
func (l *passed) learn(asked set, v Verdict) {
	for _, p := range asked.parts {
		l.matched[p.Digest] = make([]int, len(v.Matches))
	}
	for policy, places := range v.Matches {
		for _, at := range places {
			l.matched[asked.parts[at].Digest][policy]++
		}
	}
}

// forget lets go of objects that are not declared any more when there are many.
func (l *passed) forget(now set) {
	if len(l.matched) > mostMatched+len(now.parts) {
		for digest := range l.matched {
			if _, declared := now.byDigest[digest]; !declared {
				delete(l.matched, digest)
			}
		}
	}
}

// sum is a verdict with the counts of these objects.
func (l *passed) sum(v Verdict, now set) Verdict {
	v = clone(v)
	v.Objects, v.Matches = len(now.parts), nil
	for i := range v.Policies {
		v.Policies[i].Matched = 0
	}
	for _, p := range now.parts {
		for policy, n := range l.matched[p.Digest] {
			v.Policies[policy].Matched += n
		}
	}
	return v
}

// of says whether two verdicts are of the same engine on the same policies.
func (v Verdict) of(other Verdict) bool {
	return v.APIVersion == other.APIVersion && v.Engine == other.Engine &&
		slices.EqualFunc(v.Policies, other.Policies, func(a, b PolicyResult) bool {
			return a.Name == b.Name && a.Kind == b.Kind && a.Digest == b.Digest && a.NotTested == b.NotTested
		})
}

// clean says that nothing at all was found.
func (v Verdict) clean() bool {
	return v.APIVersion == VerdictVersion && len(v.Violations)+len(v.Warnings)+v.Omitted == 0 &&
		!slices.ContainsFunc(v.Policies, func(p PolicyResult) bool { return p.Failed+p.Errors > 0 || p.Invalid != "" })
}

// clone keeps what is remembered from who gets it.
func clone(v Verdict) Verdict {
	v.Matches = nil
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

// context are the digests of what every answer depends on, in their order; never nil,
// which would be a process that was told nothing at all.
func (s set) context() []string {
	out := []string{}
	for _, p := range s.parts {
		if p.context {
			out = append(out, p.Digest)
		}
	}
	return out
}

// around is the set with nothing but some parts and what answers about them
// depend on. What all answers depend on comes first.
func (s set) around(some []part, groups map[string]bool) set {
	wanted := map[string]bool{}
	for _, p := range some {
		wanted[p.Digest] = true
	}
	var out, rest set
	for _, p := range s.parts {
		switch {
		case p.context:
			out.parts = append(out.parts, p)
		case wanted[p.Digest], p.defines != "" && groups[p.defines]:
			rest.parts = append(rest.parts, p)
		}
	}
	out.parts = append(out.parts, rest.parts...)
	return out
}

func (s set) raw() []json.RawMessage {
	out := make([]json.RawMessage, 0, len(s.parts))
	for _, p := range s.parts {
		out = append(out, p.JSON())
	}
	return out
}
