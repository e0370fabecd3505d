package trustpolicy_test

import (
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// tidy draws no warning at all.
const tidy = `apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
spec:
  version: 1
  repository: r
  identities:
  - {name: alice, person: alice, issuer: i, subject: a@x.example, roles: [maintainer]}
  - {name: bob, person: bob, issuer: i, subject: b@x.example, roles: [maintainer]}
  - {name: carol, person: carol, issuer: i, subject: c@x.example, roles: [maintainer]}
  - {name: robot, issuer: i, subjectPattern: '^spiffe://x\.example/robot$', roles: [heartbeat]}
  rules:
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
  - {name: trust, paths: [factory-config/trust/**], role: maintainer, threshold: 2}
  - {name: production, affects: [overlays/production], role: maintainer, threshold: 2}
  freshness: {maxAge: 24h}
`

func lint(t *testing.T, text string) []trustpolicy.Warning {
	t.Helper()
	return decode(t, text).Lint(trustpolicy.Surroundings{
		Path: trustpolicy.DefaultPath, Now: moment(t, "2026-06-01T00:00:00Z"),
		Files: []string{trustpolicy.DefaultPath, "bases/a.yaml", "overlays/production/kustomization.yaml"},
	})
}

func TestLintHasNothingToSayOfATidyPolicy(t *testing.T) {
	t.Parallel()
	if got := lint(t, tidy); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestLintWarnsOnceOfEachThing(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ from, to, code, want string }{
		"C17: one person alone changes the policy": {"[factory-config/trust/**], role: maintainer, threshold: 2", "[factory-config/trust/**], role: maintainer, threshold: 1", "alone", "each of alice, bob, carol alone"},
		"T8: nobody to spare":                      {"[factory-config/trust/**], role: maintainer, threshold: 2", "[factory-config/trust/**], role: maintainer, threshold: 3", "reserve", "(alice, bob, carol)"},
		"a window that is over":                    {"subject: c@x.example", "subject: c@x.example, notAfter: 2026-05-31T23:59:59Z", "window", "ended on 2026-05-31"},
		"a window that is to come":                 {"subject: c@x.example", "subject: c@x.example, notBefore: 2026-06-01T00:00:01Z", "window", "begins on 2026-06-01"},
		"B03: a bare dot":                          {`x\.example/robot`, `x.example/robot`, "dot", `write \.`},
		"B03: any characters":                      {`/robot$`, `/.*$`, "dot", `write \.`},
		"a role that no rule asks for":             {"subject: c@x.example, roles: [maintainer]", "subject: c@x.example, roles: [maintainer, viewer]", "role", "role viewer"},
		"T5: a machine that would count":           {"[heartbeat]", "[heartbeat, maintainer]", "machine", "never counts"},
		"C17: a person by two spellings":           {"person: carol", "person: A-lice", "person", "count as two"},
		"B07: an address of two people":            {"subject: c@x.example", "subject: c@x.example, emails: [c@x.example, a@x.example]", "address", `committer address of "alice"`},
		"B34: an exact subject and a pattern":      {"  rules:", "  - {name: all, issuer: i, subjectPattern: '^c+@x\\.example$', roles: [heartbeat]}\n  rules:", "overlap", `with none of the roles of "all"`},
		"a pattern of another language":            {`paths: ["**"]`, `paths: ["**", "bases/*.{yaml,yml}"]`, "literal", "only * is special"},
		"a rule about no file":                     {`paths: ["**"]`, `paths: ["**", basis/**]`, "unused", `no file matches "basis/**"`},
		"T12: a rule about no overlay":             {"overlays/production", "overlays/prod", "unused", `no overlay "overlays/prod"`},
		"T4: a file that no rule is about":         {`paths: ["**"]`, `paths: ["overlays/**"]`, "uncovered", `"bases/a.yaml"`},
		"T11: no freshness":                        {"  freshness: {maxAge: 24h}\n", "", "freshness", "maxAge"},
		"T11: nobody beats":                        {"[heartbeat]", "[release]", "heartbeat", "turns stale"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Count(tidy, row.from) == 0 {
				t.Fatalf("%q is not in the policy", row.from)
			}
			var about []string
			for _, w := range lint(t, strings.Replace(tidy, row.from, row.to, 1)) {
				if w.Code == row.code {
					about = append(about, w.String())
				}
			}
			if len(about) != 1 || !strings.Contains(about[0], row.want) {
				t.Errorf("got %q", about)
			}
		})
	}
}

func TestLintCountsWhoIsInForceNow(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("subject: b@", "notAfter: 2026-01-01T00:00:00Z, subject: b@").Replace(tidy) +
		"  revocations: [{identity: carol, from: 2026-05-01T00:00:00Z}]\n"
	var short int
	for _, w := range lint(t, text) {
		if w.Code == "short" && strings.Contains(w.Detail, "needs 2") && strings.Contains(w.Detail, "1 are") {
			short++
		}
	}
	if short != 2 { // trust and production
		t.Errorf("got %v", lint(t, text))
	}
}
