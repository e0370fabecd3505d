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
