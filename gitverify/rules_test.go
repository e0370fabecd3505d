package gitverify_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// strictPolicy asks two persons of role security for prod/, two security people
// for the trust policy, and one maintainer for all but free/.
const strictPolicy = `apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: factory}
spec:
  version: VERSION
  repository: millwright.dev/factory
  history: {committer: any}
  rules:
  - {name: docs, paths: ["docs/**", README], role: maintainer, threshold: 1}
  - {name: prod, paths: ["prod/**"], role: security, threshold: 2}
  - {name: trust, paths: ["factory-config/trust/**"], role: security, threshold: 2}
  identities:
  - {name: alice, person: alice, issuer: "ISSUER", subject: alice@factory.test, roles: [maintainer, security]}
  - {name: alice-laptop, person: alice, issuer: "ISSUER", subject: alice.laptop@factory.test, roles: [maintainer, security]}
  - {name: bob, person: bob, issuer: "ISSUER", subject: bob@factory.test, roles: [maintainer, security]}
  - {name: carol, person: carol, issuer: "ISSUER", subject: carol@factory.test, roles: [maintainer]}
  - {name: robot, issuer: "ISSUER", subject: robot@factory.test, roles: [maintainer, security]}
`

func strict(version string) string {
	return strings.NewReplacer("VERSION", version, "ISSUER", issuer).Replace(strictPolicy)
}

// strictScene is a repository whose anchor has the strict policy.
func strictScene(t *testing.T) scene {
	t.Helper()
	r := newRepository(t)
	return scene{r, r.put("commit", unsigned(r.tree(strictFiles()), "anchor"))}
}

func strictFiles(changes ...string) map[string]string {
	m := files(append([]string{policyPath, strict("1")}, changes...)...)
	return m
}

// by signs a commit as one of the people.
func (s scene) by(who, message string, tree map[string]string, parents ...gitverify.ID) gitverify.ID {
	s.t.Helper()
	return s.put("commit", s.sign(unsigned(s.tree(tree), message, parents...), sigstoretest.SignOptions{Subject: who + "@factory.test"}))
}

const approveMain = "approve\n\nMillwright-Approve: millwright.dev/factory refs/heads/main"

