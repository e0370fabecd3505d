package trustpolicy

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Values of Unlisted.Why.
const (
	WhyIssuer    = "issuer"    // the subject is listed, but of another issuer
	WhySubject   = "subject"   // nobody is listed so
	WhyKind      = "kind"      // listed, but as an address where a URI was proven, or the reverse
	WhyAmbiguous = "ambiguous" // several patterns match
)

// Unlisted says why a proven signer is none of the policy's identities.
type Unlisted struct {
	Why    string
	Detail string
}

func (u *Unlisted) Error() string { return u.Detail }

// Identify finds the listed identity of a proven issuer, subject and kind of
// subject: exact ones first, then patterns. What a pattern matched stands in the
// result's Subject.
func (p *Policy) Identify(issuer, subject string, isURI bool) (*Identity, error) {
	var matches []*Identity
	elsewhere, otherKind := "", false
	for i := range p.Identities {
		id := &p.Identities[i]
		if !id.names(subject) {
			continue
		}
		switch {
		case id.Issuer != issuer:
			elsewhere = id.Issuer
		case IsURI(subject) != isURI:
			otherKind = true
		case id.pattern == nil:
			return id, nil
		default:
			matches = append(matches, id)
		}
	}
	switch {
	case len(matches) == 1:
		return matches[0].concrete(subject), nil
	case len(matches) > 1:
		return nil, unlisted(WhyAmbiguous, "%q of %s is matched by the patterns of both %q and %q", subject, issuer, matches[0].Name, matches[1].Name)
	case otherKind:
		return nil, unlisted(WhyKind, "%q is listed, but the certificate has it as another kind of name", subject)
	case elsewhere != "":
		return nil, unlisted(WhyIssuer, "signed by %q of %s; the policy lists that subject of %s only", subject, issuer, elsewhere)
	}
	return nil, unlisted(WhySubject, "signed by %q of %s, whom the policy in force does not list", subject, issuer)
}

func unlisted(why, format string, args ...any) *Unlisted {
	return &Unlisted{Why: why, Detail: fmt.Sprintf(format, args...)}
}

// IsURI tells the two kinds of subject apart: a URI has a scheme.
func IsURI(subject string) bool { return strings.Contains(subject, "://") }

func (id *Identity) names(subject string) bool {
	if id.pattern == nil {
		return id.Subject != "" && id.Subject == subject
	}
	// What no policy could list, no pattern may stand for either: [^@]+ would take
	// a NUL or a line break (row B04).
	if !plain(subject) {
		return false
	}
	// The pattern is anchored; that is asked twice, since everything hangs on it.
	loc := id.pattern.FindStringIndex(subject)
	return loc != nil && loc[0] == 0 && loc[1] == len(subject)
}

// concrete is the identity with the subject that its pattern matched.
func (id *Identity) concrete(subject string) *Identity {
	found := *id
	found.Subject = subject
	found.Emails = committers(subject, id.Emails)
	return &found
}

// committers gives the default of Identity.Emails.
func committers(subject string, listed []string) []string {
	if len(listed) == 0 && strings.Contains(subject, "@") && !IsURI(subject) {
		return []string{subject}
	}
	return listed
}

// compilePattern accepts an expression that is anchored at both ends, whatever
// its branches (row B03), and that takes letters as they stand (row B04). The
// expression is read, not searched for ^ and $: "^alice$|bob" has both.
func compilePattern(text string) (*regexp.Regexp, string) {
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, "is not a regular expression (RE2): " + err.Error()
	}
	if hasFlags(text) {
		return nil, "must have no group but (…) and (?:…): a flag could ignore case or move the anchors"
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat || tree.Sub[0].Op != syntax.OpBeginText || tree.Sub[len(tree.Sub)-1].Op != syntax.OpEndText {
		return nil, "is not anchored: it must have the form ^…$, and ^(…|…)$ if it has branches"
	}
	if !strings.HasSuffix(text, "$") || !strings.HasPrefix(text, "^") {
		return nil, "must be written with ^ and $ as its ends"
	}
	return compiled, ""
}

// hasFlags finds a group that begins with flags. The text is asked, not the tree:
// a parser that simplifies (a|(?i:b)) to a class of characters forgets the flag.
func hasFlags(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' {
			i++
		} else if rest := text[i:]; strings.HasPrefix(rest, "(?") && !strings.HasPrefix(rest, "(?:") {
			return true
		}
	}
	return false
}

// looseDot says that a pattern has a dot that stands for any character.
func looseDot(tree *syntax.Regexp) bool {
	return tree.Op == syntax.OpAnyChar || tree.Op == syntax.OpAnyCharNotNL || slices.ContainsFunc(tree.Sub, looseDot)
}
