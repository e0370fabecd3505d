package trustpolicy_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

func TestT8APolicyThatNobodyCouldChangeIsALockout(t *testing.T) {
	t.Parallel()
	rule := func(rest string) string {
		return strings.Replace(small, `paths: ["**"], role: maintainer, threshold: 1`, rest, 1)
	}
	for name, row := range map[string]struct {
		text    string
		path    string
		lockout bool
	}{
		"a rule about everything":               {small, trustpolicy.DefaultPath, false},
		"a rule about its folder":               {rule(`paths: ["factory-config/trust/**"], role: maintainer, threshold: 1`), trustpolicy.DefaultPath, false},
		"a rule about another folder":           {rule(`paths: ["factory-config/**/*.yml"], role: maintainer, threshold: 1`), trustpolicy.DefaultPath, true},
		"the file lies elsewhere":               {rule(`paths: ["factory-config/trust/**"], role: maintainer, threshold: 1`), "trust.yaml", true},
		"only an overlay's rule":                {rule(`affects: [overlays/a], role: maintainer, threshold: 1`), trustpolicy.DefaultPath, true},
		"its rule asks for more than there are": {rule(`paths: ["**"], role: maintainer, threshold: 2`), trustpolicy.DefaultPath, true},
		"its rule asks for nobody's role":       {rule(`paths: ["**"], role: security, threshold: 1`), trustpolicy.DefaultPath, true},
		"its only person is revoked":            {small + "  revocations: [{identity: alice, from: 2026-01-01T00:00:00Z}]\n", trustpolicy.DefaultPath, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := trustpolicy.Decode([]byte(row.text), row.path)
			var no *trustpolicy.Invalid
			if errors.As(err, &no) != row.lockout || row.lockout && !no.Lockout {
				t.Errorf("got %v", err)
			}
		})
	}
	other := strings.Replace(small, "  rules:\n", "  rules:\n  - {name: other, paths: [a], role: maintainer, threshold: 2}\n", 1)
	_, err := trustpolicy.Decode([]byte(other), trustpolicy.DefaultPath)
	var no *trustpolicy.Invalid
	if !errors.As(err, &no) || no.Lockout || no.Line != 9 {
		t.Errorf("a rule about another path: got %+v", no)
	}
}

