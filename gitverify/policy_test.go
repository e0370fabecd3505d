package gitverify_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millwright.dev/millwright/gitverify"
)

func TestAPolicyIsDecoded(t *testing.T) {
	t.Parallel()
	got, err := gitverify.DecodePolicy([]byte(policyFile(7)))
	if err != nil {
		t.Fatal(err)
	}
	want := gitverify.Policy{Version: 7, Repository: "millwright.dev/factory", Identities: []gitverify.PolicyIdentity{
		{Name: "alice", Person: "alice", Issuer: issuer, Subject: alice, Roles: []string{"maintainer"}},
		{Name: "bob", Person: "bob", Issuer: issuer, Subject: bob, Roles: []string{"maintainer"}},
	}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(gitverify.Policy{})); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(got.Digest(), "sha256:") || len(got.Digest()) != 71 {
		t.Errorf("digest %q", got.Digest())
	}
}

func TestAPolicyIsDecodedStrictly(t *testing.T) {
	t.Parallel()
	change := func(from, to string) string {
		if !strings.Contains(policyFile(1), from) {
			t.Fatalf("%q is not in the policy", from)
		}
		return strings.Replace(policyFile(1), from, to, 1)
	}
	for name, text := range map[string]string{
		"empty":                     "",
		"empty document":            "---\n",
		"not a map":                 "- a\n",
		"wrong kind":                change("TrustPolicy", "Policy"),
		"wrong version":             change("v1alpha1", "v1"),
		"unknown field":             change("  version: 1", "  version: 1\n  rules: []"),
		"unknown identity key":      change("person: alice", "person: alice, notAfter: never"),
		"field in other case":       change("  version: 1", "  Version: 1"),
		"key twice":                 change("  version: 1", "  version: 1\n  version: 2"),
		"identity key twice":        change("person: alice", "person: alice, person: bob"),
		"anchor":                    change("{name: factory}", "&x {name: factory}"),
		"alias":                     change("{name: factory}", "&x {name: factory}\nother: *x"),
		"merge key":                 change("{name: factory}", "{<<: {name: factory}}"),
		"tag":                       change("version: 1", "version: !!int 1"),
		"second document":           policyFile(1) + "---\n" + policyFile(2),
		"deep nesting":              change("{name: factory}", strings.Repeat("[", 20)+strings.Repeat("]", 20)),
		"no version":                change("  version: 1\n", ""),
		"version zero":              change("version: 1", "version: 0"),
		"negative version":          change("version: 1", "version: -1"),
		"version as text":           change("version: 1", "version: one"),
		"version too large":         change("version: 1", "version: 99999999999999999999"),
		"no repository":             change("  repository: millwright.dev/factory\n", ""),
		"no identities":             strings.Split(policyFile(1), "  identities:")[0] + "  identities: []\n",
		"name twice":                change("name: bob", "name: alice"),
		"identity twice":            change(bob, alice),
		"no person":                 change("person: alice, ", ""),
		"no issuer":                 change(`issuer: "`+issuer+`", `, ""),
		"empty subject":             change("subject: "+alice, `subject: ""`),
		"pattern as subject":        change(alice, `"*@factory.test"`),
		"anchored pattern":          change(alice, `"^alice@factory.test$"`),
		"subject with a space":      change(alice, `"alice@factory.test "`),
		"subject with a NUL":        change(alice, `"alice@factory.test\0"`),
		"invisible in subject":      change(alice, `"alice\u200b@factory.test"`),
		"role that is no text":      change("[maintainer]", `[""]`),
		"role that reads like less": change("[maintainer]", `[viewer]`),
		"not UTF-8":                 change("factory}", "\xff}"),
		"a thousand and one":        manyIdentities(1001),
		"issuer of a kilobyte":      change(issuer, "https://"+strings.Repeat("x", 1024)),
		"hundred thousand keys":     "a: {" + strings.Repeat("b: 1, ", 40000) + "}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := gitverify.DecodePolicy([]byte(text))
			var no *gitverify.Refusal
			if !errors.As(err, &no) || no.Reason != "PolicyInvalid" || no.Code != "policy/invalid" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func manyIdentities(n int) string {
	var b strings.Builder
	head, _, _ := strings.Cut(policyFile(1), "  - {")
	b.WriteString(head)
	for i := range n {
		id := strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)
		b.WriteString("  - {name: " + id + ", person: p, issuer: i, subject: " + id + "}\n")
	}
	return b.String()
}
