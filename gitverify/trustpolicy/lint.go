package trustpolicy

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
)

// Warning is something that a policy may say, but that is seldom meant.
type Warning struct {
	// Code is stable: alone, reserve, window, short, dot, role, machine, person,
	// address, literal, overlap, unused, uncovered, freshness, heartbeat.
	Code   string
	Line   int
	Detail string
}

func (w Warning) String() string {
	if w.Line == 0 {
		return w.Code + ": " + w.Detail
	}
	return fmt.Sprintf("line %d: %s: %s", w.Line, w.Code, w.Detail)
}

// Surroundings are what a policy is held against. Only lint asks for them: what a
// policy means depends on neither a clock nor a tree.
type Surroundings struct {
	// Path is where the policy lies.
	Path string
	Now  time.Time
	// Files are the paths of the tree; none: rules are not held against a tree.
	Files []string
}

// Lint lists what is worth a second look, in the order of the file's sections.
func (p *Policy) Lint(s Surroundings) []Warning {
	var l linter
	l.identities(p, s.Now)
	l.people(p)
	l.overlaps(p)
	l.rules(p, s)
	l.owner(p, s.Path)
	l.tree(p, s.Files)
	l.freshness(p)
	return l.found
}

type linter struct{ found []Warning }

func (l *linter) warn(line int, code, format string, args ...any) {
	l.found = append(l.found, Warning{Code: code, Line: line, Detail: fmt.Sprintf(format, args...)})
}

func (l *linter) identities(p *Policy, now time.Time) {
	for i := range p.Identities {
		id := &p.Identities[i]
		switch {
		case !id.NotAfter.IsZero() && now.After(id.NotAfter):
			l.warn(id.line, "window", "identity %q: its window ended on %s", id.Name, id.NotAfter.Format(time.RFC3339))
		case now.Before(id.NotBefore):
			l.warn(id.line, "window", "identity %q: its window begins on %s", id.Name, id.NotBefore.Format(time.RFC3339))
		}
		if tree, err := syntax.Parse(id.SubjectPattern, syntax.Perl); err == nil && looseDot(tree) {
			l.warn(id.line, "dot", `identity %q: a bare dot in subjectPattern is any character; write \. for a dot`, id.Name)
		}
		for _, role := range id.Roles {
			switch used := slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Role == role }); {
			case role == RoleHeartbeat || role == RoleRelease:
			case !used:
				l.warn(id.line, "role", "identity %q: no rule asks for role %s, so that it allows nothing", id.Name, role)
			case id.Person == "":
				l.warn(id.line, "machine", "identity %q: it has role %s and no person, so that it never counts", id.Name, role)
			}
		}
	}
}

// people finds names of persons that a human takes for one: they would count
// twice (row C17); and addresses under which one can commit as the other (row B07).
func (l *linter) people(p *Policy) {
	spelt, owner := map[string]string{}, map[string]*Identity{}
	for i := range p.Identities {
		id := &p.Identities[i]
		key := strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "", ".", "").Replace(id.Person))
		if first, ok := spelt[key]; ok && first != id.Person {
			l.warn(id.line, "person", "identity %q: person %q and person %q count as two", id.Name, id.Person, first)
		}
		if id.Person != "" {
			spelt[key] = id.Person
		}
		for _, email := range id.Emails {
			if first := owner[email]; first != nil && first.Person != id.Person {
				l.warn(id.line, "address", "identity %q: %s is also a committer address of %q, so that either can commit as the other", id.Name, email, first.Name)
			}
			owner[email] = id
		}
	}
}

func (l *linter) rules(p *Policy, s Surroundings) {
	for i := range p.Rules {
		r := &p.Rules[i]
		if now := p.PeopleAt(r.Role, s.Now); len(now) < r.Threshold {
			l.warn(r.line, "short", "rule %q: it needs %d of role %s, and %d are in force now", r.Name, r.Threshold, r.Role, len(now))
		}
		for _, pattern := range r.Paths {
			if strings.ContainsAny(string(pattern), "?[]{}!") {
				l.warn(r.line, "literal", "rule %q: in %s only * is special", r.Name, quote(string(pattern)))
			}
		}
	}
}

// PeopleAt lists the distinct persons who hold the role by an identity that is in
// force and not revoked at that time, sorted.
func (p *Policy) PeopleAt(role string, at time.Time) []string {
	return p.people(func(id *Identity) bool {
		_, revoked := p.RevokedIdentity(id.Name, at)
		return id.HasRole(role) && id.InForce(at) && !revoked
	})
}

// owner is about the rules of the policy itself.
func (l *linter) owner(p *Policy, path string) {
	own := p.RulesFor(path)
	alone := p.people(func(id *Identity) bool {
		return !slices.ContainsFunc(own, func(r *Rule) bool { return r.Threshold > 1 || !slices.Contains(p.unrevoked(r.Role), id.Person) })
	})
	if len(alone) > 0 {
		l.warn(own[0].line, "alone", "%s alone can change this policy, and with it everything; give %s a rule with threshold 2", either(alone), path)
	}
	for _, r := range own {
		if able := p.unrevoked(r.Role); len(able) == r.Threshold {
			l.warn(r.line, "reserve", "rule %q: it needs all who have role %s (%s): if one is lost, nobody can change this policy", r.Name, r.Role, strings.Join(able, ", "))
		}
	}
}

// either names a few of many people.
func either(people []string) string {
	const most = 5
	if len(people) > most {
		return fmt.Sprintf("each of %s and %d more", strings.Join(people[:most], ", "), len(people)-most)
	}
	if len(people) > 1 {
		return "each of " + strings.Join(people, ", ")
	}
	return people[0]
}

// tree holds the rules against the files that there are.
func (l *linter) tree(p *Policy, files []string) {
	if len(files) == 0 {
		return
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		for _, pattern := range r.Paths {
			if !slices.ContainsFunc(files, pattern.Match) {
				l.warn(r.line, "unused", "rule %q: no file matches %s", r.Name, quote(string(pattern)))
			}
		}
		for _, overlay := range r.Affects {
			if !slices.ContainsFunc(files, func(file string) bool { return strings.HasPrefix(file, overlay+"/") }) {
				l.warn(r.line, "unused", "rule %q: there is no overlay %s", r.Name, quote(overlay))
			}
		}
	}
	var bare []string
	for _, file := range files {
		if len(p.RulesFor(file)) == 0 {
			bare = append(bare, file)
		}
	}
	const most = 20
	for _, file := range bare[:min(most, len(bare))] {
		l.warn(0, "uncovered", "no rule is about %s, so that nobody may change it", quote(file))
	}
	if len(bare) > most {
		l.warn(0, "uncovered", "and %d more files", len(bare)-most)
	}
}

func (l *linter) freshness(p *Policy) {
	beats := slices.ContainsFunc(p.Identities, func(id Identity) bool { return id.HasRole(RoleHeartbeat) })
	switch {
	case p.MaxAge == 0:
		l.warn(0, "freshness", "without freshness.maxAge a source that withholds new commits stays unnoticed")
	case !beats:
		l.warn(0, "heartbeat", "nobody has role %s: without a new commit the factory turns stale after freshness.maxAge", RoleHeartbeat)
	}
}