func TestB04B34SignersAreComparedAsTheyStand(t *testing.T) {
	t.Parallel()
	p := decode(t, strings.Replace(whole(t), "    roles: [heartbeat, release]\n", `    roles: [heartbeat, release]
  - {name: workers, issuer: "https://spire.example", subjectPattern: '^spiffe://factory\.example/ns/ci/sa/build.*$'}
  - {name: eve, issuer: "https://accounts.example.org", subject: eve@staff.example, emails: [e@x.example]}
  - {name: wide, issuer: i, subjectPattern: '^[^@]+@wide\.example$'}
  - {name: staff, issuer: "https://accounts.example.org", subjectPattern: '^(alice|[a-z]+)@staff\.example$'}
  - {name: web, issuer: "https://accounts.example.org", subject: "https://forge.example/alice"}
`, 1))
	const accounts, spire = "https://accounts.example.org", "https://spire.example"
	for name, row := range map[string]struct {
		issuer, subject string
		isURI           bool
		who, why        string
	}{
		"exact":                            {accounts, "alice@factory.example", false, "alice", ""},
		"an exact URI":                     {accounts, "https://forge.example/alice", true, "web", ""},
		"exact before a pattern":           {accounts, "eve@staff.example", false, "eve", ""},
		"by a pattern":                     {spire, "spiffe://factory.example/ns/ci/sa/heart", true, "robots", ""},
		"an address by a pattern":          {accounts, "dora@staff.example", false, "staff", ""},
		"B03 text before":                  {spire, "https://evil/spiffe://factory.example/ns/ci/sa/heart", true, "", "subject"},
		"B03 text behind":                  {accounts, "dora@staff.example.attacker", false, "", "subject"},
		"B03 a line behind":                {accounts, "dora@staff.example\n", false, "", "subject"},
		"B03 a dot that is a letter":       {spire, "spiffe://factoryxexample/ns/ci/sa/heart", true, "", "subject"},
		"two patterns":                     {spire, "spiffe://factory.example/ns/ci/sa/builder", true, "", "ambiguous"},
		"B04 another case":                 {accounts, "Alice@factory.example", false, "", "subject"},
		"B04 a look-alike letter":          {accounts, "аlice@factory.example", false, "", "subject"},
		"B04 a dot at the end":             {accounts, "alice@factory.example.", false, "", "subject"},
		"B04 a tag":                        {accounts, "alice+x@factory.example", false, "", "subject"},
		"B04 a NUL":                        {accounts, "alice@factory.example\x00.attacker", false, "", "subject"},
		"B04 a NUL in a pattern's place":   {"i", "do\x00ra@wide.example", false, "", "subject"},
		"B04 a line in a pattern's place":  {"i", "do\nra@wide.example", false, "", "subject"},
		"B04 a byte in a pattern's place":  {"i", "do\xffra@wide.example", false, "", "subject"},
		"its twin":                         {"i", "do-ra@wide.example", false, "wide", ""},
		"B04 an empty subject":             {accounts, "", false, "", "subject"},
		"an address as a URI":              {accounts, "alice@factory.example", true, "", "kind"},
		"a URI as an address":              {accounts, "https://forge.example/alice", false, "", "kind"},
		"B34 another issuer":               {"https://evil.example", "alice@factory.example", false, "", "issuer"},
		"B34 a slash behind the issuer":    {accounts + "/", "alice@factory.example", false, "", "issuer"},
		"B34 the issuer in capitals":       {"HTTPS://accounts.example.org", "alice@factory.example", false, "", "issuer"},
		"B34 the pattern's subject there":  {accounts, "spiffe://factory.example/ns/ci/sa/heart", true, "", "issuer"},
		"the pattern itself as a subject":  {accounts, `^(alice|[a-z]+)@staff\.example$`, false, "", "subject"},
		"a subject of nobody":              {accounts, "mallory@attacker.example", false, "", "subject"},
		"a pattern's address made a URI":   {accounts, "dora@staff.example", true, "", "kind"},
		"an issuer that nobody has at all": {"", "alice@factory.example", false, "", "issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := p.Identify(row.issuer, row.subject, row.isURI)
			var no *trustpolicy.Unlisted
			switch {
			case row.why != "":
				if !errors.As(err, &no) || no.Why != row.why || id != nil {
					t.Errorf("got %v, %v; want %s", id, err, row.why)
				}
			case err != nil:
				t.Error(err)
			case id.Name != row.who || id.Subject != row.subject:
				t.Errorf("got %+v", id)
			}
		})
	}
}

func TestB07AnAddressIsItsOwnCommitter(t *testing.T) {
	t.Parallel()
	p := decode(t, strings.Replace(whole(t), "  rules:\n", `  - {name: staff, issuer: i, subjectPattern: '^[a-z]+@staff\.example$'}
  rules:
`, 1))
	for subject, want := range map[string][]string{
		"alice@factory.example":                   {"alice@factory.example"},
		"bob@factory.example":                     {"bob@users.example", "bob@factory.example"},
		"dora@staff.example":                      {"dora@staff.example"},
		"spiffe://factory.example/ns/ci/sa/heart": nil,
	} {
		for _, issuer := range []string{"https://accounts.example.org", "https://spire.example", "i"} {
			id, err := p.Identify(issuer, subject, strings.Contains(subject, "://"))
			if err != nil {
				continue
			}
			if diff := cmp.Diff(want, id.Emails); diff != "" {
				t.Errorf("%s: %s", subject, diff)
			}
			want = []string{"found"}
		}
		if !slices.Equal(want, []string{"found"}) {
			t.Errorf("%s is nobody", subject)
		}
	}
}

func TestC17PeopleAreCountedOnce(t *testing.T) {
	t.Parallel()
	p := decode(t, strings.Replace(whole(t), "  rules:\n", `  - {name: alice-two, person: alice, issuer: i, subject: s, roles: [security]}
  - {name: machine, issuer: i, subject: m, roles: [security]}
  rules:
`, 1))
	if diff := cmp.Diff([]string{"alice", "bob", "carol"}, p.People("security")); diff != "" {
		t.Error(diff)
	}
	if got := p.People("release"); len(got) != 0 {
		t.Errorf("machines count: %v", got)
	}
}

