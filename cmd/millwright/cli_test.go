package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestMain(m *testing.M) { os.Exit(sigstoretest.Main(m)) }

// answer runs the command as a shell would.
func answer(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &err, now: time.Now}
	code = a.run(t.Context(), args)
	return code, out.String(), err.String()
}

func TestExitCodesAndMessagesSayWhatToDo(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	cases := map[string]struct {
		args []string
		code int
		want string
	}{
		"no arguments show the verbs":       {nil, exitYes, "audit"},
		"an unknown verb":                   {[]string{"bogus"}, exitUsage, `unknown command "bogus"`},
		"an unknown flag":                   {[]string{"render", "--bogus"}, exitUsage, "See 'millwright render --help'"},
		"a range is missing":                {[]string{"verify", "--trusted-root", "x"}, exitUsage, "name the range BASE..HEAD"},
		"a range without dots":              {[]string{"verify", "--trusted-root", "x", "HEAD"}, exitUsage, "BASE..HEAD"},
		"a trusted root is not named":       {[]string{"verify", "a..b"}, exitUsage, "trusted-root"},
		"a directory that is no repository": {[]string{"verify", "--repo", tree, "--trusted-root", "x", "a..b"}, exitUnknown, "SourceUnreachable"},
		"a tree without a factory":          {[]string{"render", "--root", tree}, exitNo, "factory/missing"},
		"an output format that is none":     {[]string{"render", "--root", "testdata/tree", "-o", "xml"}, exitUsage, "must be yaml, json or digest"},
		"an environment that is none":       {[]string{"render", "--root", "testdata/tree", "--environment", "mars"}, exitNo, "factory/environment"},
		"a cluster that is away":            {[]string{"status", "--kubeconfig", "/nonexistent"}, exitUnknown, "kubeconfig"},
		"an audit of nothing":               {[]string{"audit", "--trusted-root", "x"}, exitUsage, "--export"},
		"an audit that names nobody":        {[]string{"audit", "f", "--trusted-root", "x"}, exitUsage, "--certificate-identity"},
		"a lock that pins nothing":          {[]string{"vendor", "--root", tree, "nope"}, exitUnknown, "bases"},
		"a shell completion":                {[]string{"completion", "bash"}, exitYes, "bash completion"},
		"the version":                       {[]string{"version"}, exitYes, "dev"},
		"a rendered tree":                   {[]string{"render", "--root", "testdata/tree", "-o", "digest"}, exitYes, "all 2 objects"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := answer(t, c.args...)
			if code != c.code || !strings.Contains(stdout+stderr, c.want) {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, c.code, c.want, stdout, stderr)
			}
			if lines := strings.Count(strings.TrimSpace(stderr), "\n"); lines > 2 {
				t.Errorf("the message has %d lines:\n%s", lines+1, stderr)
			}
		})
	}
}

func TestVerifySaysWhoSignedAndWhoMayNot(t *testing.T) {
	t.Parallel()
	sigstore := sigstoretest.Shared(t)
	repo := t.TempDir()
	git := func(who sigstoretest.Committer, message string) string {
		id, err := sigstore.Commit(t.Context(), repo, who, message)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	alice := sigstoretest.Committer{Name: "Alice", Email: "alice@factory.example"}
	plain := alice
	plain.Unsigned = true
	if _, err := sigstore.Git(t.Context(), repo, plain, "init", "-q"); err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(repo, "factory-config/trust/policy.yaml")
	if err := os.MkdirAll(filepath.Dir(policy), 0o750); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("apiVersion: millwright.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: factory}\nspec:\n  version: 1\n  repository: millwright.dev/test\n  rules:\n  - {name: everything, paths: [\"**\"], role: maintainer, threshold: 1}\n  identities:\n  - {name: alice, person: alice, issuer: %q, subject: alice@factory.example, roles: [maintainer]}\n", sigstore.IssuerURL(sigstoretest.Person))
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	anchor := git(plain, "anchor")
	good := git(alice, "good")
	bad := git(plain, "bad")

	verify := func(head string) (int, string, string) {
		return answer(t, "verify", "--repo", repo, "--trusted-root", sigstore.TrustedRootPath, "-o", "json", anchor+".."+head)
	}
	code, stdout, stderr := verify(good)
	var v verified
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != exitYes {
		t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if len(v.Commits) != 1 || v.Commits[0].Subject != alice.Email || v.Commit != good {
		t.Errorf("verified: %+v", v)
	}
	code, stdout, stderr = verify(bad)
	if code != exitNo || stdout != "" || !strings.Contains(stderr, "Unsigned") || !strings.Contains(stderr, bad) || !strings.Contains(stderr, "gitsign") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

func TestAnEditedExportIsRefused(t *testing.T) {
	t.Parallel()
	sigstore := sigstoretest.Shared(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := func(export string) []string {
		return []string{"audit", "--export", export, "--trusted-root", sigstore.TrustedRootPath, "--certificate-identity", "spiffe://factory.test/x", "--certificate-oidc-issuer", "http://127.0.0.1"}
	}
	empty := `{"apiVersion":"millwright.dev/v1alpha1","kind":"FactoryExport","factory":{"namespace":"a","name":"b"},"records":[]}`
	for name, c := range map[string]struct{ text, want string }{
		"no records":       {empty, "chain/empty"},
		"an unknown field": {strings.Replace(empty, `"records"`, `"extra":1,"records"`, 1), "export/invalid"},
		"no JSON":          {"{", "export/invalid"},
	} {
		code, stdout, stderr := answer(t, args(write(strings.ReplaceAll(name, " ", "-"), c.text))...)
		if code != exitNo || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%s: exit %d, want %s\n%s%s", name, code, c.want, stdout, stderr)
		}
	}
}
