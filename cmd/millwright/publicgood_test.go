package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// signedElsewhere makes a repository whose last commit has this signature.
func signedElsewhere(t *testing.T, o sigstoretest.SignOptions) (repo, anchor, head string) {
	t.Helper()
	repo = t.TempDir()
	git := func(stdin []byte, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo}, args...)...)
		cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + repo, "GIT_CONFIG_NOSYSTEM=1"}
		for _, who := range []string{"AUTHOR", "COMMITTER"} {
			cmd.Env = append(cmd.Env, "GIT_"+who+"_NAME=Alice", "GIT_"+who+"_EMAIL=alice@factory.test", "GIT_"+who+"_DATE=2026-01-01T00:00:00Z")
		}
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	git(nil, "init", "-q", "-b", "main")
	policy := filepath.Join(repo, "factory-config/trust/policy.yaml")
	if err := os.MkdirAll(filepath.Dir(policy), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(policy, []byte(publicPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	git(nil, "add", "--all")
	git(nil, "commit", "-q", "-m", "anchor")
	anchor = git(nil, "rev-parse", "HEAD")
	git(nil, "commit", "-q", "--allow-empty", "-m", "next")
	raw := git(nil, "cat-file", "commit", "HEAD") + "\n"
	virtual, err := sigstoretest.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := virtual.SignCommit([]byte(raw), o)
	if err != nil {
		t.Fatal(err)
	}
	return repo, anchor, git(signed, "hash-object", "-t", "commit", "-w", "--stdin")
}

const publicPolicy = `apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: factory}
spec:
  version: 1
  repository: millwright.dev/test
  identities:
  - {name: alice, person: alice, issuer: https://issuer.factory.test, subject: alice@factory.test, roles: [maintainer]}
  rules:
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
  - {name: trust, paths: ["factory-config/trust/**"], role: maintainer, threshold: 1}
`

func TestThePublicGoodRootSaysWhatAHistoryLacks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sign  sigstoretest.SignOptions
		wants []string
	}{
		"gitsign in its online mode leaves no entry": {sigstoretest.SignOptions{NoLogEntry: true}, []string{"log/missing", "gitsign.rekorMode=offline"}},
		"a certificate of another authority":         {sigstoretest.SignOptions{}, []string{"trusted root"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, anchor, head := signedElsewhere(t, c.sign)
			code, stdout, stderr := answer(t, "verify", "--repo", repo, "--trusted-root", "public-good", anchor+".."+head)
			for _, text := range append(c.wants, head[:12]) {
				if all := stdout + stderr; code != exitNo || !strings.Contains(all, text) {
					t.Errorf("exit %d, want %d and %q\n%s", code, exitNo, text, all)
				}
			}
		})
	}
}

func TestSignaturesOfARepositoryWithoutAPolicyAreCountedByWhatTheyLack(t *testing.T) {
	t.Parallel()
	repo, anchor, head := signedElsewhere(t, sigstoretest.SignOptions{NoLogEntry: true})
	code, stdout, stderr := answer(t, "verify", "--signatures", "--repo", repo, "--trusted-root", "public-good", anchor+".."+head)
	want := []string{head[:12], "log/missing", "no: 0 signatures of 1 commit proven", "1 lack NotInTransparencyLog (log/missing)", "gitsign.rekorMode=offline"}
	for _, text := range want {
		if code != exitNo || !strings.Contains(stdout, text) {
			t.Errorf("exit %d, want %d and %q\n%s%s", code, exitNo, text, stdout, stderr)
		}
	}
	if code, stdout, _ := answer(t, "verify", "--signatures", "--repo", repo, "--trusted-root", "public-good", anchor+".."+anchor); code != 0 || !strings.Contains(stdout, "yes: 0 signatures of 0 commits") {
		t.Errorf("an empty range: exit %d\n%s", code, stdout)
	}
	if code, _, _ := answer(t, "verify", "--signatures", "-o", "markdown", "--repo", repo, "--trusted-root", "public-good", anchor+".."+head); code != exitUsage {
		t.Errorf("markdown: exit %d, want %d", code, exitUsage)
	}
}
