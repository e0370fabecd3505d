package trustpolicy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

func TestNobodyStandsInForARevokedPersonOfAnotherRole(t *testing.T) { // T5, T9
	t.Parallel()
	text := strings.Replace(tidy, "subject: c@x.example, roles: [maintainer]", "subject: c@x.example, roles: [guest]", 1)
	decode(t, text)
	_, err := trustpolicy.Decode([]byte(text+"  revocations: [{identity: bob, from: 2026-05-01T00:00:00Z}]\n"), trustpolicy.DefaultPath)
	var no *trustpolicy.Invalid
	if !errors.As(err, &no) || !no.Lockout || !strings.Contains(no.Detail, "who are not revoked, 1") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyThoseWhoHoldTheRoleAreCounted(t *testing.T) { // T5
	t.Parallel()
	p := decode(t, strings.Replace(tidy, "subject: c@x.example, roles: [maintainer]", "subject: c@x.example, roles: [guest]", 1))
	now := moment(t, "2026-06-01T00:00:00Z")
	if got := p.PeopleAt("maintainer", now); !slices.Equal(got, []string{"alice", "bob"}) {
		t.Errorf("maintainers: %v", got)
	}
	if got := p.PeopleAt("guest", now); !slices.Equal(got, []string{"carol"}) {
		t.Errorf("guests: %v", got)
	}
}

func TestAPolicyIsLockedWhenTooFewAreLeftWhoMayChangeIt(t *testing.T) { // T8
	t.Parallel()
	const rest = ", subject: c@x.example, roles: [maintainer]"
	now := moment(t, "2026-06-01T00:00:00Z")
	for name, row := range map[string]struct{ text, want string }{
		"its twin":                         {tidy, ""},
		"one window is over":               {strings.Replace(tidy, rest, ", notAfter: 2026-05-31T23:59:59Z"+rest, 1), ""},
		"one window ends now":              {strings.NewReplacer(rest, ", notAfter: 2026-06-01T00:00:00Z"+rest, "subject: b@", "notAfter: 2026-05-31T23:59:59Z, subject: b@").Replace(tidy), ""},
		"two windows are over":             {strings.NewReplacer(rest, ", notAfter: 2026-05-31T23:59:59Z"+rest, "subject: b@", "notAfter: 2026-05-31T23:59:59Z, subject: b@").Replace(tidy), `rule "trust": it needs 2 of role maintainer, and from 2026-06-01T00:00:00Z on only 1`},
		"one is over, and one was revoked": {strings.Replace(tidy, rest, ", notAfter: 2026-05-31T23:59:59Z"+rest, 1) + "  revocations: [{identity: bob, from: 2026-07-01T00:00:00Z}]\n", "only 1"},
	} {
		bad := decode(t, row.text).Locked(trustpolicy.DefaultPath, now)
		switch {
		case row.want == "" && bad != nil:
			t.Errorf("%s: %v", name, bad)
		case row.want != "" && (bad == nil || !bad.Lockout || bad.Line == 0 || !strings.Contains(bad.Detail, row.want)):
			t.Errorf("%s: got %v, want %q", name, bad, row.want)
		}
	}
}
