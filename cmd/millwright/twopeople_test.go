package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// codeHost merges pull requests with a key of its own.
type codeHost struct {
	*forgekeytest.Forge
	s *studio
}

// newCodeHost makes a forge and lists its key in the policy of a new anchor.
func newCodeHost(s *studio, kind string) codeHost {
	s.t.Helper()
	forge, err := forgekeytest.New(kind)
	if err != nil {
		s.t.Fatal(err)
	}
	key := forge.Key("forge-web")
	public, err := json.Marshal(key.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.dir, "factory-config/trust/policy.yaml")
	policy, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("factory-config/trust/policy.yaml", fmt.Sprintf("%s  history:\n    forgeKeys:\n    - {name: forge-web, type: %s, fingerprint: %q, publicKey: %s}\n", policy, key.Type, key.Fingerprint, public))
	anchor := person("Alice")
	anchor.Unsigned = true
	s.commit(anchor, "the forge's key")
	return codeHost{forge, s}
}

// merge makes the commit that the button makes: two parents for a merge commit,
// one for a squash. No branch is moved.
func (h codeHost) merge(tree string, parents ...string) string {
	h.s.t.Helper()
	args := []string{"commit-tree", "-m", "Merge pull request #1", tree + "^{tree}"}
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	plain := sigstoretest.Committer{Name: "Forge", Email: "noreply@forge.test", Unsigned: true}
	body, err := h.s.sigstore.Git(h.s.t.Context(), h.s.dir, plain, "cat-file", "commit", h.s.git(plain, args...))
	if err != nil {
		h.s.t.Fatal(err)
	}
	signed, err := h.SignCommit([]byte(body))
	if err != nil {
		h.s.t.Fatal(err)
	}
	file := filepath.Join(h.s.t.TempDir(), "commit")
	if err := os.WriteFile(file, signed, 0o600); err != nil {
		h.s.t.Fatal(err)
	}
	return h.s.ask("hash-object", "-t", "commit", "-w", file)
}

func (s *studio) verify(anchor, head string) (code int, stdout, stderr string) {
	s.t.Helper()
	return s.run(shell{}, "verify", "--trusted-root", s.sigstore.TrustedRootPath, anchor+".."+head)
}

// With the real git, the real gitsign and a Sigstore of real servers: what the
// forge merges counts only if two people stand behind it.
func TestTwoPeopleChangeProductionThroughAForge(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"pgp", "ssh"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStudio(t)
			forge := newCodeHost(s, kind)
			main := s.ask("rev-parse", "main")
			alone := s.feature()

			want := func(head string, code int, said ...string) {
				t.Helper()
				got, stdout, stderr := s.verify(main, head)
				if got != code || stderr != "" {
					t.Errorf("exit %d, want %d\n%s%s", got, code, stdout, stderr)
				}
				for _, text := range said {
					if !strings.Contains(stdout, text) {
						t.Errorf("it does not say %q:\n%s", text, stdout)
					}
				}
			}
			want(forge.merge(alone, main, alone), exitNo, "ApprovalMissing (rule/threshold)", "rule production needs 1 more of role security: bob")

			if code, stdout, stderr := s.run(shell{env: s.environment(person("Bob"))}, "approve", "-y"); code != exitYes {
				t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
			}
			approved := s.ask("rev-parse", "feature")
			want(forge.merge(approved, main, approved), exitYes, "forge key forge-web", "approval", "production/app.yaml: alice, bob")
			want(approved, exitYes)
			// A squash is content, and a forge's key may not make content.
			want(forge.merge(approved, main), exitNo, "forge/content")
			// So is a merge that is not what the two sides say.
			want(forge.merge(main, main, approved), exitNo, "forge/content")

			s.write("overlays/production/app.yaml", "replicas: 300\n")
			more := s.commit(person("Alice"), "and some more")
			want(forge.merge(more, main, more), exitNo, "rule production needs 1 more of role security: bob", "void "+approved[:12]+", the approval of bob")
		})
	}
}

func TestAForgeMergesNothingThatWasNotMeantForTheBranch(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	forge := newCodeHost(s, "ssh")
	main := s.ask("rev-parse", "main")
	s.ask("switch", "-q", "-c", "feature")
	s.write("bases/app.yaml", "a: 2\n")
	tip := s.commit(person("Alice"), "one maintainer is enough")
	if code, stdout, _ := s.verify(main, forge.merge(tip, main, tip)); code != exitNo || !strings.Contains(stdout, "IntentMissing (rule/intent)") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	if code, stdout, stderr := s.run(shell{env: s.environment(person("Alice"))}, "approve", "-y"); code != exitYes {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	approved := s.ask("rev-parse", "feature")
	if code, stdout, stderr := s.verify(main, forge.merge(approved, main, approved)); code != exitYes {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}
