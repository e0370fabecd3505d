package trustpolicy_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// overlapping lints two identities with these patterns.
func overlapping(t *testing.T, first, second, secondIssuer string) (warnings []string, p *trustpolicy.Policy) {
	t.Helper()
	p = decode(t, strings.Replace(tidy, "  rules:", fmt.Sprintf(
		"  - {name: one, issuer: p, subjectPattern: '%s', roles: [heartbeat]}\n  - {name: two, issuer: %s, subjectPattern: '%s', roles: [heartbeat]}\n  rules:",
		first, secondIssuer, second), 1))
	for _, w := range p.Lint(trustpolicy.Surroundings{Path: trustpolicy.DefaultPath, Now: moment(t, "2026-06-01T00:00:00Z")}) {
		if w.Code == "overlap" {
			warnings = append(warnings, w.Detail)
		}
	}
	return warnings, p
}

func TestLintFindsASubjectThatTwoPatternsMatch(t *testing.T) { // row B34
	t.Parallel()
	for name, tt := range map[string]struct{ first, second, want string }{
		"one within the other":         {`^[^@]+@x\.example$`, `^ops-[a-z]+@x\.example$`, `"ops-a@x.example"`},
		"each with something else":     {`^(a|b)@x\.example$`, `^(b|c)@x\.example$`, `"b@x.example"`},
		"the same, written otherwise":  {`^(?:robot)-[0-9]+@x\.example$`, `^robot-[0-9][0-9]*@x\.example$`, `"robot-0@x.example"`},
		"workflows of one repository":  {`^https://ci\.example/org/[^/]+/w\.yaml$`, `^https://ci\.example/org/app/[^/]+$`, `"https://ci.example/org/app/w.yaml"`},
		"letters beyond ASCII":         {`^[é-ü]@x\.example$`, `^[ü-ž]@x\.example$`, `"ü@x.example"`},
		"nothing, and something":       {`^a?$`, `^a*a?$`, `"a"`},
		"nothing only":                 {`^a?$`, `^b?$`, ""},
		"other letters":                {`^[a-f]@x\.example$`, `^[g-z]@x\.example$`, ""},
		"another domain":               {`^[^@]+@x\.example$`, `^[^@]+@y\.example$`, ""},
		"an address and a URI":         {`^[^@]+@x\.example$`, `^spiffe://x\.example/[a-z]+$`, ""},
		"a longer and a shorter":       {`^a{3}@x$`, `^a{4,9}@x$`, ""},
		"only what no subject can be":  {`^a[\n]?@x$`, `^a\n@x$`, ""},
		"an anchor that never holds":   {`^a(b|^c)@x$`, `^ac@x$`, ""},
		"a word that does not end":     {`^a\bb@x$`, `^ab@x$`, ""},
		"a letter in either case":      {`^[Aa]@x$`, `^a@x$`, `"a@x"`},
		"a dot that is any character":  {`^a.c@x$`, `^abc@x$`, `"abc@x"`},
		"nothing but what both refuse": {`^[^a]@x$`, `^[a]@x$`, ""},
	} {
		got, _ := overlapping(t, tt.first, tt.second, "p")
		if tt.want == "" && len(got) != 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
			t.Errorf("%s: got %q", name, got)
		}
		if other, _ := overlapping(t, tt.first, tt.second, "q"); len(other) != 0 {
			t.Errorf("%s, of two issuers: got %q", name, other)
		}
	}
}

// What lint calls nobody's must be ambiguous to the verifier, and what all short
// subjects show to overlap must be found.
func TestLintAgreesWithTheVerifierAboutRandomPatterns(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	parts := []string{"a", "b", "[ab]", "[^a]", "a*", "b+", "(a|bb)", "a?", "c{2}", "."}
	pattern := func() string {
		var b strings.Builder
		for range 1 + random.IntN(4) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		return "^" + b.String() + "$"
	}
	texts := []string{"a", "b", "c"}
	for i := 0; len(texts) < 3+9+27+81+243+729; i++ {
		for _, x := range []string{"a", "b", "c"} {
			texts = append(texts, texts[i]+x)
		}
	}
	quoted := regexp.MustCompile(`both match "([^"]*)"`)
	for range 300 {
		first, second := pattern(), pattern()
		if first == second {
			continue // the policy is refused
		}
		warnings, p := overlapping(t, first, second, "p")
		one, two := regexp.MustCompile(first), regexp.MustCompile(second)
		found := ""
		for _, text := range texts {
			if one.MatchString(text) && two.MatchString(text) {
				found = text
				break
			}
		}
		if found != "" && len(warnings) != 1 {
			t.Errorf("seed %d: %s and %s both match %q, and lint says %q", seed, first, second, found, warnings)
		}
		for _, w := range warnings {
			subject := quoted.FindStringSubmatch(w)[1]
			if _, err := p.Identify("p", subject, false); err == nil || !strings.Contains(err.Error(), "both") {
				t.Errorf("seed %d: %s and %s: %q is called ambiguous, and is: %v", seed, first, second, subject, err)
			}
		}
	}
}

func TestLintOfManyPatternsEnds(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 900 {
		fmt.Fprintf(&b, "  - {name: p%d, issuer: p, subjectPattern: '^([a-z]{1,200}){1,4}-%d@x$', roles: [heartbeat]}\n", i, i)
	}
	p := decode(t, strings.Replace(tidy, "  rules:", b.String()+"  rules:", 1))
	// A search without bounds would go on for hours: the test would not end.
	p.Lint(trustpolicy.Surroundings{Path: trustpolicy.DefaultPath, Now: moment(t, "2026-06-01T00:00:00Z")})
}
