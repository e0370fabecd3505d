package trustpolicy_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// whole is a policy with every field.
func whole(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("testdata/whole.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func decode(t *testing.T, text string) *trustpolicy.Policy {
	t.Helper()
	p, err := trustpolicy.Decode([]byte(text), trustpolicy.DefaultPath)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPolicyIsDecodedWholly(t *testing.T) {
	t.Parallel()
	got := decode(t, whole(t))
	day := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f forge"
	want := &trustpolicy.Policy{
		Name: "factory", Version: 7, Repository: "millwright.dev/factory",
		Identities: []trustpolicy.Identity{
			{
				Name: "alice", Person: "alice", Issuer: "https://accounts.example.org", Subject: "alice@factory.example",
				Emails: []string{"alice@factory.example"}, Roles: []string{"maintainer", "security"},
				NotBefore: day(2026), NotAfter: day(2027),
			},
			{
				Name: "bob", Person: "bob", Issuer: "https://accounts.example.org", Subject: "bob@factory.example",
				Emails: []string{"bob@users.example", "bob@factory.example"}, Roles: []string{"maintainer", "security"},
			},
			{Name: "carol", Person: "carol", Issuer: "https://accounts.example.org", Subject: "carol@factory.example", Emails: []string{"carol@factory.example"}, Roles: []string{"security"}},
			{Name: "robots", Issuer: "https://spire.example", SubjectPattern: `^spiffe://factory\.example/ns/ci/sa/[a-z]+$`, Roles: []string{"heartbeat", "release"}},
		},
		Rules: []trustpolicy.Rule{
			{Name: "everything", Paths: []trustpolicy.Pattern{"**"}, Role: "maintainer", Threshold: 1},
			{Name: "trust", Paths: []trustpolicy.Pattern{"factory-config/trust/**", "CODEOWNERS"}, Role: "security", Threshold: 2},
			{Name: "production", Affects: []string{"overlays/production"}, Role: "security", Threshold: 2},
			{Name: "guards", Objects: []trustpolicy.ObjectSelector{
				{Set: "guards"},
				{Kinds: []string{"Deployment.apps"}, Namespaces: []string{"tekton-*"}, Names: []string{"*"}},
			}, Role: "security", Threshold: 2},
		},
		History: trustpolicy.History{
			Anchor: strings.Repeat("0123456789", 4), Committer: "match", MaxSkew: 720 * time.Hour,
			ForgeKeys: []trustpolicy.ForgeKey{
				{Name: "forge-web", Type: "pgp", Fingerprint: strings.Repeat("0", 39) + "A", PublicKey: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDME\n-----END PGP PUBLIC KEY BLOCK-----\n"},
				{Name: "forge-ssh", Type: "ssh", Fingerprint: "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA", PublicKey: key},
			},
		},
		MaxAge: 168 * time.Hour,
		Revocations: []trustpolicy.Revocation{
			{Identity: "carol", From: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Reason: "laptop stolen"},
			{Commit: "sha256:" + strings.Repeat("ab", 32), Reason: "leaked a key"},
			{ForgeKey: "forge-ssh", Reason: "broken into"},
		},
		Transparency: trustpolicy.Transparency{Log: "offline", TimestampAuthority: "required"},
	}
	unexported := cmpopts.IgnoreUnexported(trustpolicy.Policy{}, trustpolicy.Identity{}, trustpolicy.Rule{}, trustpolicy.ForgeKey{}, trustpolicy.Revocation{})
	if diff := cmp.Diff(want, got, unexported); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(got.Digest(), "sha256:") || len(got.Digest()) != 71 {
		t.Errorf("digest %q", got.Digest())
	}
}

func TestDefaultsAreTheStrictOnes(t *testing.T) {
	t.Parallel()
	p := decode(t, small)
	if p.History.Committer != "match" || p.Transparency.Log != "offline" || p.Transparency.TimestampAuthority != "optional" || p.MaxAge != 0 || p.History.MaxSkew != 0 {
		t.Errorf("got %+v, %+v, max age %s", p.History, p.Transparency, p.MaxAge)
	}
}

func TestHexThatLooksLikeANumberNeedsNoQuotes(t *testing.T) {
	t.Parallel()
	for _, anchor := range []string{strings.Repeat("0123456789", 4), "1234567e" + strings.Repeat("1", 32), "0" + strings.Repeat("7", 39)} {
		if got := decode(t, small+"  history: {anchor: "+anchor+"}\n").History.Anchor; got != anchor {
			t.Errorf("%s became %s", anchor, got)
		}
	}
}

func TestC16AFileThatSaysTooLittleIsRefusedInItsOwnWords(t *testing.T) {
	t.Parallel()
	head, rest, _ := strings.Cut(small, "  identities:\n")
	people, rules, _ := strings.Cut(rest, "  rules:\n")
	for text, want := range map[string]string{
		"":                                "the file is empty",
		"# nothing\n":                     "the file is empty",
		"---\n":                           "without a value",
		"policy\n":                        "must be a map",
		head + "  rules:\n" + rules:       "spec.identities is missing",
		head + "  identities:\n" + people: "spec.rules is missing",
		strings.TrimSuffix(head, "spec:\n  version: 1\n  repository: r\n"): "with a spec",
	} {
		_, err := trustpolicy.Decode([]byte(text), trustpolicy.DefaultPath)
		var no *trustpolicy.Invalid
		if !errors.As(err, &no) || !strings.Contains(no.Error(), want) || no.Lockout != strings.HasPrefix(want, "spec.") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// small is the least that a policy can say.
const small = `apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
spec:
  version: 1
  repository: r
  identities:
  - {name: alice, person: alice, issuer: "https://i.example", subject: alice@factory.example, roles: [maintainer]}
  rules:
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
`

// refusal is a text of the whole policy, what makes it a mistake, and a twin that
// differs in nothing but that.
type refusal struct{ from, to, twin, want string }

func TestARefusedPolicyHasAnAcceptedTwin(t *testing.T) {
	t.Parallel()
	for _, table := range []map[string]refusal{formRefusals(), identityRefusals(), ruleRefusals(), otherRefusals()} {
		for name, row := range table {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				text := whole(t)
				if strings.Count(text, row.from) == 0 {
					t.Fatalf("%q is not in the policy", row.from)
				}
				decode(t, strings.Replace(text, row.from, row.twin, 1))
				_, err := trustpolicy.Decode([]byte(strings.Replace(text, row.from, row.to, 1)), trustpolicy.DefaultPath)
				var no *trustpolicy.Invalid
				if !errors.As(err, &no) || !strings.Contains(no.Error(), row.want) {
					t.Errorf("got %v, want %q", err, row.want)
				}
			})
		}
	}
}