func TestT2AWindowIncludesItsEnds(t *testing.T) {
	t.Parallel()
	p := decode(t, whole(t))
	alice, bob := &p.Identities[0], &p.Identities[1]
	for at, want := range map[string]bool{
		"2025-12-31T23:59:59Z": false, "2026-01-01T00:00:00Z": true, "2026-06-01T00:00:00Z": true,
		"2027-01-01T00:00:00Z": true, "2027-01-01T00:00:01Z": false,
	} {
		when := moment(t, at)
		if alice.InForce(when) != want || !bob.InForce(when) {
			t.Errorf("%s: alice %t, bob %t", at, alice.InForce(when), bob.InForce(when))
		}
	}
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestT9ARevocationHoldsFromItsTimeOn(t *testing.T) {
	t.Parallel()
	payload := sha256.Sum256([]byte("tree …"))
	p := decode(t, strings.Replace(whole(t), strings.Repeat("ab", 32), fmt.Sprintf("%x", payload), 1))
	for _, row := range []struct {
		name, at string
		want     bool
	}{
		{"carol", "2026-09-30T23:59:59Z", false},
		{"carol", "2026-10-01T00:00:00Z", true},
		{"carol", "2030-01-01T00:00:00Z", true},
		{"bob", "2026-10-01T00:00:00Z", false},
		{"", "2026-10-01T00:00:00Z", false},
	} {
		got, ok := p.RevokedIdentity(row.name, moment(t, row.at))
		if ok != row.want || ok && got.Reason != "laptop stolen" {
			t.Errorf("%s at %s: %+v, %t", row.name, row.at, got, ok)
		}
	}
	if got, ok := p.RevokedCommit(payload); !ok || got.Reason != "leaked a key" {
		t.Errorf("the commit: %+v, %t", got, ok)
	}
	payload[31] ^= 1
	if _, ok := p.RevokedCommit(payload); ok {
		t.Error("another commit is revoked")
	}
}

func TestT6ARevokedForgeKeyIsFoundByItsName(t *testing.T) {
	t.Parallel()
	p := decode(t, whole(t))
	if got, ok := p.RevokedForgeKey("forge-ssh"); !ok || got.Reason != "broken into" {
		t.Errorf("got %+v, %t", got, ok)
	}
	for _, name := range []string{"forge-web", "carol", ""} {
		if got, ok := p.RevokedForgeKey(name); ok {
			t.Errorf("%q is revoked: %+v", name, got)
		}
	}
}

func TestWhatIsInNoLineNamesNone(t *testing.T) {
	t.Parallel()
	_, err := trustpolicy.Decode(nil, trustpolicy.DefaultPath)
	for _, text := range []string{err.Error(), trustpolicy.Warning{Code: "freshness", Detail: "x"}.String()} {
		if strings.Contains(text, "line") {
			t.Errorf("got %q", text)
		}
	}
}

func TestT4RulesAreFoundByTheirPatterns(t *testing.T) {
	t.Parallel()
	p := decode(t, whole(t))
	for path, want := range map[string]string{
		"factory-config/trust/policy.yaml": "everything trust", "factory-config/trust": "everything trust",
		"factory-config/Trust/policy.yaml": "everything", "CODEOWNERS": "everything trust", "docs/CODEOWNERS": "everything",
	} {
		if got := names(p.RulesFor(path)); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got := names(p.AffectRules("overlays/production")); got != "production" || len(p.AffectRules("overlays/local")) != 0 {
		t.Errorf("affects: %s", got)
	}
	if got := names(p.ObjectRules()); got != "guards" {
		t.Errorf("objects: %s", got)
	}
	if diff := cmp.Diff([]string{"overlays/production"}, p.Overlays()); diff != "" {
		t.Error(diff)
	}
}

func names(rules []*trustpolicy.Rule) string {
	var all []string
	for _, r := range rules {
		all = append(all, r.Name)
	}
	return strings.Join(all, " ")
}
