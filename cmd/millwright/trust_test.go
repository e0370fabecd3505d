package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// initArgs make a policy of alice and bob in a directory.
func initArgs(repo string, more ...string) []string {
	const issuer = "=https://accounts.example.org="
	return append([]string{
		"trust", "init", "--repo", repo, "--repository", "git.example.org/factory",
		"--person", "alice" + issuer + "alice@factory.example", "--person", "bob" + issuer + "bob@factory.example",
	}, more...)
}

func factoryWithPolicy(t *testing.T, more ...string) (repo, policy string) {
	t.Helper()
	repo = t.TempDir()
	if code, stdout, stderr := answer(t, initArgs(repo, more...)...); code != exitYes {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	return repo, filepath.Join(repo, filepath.FromSlash(trustpolicy.DefaultPath))
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, name, from, to string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), from) {
		t.Fatalf("%q is not in %s", from, data)
	}
	write(t, name, strings.Replace(string(data), from, to, 1))
}

func TestTrustInitWritesAPolicyThatHoldsAndOverwritesNothing(t *testing.T) {
	t.Parallel()
	repo, policy := factoryWithPolicy(t, "--person", "carol=i=carol@factory.example", "--heartbeat", "beat=i=spiffe://factory.example/beat")
	data, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	p, err := trustpolicy.Decode(data, trustpolicy.DefaultPath)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.RulesFor(trustpolicy.DefaultPath); len(got) != 2 || got[1].Threshold != 2 || len(p.Identities) != 4 || p.People("security")[2] != "carol" {
		t.Errorf("wrote %s", data)
	}
	if code, stdout, stderr := answer(t, "trust", "lint", "--repo", repo, "--strict"); code != exitYes {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	code, _, stderr := answer(t, initArgs(repo)...)
	if after, err := os.ReadFile(policy); code != exitUsage || !strings.Contains(stderr, "there already") || err != nil || string(after) != string(data) {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

func TestTrustInitRefusesWhatWouldBeNoPolicy(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"B34: a pattern as issuer":  {[]string{"--person", "c=https://*=c@x"}, "never a pattern"},
		"B03: a pattern as subject": {[]string{"--person", "c=i=*@x"}, "subject is exact"},
		"C17: one signer twice":     {[]string{"--person", "c=https://accounts.example.org=alice@factory.example"}, "there twice"},
		"B04: an invisible letter":  {[]string{"--person", "c=i=c\u200b@x"}, "one line of text"},
		"a quote that breaks out":   {[]string{"--person", "c\"\nrules: []=i=c@x"}, "one line of text"},
		"half a person":             {[]string{"--person", "c=i"}, "name=issuer=subject"},
		"an age of seconds":         {[]string{"--max-age", "1s"}, "duration"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := t.TempDir()
			code, stdout, stderr := answer(t, initArgs(repo, row.args...)...)
			if code != exitUsage || !strings.Contains(stderr, row.want) {
				t.Errorf("exit %d\n%s%s", code, stdout, stderr)
			}
			if left, err := os.ReadDir(repo); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestTrustLintSaysNoAndWarns(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		from, to string
		strict   bool
		code     int
		want     string
	}{
		"C16: an unknown field":          {"  version: 1\n", "  version: 1\n  extra: 1\n", false, exitNo, "line 9: spec has no field"},
		"C16: a field twice":             {"  version: 1\n", "  version: 1\n  version: 2\n", false, exitNo, "there twice"},
		"T5: a threshold nobody meets":   {"everything, paths: [\"**\"], role: maintainer, threshold: 1", "everything, paths: [\"**\"], role: maintainer, threshold: 3", false, exitNo, "above the number of persons"},
		"T8: a lockout":                  {"role: security, threshold: 2}", "role: security, threshold: 3}", false, exitNo, "policy/lockout"},
		"T8: a lockout by the clock":     {"    roles: [maintainer, security]", "    notAfter: 2001-01-01T00:00:00Z\n    roles: [maintainer, security]", false, exitNo, "policy/lockout"},
		"B03: an unanchored pattern":     {`subject: "bob@factory.example"`, `subjectPattern: "bob@factory.example"`, false, exitNo, "not anchored"},
		"B03: its anchored twin":         {`subject: "bob@factory.example"`, `subjectPattern: '^bob@factory\.example$'`, false, exitYes, "yes: "},
		"T6: a key that is no key":       {"  freshness:", "  history: {forgeKeys: [{name: f, type: pgp, fingerprint: '" + strings.Repeat("a", 40) + "', publicKey: \"-----BEGIN PGP PUBLIC KEY BLOCK-----\\n\"}]}\n  freshness:", false, exitNo, `forge key "f"`},
		"a warning":                      {"role: security, threshold: 2}", "role: security, threshold: 1}", false, exitYes, "warning: line 22: alone"},
		"a warning, strictly":            {"role: security, threshold: 2}", "role: security, threshold: 1}", true, exitNo, "alone"},
		"T4: a file that no rule covers": {`paths: ["**"]`, `paths: ["bases/**"]`, false, exitYes, `uncovered: no rule is about "README"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, policy := factoryWithPolicy(t)
			write(t, filepath.Join(repo, "README"), "a factory\n")
			edit(t, policy, row.from, row.to)
			args := []string{"trust", "lint", "--repo", repo}
			if row.strict {
				args = append(args, "--strict")
			}
			code, stdout, stderr := answer(t, args...)
			if code != row.code || !strings.Contains(stdout+stderr, row.want) {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, row.code, row.want, stdout, stderr)
			}
		})
	}
}

func TestTrustLintInJSONSaysTheSame(t *testing.T) {
	t.Parallel()
	repo, policy := factoryWithPolicy(t)
	var got linted
	code, stdout, _ := answer(t, "trust", "lint", "--repo", repo, "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitYes || !got.Valid || len(got.Warnings) == 0 {
		t.Errorf("exit %d, %v\n%s", code, err, stdout)
	}
	edit(t, policy, "  rules: #", "  rules2: #")
	got = linted{}
	code, stdout, _ = answer(t, "trust", "lint", policy, "--repo", repo, "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitNo || got.Valid || got.Line == 0 {
		t.Errorf("exit %d, %v\n%s", code, err, stdout)
	}
}

func TestTrustExplainSaysWhoMayChangeAPath(t *testing.T) {
	t.Parallel()
	repo, policy := factoryWithPolicy(t)
	explain := func(args ...string) (int, string) {
		code, stdout, stderr := answer(t, append([]string{"trust", "explain", "--repo", repo}, args...)...)
		return code, stdout + stderr
	}
	want := `bases/a.yaml
  everything needs 1 of role maintainer: alice, bob
factory-config/trust/policy.yaml
  everything needs 1 of role maintainer: alice, bob
  trust needs 2 of role security: alice, bob
and once it is rendered
  guards needs 2 of role security: alice, bob, if it changes objects of the set guards
`
	code, got := explain("bases/a.yaml", trustpolicy.DefaultPath)
	if diff := cmp.Diff(want, got); diff != "" || code != exitYes {
		t.Errorf("exit %d: %s", code, diff)
	}
	for _, path := range []string{"/etc", "a//b", "../a", "a/", ""} {
		if code, got := explain(path); code != exitUsage || !strings.Contains(got, "repository's root") {
			t.Errorf("%q: exit %d, %s", path, code, got)
		}
	}
	edit(t, policy, `paths: ["**"]`, `paths: ["overlays/**"]`)
	if code, got := explain("bases/a.yaml"); code != exitNo || !strings.Contains(got, "nobody may change it") {
		t.Errorf("exit %d, %s", code, got)
	}
	edit(t, policy, `subject: "bob@factory.example"`, `subject: "bob@factory.example"`+"\n    notAfter: 2026-01-01T00:00:00Z")
	if code, got := explain(trustpolicy.DefaultPath); code != exitYes || !strings.Contains(got, "alice (1 too few in force now)") {
		t.Errorf("exit %d, %s", code, got)
	}
}

func TestTrustShowReadsCommitsAndTheWorkTree(t *testing.T) {
	t.Parallel()
	repo, policy := factoryWithPolicy(t)
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = repo
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "policy")
	edit(t, policy, "version: 1", "version: 2")
	edit(t, policy, "  freshness:", "  revocations: [{commit: \"sha256:"+strings.Repeat("ab", 32)+"\", reason: held a password}]\n  freshness:")
	edit(t, policy, "[maintainer, security]", "[maintainer, security, viewer]")
	show := func(args ...string) (s shownPolicy) {
		code, stdout, stderr := answer(t, append([]string{"trust", "show", "--repo", repo, "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitYes {
			t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
		}
		return s
	}
	committed, draft := show("main"), show()
	if committed.Version != 1 || draft.Version != 2 || len(draft.Revocations) != 1 || draft.MaxAge != "168h" || draft.Rules[1].Threshold != 2 {
		t.Errorf("committed %+v, draft %+v", committed, draft)
	}
	code, stdout, stderr := answer(t, "trust", "show", "--repo", repo)
	for _, want := range []string{"policy version 2 of git.example.org/factory", "alice@factory.example", "maintainer, security, viewer", "factory-config/trust/**", "2 of role security: alice, bob", "held a password"} {
		if code != exitYes || !strings.Contains(stdout, want) {
			t.Errorf("exit %d, no %q in\n%s%s", code, want, stdout, stderr)
		}
	}
	if code, stdout, stderr := answer(t, "trust", "explain", "--repo", repo, "--rev", git("rev-parse", "HEAD"), "a"); code != exitYes || !strings.Contains(stdout, "everything") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := answer(t, "trust", "lint", "--repo", repo); code != exitYes || strings.Contains(stdout, "unused") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

func TestTrustReadsWhatAVerifierReads(t *testing.T) {
	t.Parallel()
	repo, policy := factoryWithPolicy(t)
	data, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(repo, "elsewhere.yaml")
	write(t, elsewhere, string(data))
	if err := os.Remove(policy); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := answer(t, "trust", "show", "--repo", repo); code != exitUnknown || !strings.Contains(stderr, "PolicyMissing") {
		t.Errorf("no file: exit %d, %s", code, stderr)
	}
	if err := os.Symlink(elsewhere, policy); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := answer(t, "trust", "show", "--repo", repo); code != exitNo || !strings.Contains(stderr, "not a regular file") { // row C16
		t.Errorf("a symlink: exit %d, %s", code, stderr)
	}
	if code, stdout, stderr := answer(t, "trust", "show", "--repo", repo, "--policy", "elsewhere.yaml"); code != exitYes {
		t.Errorf("another path: exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := answer(t, "trust", "show", "--schema"); code != exitYes || !json.Valid([]byte(stdout)) {
		t.Errorf("the schema: exit %d\n%s", code, stdout)
	}
}

func TestTheFactorysOwnPolicyIsTidy(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := answer(t, "trust", "lint", "--repo", "../..", "--strict")
	if code != exitYes {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}