func TestWhoMayChangeWhat(t *testing.T) {
	t.Parallel()
	prod := strictFiles("prod/a", "1")
	runStrict(t, []attack{
		{"T4", "path that no rule matches", "rule/none", func(s scene) outcome {
			return alone(s.by("alice", "c", strictFiles("other", "1"), s.anchor), s.by("alice", "c", strictFiles("docs/x", "1"), s.anchor))
		}},
		{"T4", "pattern of another case", "rule/none", func(s scene) outcome {
			return alone(s.by("alice", "c", strictFiles("Docs/x", "1"), s.anchor), s.by("alice", "c", strictFiles("docs/x", "1"), s.anchor))
		}},
		{"T4", "rename out of a protected folder", "rule/threshold", func(s scene) outcome {
			begin := s.by("bob", approveMain, prod, s.by("alice", "c", prod, s.anchor))
			moved := strictFiles("docs/a", "1")
			move := s.by("alice", "move", moved, begin)
			return alone(move, s.by("bob", approveMain, moved, move))
		}},
		{"T5", "one person where two are wanted", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(c, s.by("bob", approveMain, prod, c))
		}},
		{"C17", "two identities of one person", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("alice.laptop", approveMain, prod, c), s.by("bob", approveMain, prod, c))
		}},
		{"C17", "two commits of one person", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("alice", approveMain, prod, c), s.by("bob", approveMain, prod, c))
		}},
		{"T5", "approval by a machine", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("robot", approveMain, prod, c), s.by("bob", approveMain, prod, c))
		}},
		{"T5", "approval by somebody without the role", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("carol", approveMain, prod, c), s.by("bob", approveMain, prod, c))
		}},
		{"T5", "content that changed after the approval", "rule/threshold", func(s scene) outcome {
			c := s.by("bob", approveMain, prod, s.by("alice", "c", prod, s.anchor))
			_ = c
			start := s.by("alice", "c", prod, s.anchor)
			changed := strictFiles("prod/a", "2")
			again := s.by("alice", "changed", changed, s.by("carol", "docs", strictFiles("prod/a", "1", "docs/x", "1"), start))
			return alone(again, s.by("bob", approveMain, changed, again))
		}},
		{"T5", "empty commit without the trailer", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("bob", "looks good", prod, c), s.by("bob", approveMain, prod, c))
		}},
		{"C26", "trailer that is not in the last paragraph", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("bob", approveMain+"\n\nmore", prod, c), s.by("bob", approveMain, prod, c))
		}},
		{"T7", "approval for another ref", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("bob", strings.Replace(approveMain, "heads/main", "heads/dev", 1), prod, c), s.by("bob", approveMain, prod, c))
		}},
		{"C27", "approval for another repository", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("bob", strings.Replace(approveMain, "millwright.dev/factory", "millwright.dev/other", 1), prod, c), s.by("bob", approveMain, prod, c))
		}},
		{"T5", "later commit that touches other paths", "rule/threshold", func(s scene) outcome {
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("bob", "docs", strictFiles("prod/a", "1", "docs/x", "1"), c), s.by("bob", approveMain, prod, c))
		}},
		{"C14", "policy change by one where two are wanted", "rule/threshold", func(s scene) outcome {
			policy := strictFiles(policyPath, strict("2"))
			c := s.by("alice", "c", policy, s.anchor)
			return alone(c, s.by("bob", approveMain, policy, c))
		}},
		{"T8", "policy that nobody could change again", "policy/lockout", func(s scene) outcome {
			locked := strictFiles(policyPath, strings.Replace(strict("2"), `"factory-config/trust/**"`, `"trust/**"`, 1))
			fine := strictFiles(policyPath, strict("2"))
			approved := func(m map[string]string) gitverify.ID {
				return s.by("bob", approveMain, m, s.by("alice", "c", m, s.anchor))
			}
			return alone(approved(locked), approved(fine))
		}},
		{"T8", "policy that those who may change it are too late for", "policy/lockout", func(s scene) outcome {
			ended := func(from, to string) gitverify.ID {
				m := strictFiles(policyPath, strings.ReplaceAll(strict("2"), from, to))
				return s.by("bob", approveMain, m, s.by("alice", "c", m, s.anchor))
			}
			return alone(ended("roles: [maintainer, security]", "notAfter: 2001-01-01T00:00:00Z, roles: [maintainer, security]"), ended("roles: [maintainer, security]", "notAfter: 2201-01-01T00:00:00Z, roles: [maintainer, security]"))
		}},
		{"C06", "merge that keeps our side of what both changed, over an old approval", "rule/threshold", func(s scene) outcome {
			branch := s.by("bob", approveMain, prod, s.by("alice", "c", prod, s.anchor))
			fixed := strictFiles("prod/a", "fixed")
			main := s.by("bob", approveMain, fixed, s.by("alice", "fix", fixed, s.anchor))
			update := s.by("carol", "update the branch, keep ours", prod, branch, main)
			return alone(s.by("carol", "merge", prod, main, update), s.by("bob", approveMain, prod, s.by("alice", "merge", prod, main, update)))
		}},
		{"C05", "evil merge", "rule/threshold", func(s scene) outcome {
			side := s.by("carol", "side", strictFiles("docs/x", "1"), s.anchor)
			evil := strictFiles("docs/x", "1", "prod/a", "evil")
			merge := s.by("alice", "merge", evil, s.anchor, side)
			return alone(merge, s.by("bob", approveMain, evil, merge))
		}},
	})
}

func runStrict(t *testing.T, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.row+" "+a.name, func(t *testing.T) {
			t.Parallel()
			s := strictScene(t)
			o := a.build(s)
			v := s.verifier()
			s.wantNo(v, request(s.anchor, o.bad), a.code, o.blamed)
			s.wantYes(v, request(s.anchor, o.twin))
			s.wantNo(v, request(s.anchor, o.bad), a.code, o.blamed)
		})
	}
}

func TestARefusalNamesWhoIsMissing(t *testing.T) {
	t.Parallel()
	s := strictScene(t)
	c := s.by("alice", "c", strictFiles("prod/a", "1", "docs/x", "1"), s.anchor)
	no := s.wantNo(s.verifier(), request(s.anchor, c), "rule/threshold", c)
	if len(no.Needs) != 1 || no.Needs[0].Missing != 1 || !slices.Equal(no.Needs[0].Candidates, []string{"bob"}) || no.Path != "prod/a" {
		t.Errorf("got %+v", no)
	}
	if want := "needs 1 more of role security (rule prod): bob"; no.Detail != want {
		t.Errorf("got %q", no.Detail)
	}
}

func codeOf(err error) string {
	var no *gitverify.Refusal
	if errors.As(err, &no) {
		return no.Code
	}
	return ""
}
