package gitverify_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/github/smimesign/ietf-cms/protocol"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// ruled is an attack in a repository whose anchor has a policy of its own: the
// strict one with the changes, which are pairs of old and new text.
type ruled struct {
	row, name, code string
	policy          []string
	build           func(s ruledScene) outcome
}

type ruledScene struct {
	scene
	policy string
}

// files are those of the strict factory under the scene's policy.
func (s ruledScene) files(changes ...string) map[string]string {
	return files(append([]string{policyPath, s.policy}, changes...)...)
}

func replaced(t testing.TB, text string, changes ...string) string {
	t.Helper()
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			t.Fatalf("%q is not in the policy", changes[i])
		}
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	return text
}

// as signs a commit as one of the people, in whatever way.
func (s ruledScene) as(who string, o sigstoretest.SignOptions, tree map[string]string, parents ...gitverify.ID) gitverify.ID {
	s.t.Helper()
	o.Subject = who + "@factory.test"
	return s.put("commit", s.sign(unsigned(s.tree(tree), "c", parents...), o))
}

func runRuled(t *testing.T, attacks []ruled) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.row+" "+a.name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			s := ruledScene{scene{repository: r}, replaced(t, strict("1"), a.policy...)}
			s.anchor = r.put("commit", unsigned(r.tree(s.files()), "anchor"))
			o := a.build(s)
			v := r.verifier()
			r.wantNo(v, request(s.anchor, o.bad), a.code, o.blamed)
			r.wantYes(v, request(s.anchor, o.twin))
			r.wantNo(v, request(s.anchor, o.bad), a.code, o.blamed)
		})
	}
}

// after is a time around that of the signatures, as a policy writes it.
func after(offset time.Duration) string {
	return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).Add(offset).Format(time.RFC3339)
}

func TestAttacksOnWhoIsInForce(t *testing.T) {
	t.Parallel()
	const bobSubject = "subject: bob@factory.test,"
	late := sigstoretest.SignOptions{LoggedAt: time.Date(2026, 5, 1, 12, 5, 0, 0, time.UTC)}
	early := sigstoretest.SignOptions{}
	docs := func(s ruledScene) map[string]string { return s.files("docs/x", "1") }
	byTime := func(s ruledScene) outcome { // bob is in force early, and not late
		return alone(s.as("bob", late, docs(s), s.anchor), s.as("bob", early, docs(s), s.anchor))
	}
	revoked := []string{"  rules:", "  revocations: [{identity: carol, from: \"" + after(time.Minute) + "\", reason: lost}]\n  rules:"}
	byCarol := func(s ruledScene) outcome {
		return alone(s.as("carol", late, docs(s), s.anchor), s.as("carol", early, docs(s), s.anchor))
	}
	runRuled(t, []ruled{
		{"T2", "signer after the end of the window", "id/not-in-force", []string{bobSubject, bobSubject + ` notAfter: "` + after(time.Minute) + `",`}, byTime},
		{"T2", "signer before the window begins", "id/not-in-force", []string{bobSubject, bobSubject + ` notBefore: "` + after(time.Minute) + `",`}, func(s ruledScene) outcome {
			return alone(s.as("bob", early, docs(s), s.anchor), s.as("bob", late, docs(s), s.anchor))
		}},
		{"B29", "identity that was revoked when it signed", "id/revoked", revoked, byCarol},
		{"T9", "empty commit by a revoked identity", "id/revoked", revoked, func(s ruledScene) outcome {
			return alone(s.as("carol", late, s.files(), s.anchor), s.as("carol", early, s.files(), s.anchor))
		}},
		{"T9", "revoked identity deep in a side branch of others", "id/revoked", revoked, func(s ruledScene) outcome {
			deep := s.as("carol", late, docs(s), s.anchor)
			fine := s.as("carol", early, docs(s), s.anchor)
			merge := func(id gitverify.ID) gitverify.ID {
				return s.by("alice", "merge", docs(s), s.anchor, s.by("alice", "more", docs(s), id))
			}
			return outcome{merge(deep), deep, merge(fine)}
		}},
		{"B07", "commit that names somebody else as its committer", "id/committer-mismatch", []string{"{committer: any}", "{committer: match}"}, func(s ruledScene) outcome {
			body := func(address string) []byte {
				return replacedBytes(s.t, unsigned(s.tree(docs(s)), "c", s.anchor), "committer@example.test", address)
			}
			sign := func(b []byte) gitverify.ID {
				return s.put("commit", s.sign(b, sigstoretest.SignOptions{Subject: bob}))
			}
			return alone(sign(body("alice@factory.test")), sign(body("bob@factory.test")))
		}},
		{"B07", "committer in another case", "id/committer-mismatch", []string{"{committer: any}", "{committer: match}"}, func(s ruledScene) outcome {
			sign := func(address string) gitverify.ID {
				return s.put("commit", s.sign(replacedBytes(s.t, unsigned(s.tree(docs(s)), "c", s.anchor), "committer@example.test", address), sigstoretest.SignOptions{Subject: bob}))
			}
			return alone(sign("Bob@factory.test"), sign("bob@factory.test"))
		}},
		{"B14", "committer date years off the proven time", "time/skew", []string{"{committer: any}", "{committer: any, maxSkew: 720h}"}, func(s ruledScene) outcome {
			now := fmt.Sprint(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).Unix())
			near := strings.ReplaceAll(string(unsigned(s.tree(docs(s)), "c", s.anchor)), "1700000000", now)
			return alone(s.by("alice", "c", docs(s), s.anchor), s.put("commit", s.sign([]byte(near), honest)))
		}},
		{"B14", "committer date after the proven time", "time/skew", []string{"{committer: any}", "{committer: any, maxSkew: 720h}"}, func(s ruledScene) outcome {
			far := strings.ReplaceAll(string(unsigned(s.tree(docs(s)), "c", s.anchor)), "1700000000", "999999999999999999")
			near := strings.ReplaceAll(far, "999999999999999999", fmt.Sprint(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).Unix()))
			return alone(s.put("commit", s.sign([]byte(far), honest)), s.put("commit", s.sign([]byte(near), honest)))
		}},
		{"B13", "no timestamp where the policy wants one", "time/no-stamp", []string{"  rules:", "  transparency: {timestampAuthority: required}\n  rules:"}, func(s ruledScene) outcome {
			return alone(s.as("alice", early, docs(s), s.anchor), s.as("alice", sigstoretest.SignOptions{Stamp: true}, docs(s), s.anchor))
		}},
	})
}

func replacedBytes(t testing.TB, body []byte, from, to string) []byte {
	t.Helper()
	return []byte(replaced(t, string(body), from, to))
}

func TestACommitterDateFarOffIsWorthAWarning(t *testing.T) { // row B14
	t.Parallel()
	s := strictScene(t)
	tip := s.by("alice", "c", strictFiles("docs/x", "1"), s.anchor)
	got := s.wantYes(s.verifier(), request(s.anchor, tip))
	c, _ := got.Tip()
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "committer date") {
		t.Errorf("got %q", c.Warnings)
	}
}

func TestWhatWasAcceptedBeforeItsRevocationStaysAndIsReported(t *testing.T) { // rules T9, T13
	t.Parallel()
	s := strictScene(t)
	docs := strictFiles("docs/x", "1")
	first := s.put("commit", s.sign(unsigned(s.tree(docs), "c", s.anchor), honest))
	v := s.verifier()
	checked, _ := s.wantYes(v, request(s.anchor, first)).Tip()
	policy := strings.Replace(strict("2"), "  rules:", "  revocations: [{commit: \""+checked.Payload+"\", reason: backdoor}]\n  rules:", 1)
	revoking := strictFiles(policyPath, policy, "docs/x", "1")
	tip := s.by("bob", approveMain, revoking, s.by("alice", "revoke", revoking, first))
	got := s.wantYes(v, gitverify.Request{Ref: "refs/heads/main", Anchor: s.anchor, Floor: first, Candidate: tip}).Revoked()
	if len(got) != 1 || got[0].Commit != first || !strings.Contains(got[0].Why, "backdoor") {
		t.Errorf("got %+v", got)
	}
}

func TestAttacksOnIntentAndUnit(t *testing.T) {
	t.Parallel()
	runRuled(t, []ruled{
		{"C40", "machine that merges what a person never meant for this branch", "rule/intent", nil, func(s ruledScene) outcome {
			docs := s.files("docs/x", "1")
			abandoned := s.by("alice", "an experiment", docs, s.anchor)
			return alone(s.by("robot", "merge", docs, s.anchor, abandoned),
				s.by("robot", "merge", docs, s.anchor, s.by("alice", approveMain, docs, abandoned)))
		}},
		{"C41", "empty directory in a protected folder", "rule/threshold", nil, func(s ruledScene) outcome {
			empty := s.put("tree", nil)
			withEmpty := func(dir string) gitverify.ID {
				sub := s.put("tree", []byte(treeLine("40000", "hollow", empty)))
				config := s.subtreeOf(s.files(), "factory-config")
				if dir == "docs" {
					readme := s.put("blob", []byte("a factory\n"))
					return s.put("tree", []byte(treeLine("100644", "README", readme)+treeLine("40000", "docs", sub)+treeLine("40000", "factory-config", config)))
				}
				readme := s.put("blob", []byte("a factory\n"))
				return s.put("tree", []byte(treeLine("100644", "README", readme)+treeLine("40000", "factory-config", config)+treeLine("40000", dir, sub)))
			}
			sign := func(tree gitverify.ID) gitverify.ID {
				return s.put("commit", s.sign(unsigned(tree, "c", s.anchor), sigstoretest.SignOptions{Subject: "carol@factory.test"}))
			}
			return alone(sign(withEmpty("prod")), sign(withEmpty("docs")))
		}},
		{"C42", "version that no later policy could exceed", "policy/lockout", nil, func(s ruledScene) outcome {
			change := func(version string) gitverify.ID {
				m := s.files(policyPath, replaced(s.t, s.policy, "version: 1\n", "version: "+version+"\n"))
				return s.by("bob", approveMain, m, s.by("alice", "c", m, s.anchor))
			}
			return alone(change("9223372036854775807"), change("2"))
		}},
		{"C43", "mode of a protected file", "rule/threshold", nil, func(s ruledScene) outcome {
			with := s.files("prod/a", "1")
			begin := s.by("bob", approveMain, with, s.by("alice", "c", with, s.anchor))
			m := s.files("100755 prod/a", "1")
			change := s.by("alice", "chmod", m, begin)
			return alone(change, s.by("bob", approveMain, m, change))
		}},
		{"C44", "protected folder that becomes a file", "rule/threshold", nil, func(s ruledScene) outcome {
			with := s.files("prod/a", "1")
			begin := s.by("bob", approveMain, with, s.by("alice", "c", with, s.anchor))
			m := s.files("prod", "1")
			change := s.by("alice", "c", m, begin)
			return alone(change, s.by("bob", approveMain, m, change))
		}},
		{"C45", "approval that came before the content, on another branch", "rule/threshold", nil, func(s ruledScene) outcome {
			prod := s.files("prod/a", "1")
			early := s.by("bob", approveMain, s.files(), s.anchor)
			change := s.by("alice", "c", prod, early)
			return alone(change, s.by("bob", approveMain, prod, change))
		}},
		{"C46", "approval of one of two changes, merged into both", "rule/threshold", nil, func(s ruledScene) outcome {
			one, two, both := s.files("prod/a", "1"), s.files("prod/b", "1"), s.files("prod/a", "1", "prod/b", "1")
			seen := s.by("bob", approveMain, one, s.by("alice", "a", one, s.anchor))
			unseen := s.by("alice", "b", two, s.anchor)
			merge := s.by("alice", "merge", both, seen, unseen)
			return alone(merge, s.by("bob", approveMain, both, merge))
		}},
		{"C47", "content that goes away and comes back after its approval", "rule/threshold", nil, func(s ruledScene) outcome {
			good, evil := s.files("prod/a", "1"), s.files("prod/a", "2")
			approved := s.by("bob", approveMain, good, s.by("carol", "c", good, s.anchor))
			away := s.by("carol", "away", evil, approved)
			back := s.by("carol", "back", good, away)
			return alone(back, s.by("bob", approveMain, good, s.by("alice", approveMain, good, back)))
		}},
		{"C20", "signed commit on top of another parent", "sig/digest", nil, func(s ruledScene) outcome {
			docs := s.files("docs/x", "1")
			signed := s.sign(unsigned(s.tree(docs), "c", s.anchor), honest)
			tip := s.by("alice", "tip", s.files("docs/y", "1"), s.anchor)
			moved := replacedBytes(s.t, signed, "parent "+string(s.anchor), "parent "+string(tip))
			return alone(s.put("commit", moved), s.put("commit", signed))
		}},
		{"C21", "commit of a fork that shares its objects", "id/subject", nil, func(s ruledScene) outcome {
			docs := s.files("docs/x", "1")
			tip := s.by("alice", "c", docs, s.anchor)
			return alone(s.by("mallory", "c", docs, tip), tip)
		}},
		{"A21", "approval in a message of another encoding", "rule/threshold", nil, func(s ruledScene) outcome {
			prod := s.files("prod/a", "1")
			c := s.by("alice", "c", prod, s.anchor)
			approve := unsigned(s.tree(prod), approveMain, c)
			sign := func(b []byte) gitverify.ID {
				return s.put("commit", s.sign(b, sigstoretest.SignOptions{Subject: bob}))
			}
			return alone(sign(replacedBytes(s.t, approve, "\n\napprove", "\nencoding UTF-7\n\napprove")), sign(approve))
		}},
		{"A21", "approval in a message that is not UTF-8", "rule/threshold", nil, func(s ruledScene) outcome {
			prod := s.files("prod/a", "1")
			c := s.by("alice", "c", prod, s.anchor)
			approve := unsigned(s.tree(prod), approveMain, c)
			sign := func(b []byte) gitverify.ID {
				return s.put("commit", s.sign(b, sigstoretest.SignOptions{Subject: bob}))
			}
			return alone(sign(replacedBytes(s.t, approve, "\n\napprove", "\n\nappr\xffve")), sign(approve))
		}},
		{"C26", "trailer twice", "rule/threshold", nil, func(s ruledScene) outcome {
			prod := s.files("prod/a", "1")
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("bob", approveMain+"\nMillwright-Approve: millwright.dev/factory refs/heads/dev", prod, c), s.by("bob", approveMain, prod, c))
		}},
		{"C26", "trailer in a commit that changes something", "rule/threshold", nil, func(s ruledScene) outcome {
			prod := s.files("prod/a", "1")
			c := s.by("alice", "c", prod, s.anchor)
			return alone(s.by("bob", approveMain, s.files("prod/a", "1", "docs/x", "1"), c), s.by("bob", approveMain, prod, c))
		}},
		{"C06", "octopus that takes one side's protected file", "rule/threshold", nil, func(s ruledScene) outcome {
			prod := s.files("prod/a", "1")
			one := s.by("bob", approveMain, prod, s.by("alice", "a", prod, s.anchor))
			two := s.by("carol", "b", s.files("docs/b", "1"), s.anchor)
			both := s.files("prod/a", "1", "docs/b", "1")
			octopus := s.by("carol", "octopus", both, s.anchor, one, two)
			return alone(octopus, s.by("bob", approveMain, both, s.by("alice", approveMain, both, octopus)))
		}},
	})
}

// subtreeOf stores a directory of some files.
func (r *repository) subtreeOf(all map[string]string, dir string) gitverify.ID {
	sub := map[string]string{}
	for path, content := range all {
		if rest, ok := strings.CutPrefix(path, dir+"/"); ok {
			sub[rest] = content
		}
	}
	return r.tree(sub)
}

func TestAForgeMayMergeABranchFromBeforeTheAnchorAndAddNothing(t *testing.T) { // rules T1, T6
	t.Parallel()
	s := newForgeScene(t, forgekey.SSH)
	root := s.anchor
	anchor := s.put("commit", unsigned(s.tree(s.with("docs/z", "1")), "unsigned", root))
	docs := s.with("docs/x", "1")
	side := s.by("bob", approveMain, docs, s.by("alice", "c", docs, root))
	s.wantYes(s.verifier(), request(anchor, s.merge(s.with("docs/x", "1", "docs/z", "1"), anchor, side)))
	for name, tree := range map[string]map[string]string{
		"other content":          s.with("docs/x", "2", "docs/z", "1"),
		"without our side":       docs,
		"without their side":     s.with("docs/z", "1"),
		"with a file of its own": s.with("docs/x", "1", "docs/z", "1", "docs/evil", "1"),
	} {
		bad := s.merge(tree, anchor, side)
		if no := s.wantNo(s.verifier(), request(anchor, bad), "forge/content", bad); no.Path == "" {
			t.Errorf("%s: no path is named", name)
		}
	}
}

func TestAMachineOnTopOfAForgesMergeIsNoIntent(t *testing.T) { // row C40
	t.Parallel()
	s := newForgeScene(t, forgekey.PGP)
	docs := s.with("docs/x", "1")
	merge := s.merge(docs, s.anchor, s.by("alice", "an experiment", docs, s.anchor))
	top := s.by("robot", "on top", docs, merge)
	s.wantNo(s.verifier(), request(s.anchor, top), "rule/intent", top)
	s.wantYes(s.verifier(), request(s.anchor, s.by("alice", approveMain, docs, top)))
}

func TestAttacksOnWhatIsSigned(t *testing.T) {
	t.Parallel()
	runAttacks(t, []attack{
		{"A27", "signature over the commit's SHA-256 form", "sig/digest", func(s scene) outcome {
			body := s.body()
			wide := strings.NewReplacer(
				"tree "+string(s.tree(files("a", "1"))), "tree "+strings.Repeat("ab", 32),
				"parent "+string(s.anchor), "parent "+strings.Repeat("cd", 32)).Replace(string(body))
			header := s.signature(s.sign([]byte(wide), honest))
			signed := s.sign(body, honest)
			return alone(s.put("commit", s.replaceOnce(signed, s.signature(signed), header)), s.put("commit", signed))
		}},
		{"A27", "commit in its SHA-256 form", "obj/malformed", func(s scene) outcome {
			wide := strings.Replace(string(s.body()), "tree "+string(s.tree(files("a", "1"))), "tree "+strings.Repeat("ab", 32), 1)
			return alone(s.put("commit", s.sign([]byte(wide), honest)), s.signed(honest))
		}},
		{"A18", "signature with the other of its two values of s", "log/entry-mismatch", func(s scene) outcome {
			signed := s.sign(s.body(), honest)
			other := s.sign(s.body(), sigstoretest.SignOptions{EditSignedData: func(d *protocol.SignedData) {
				d.SignerInfos[0].Signature = malleated(s.t, d.SignerInfos[0].Signature)
			}})
			return alone(s.put("commit", other), s.put("commit", signed))
		}},
		{"A18", "MD5 as digest", "sig/algorithm", func(s scene) outcome {
			return alone(s.signed(sigstoretest.SignOptions{EditSignedData: func(d *protocol.SignedData) {
				d.SignerInfos[0].DigestAlgorithm.Algorithm = []int{1, 2, 840, 113549, 2, 5}
			}}), s.signed(honest))
		}},
		{"A18", "RSA as the algorithm of the signature", "sig/algorithm", func(s scene) outcome {
			return alone(s.signed(sigstoretest.SignOptions{EditSignedData: func(d *protocol.SignedData) {
				d.SignerInfos[0].SignatureAlgorithm.Algorithm = []int{1, 2, 840, 113549, 1, 1, 11}
			}}), s.signed(honest))
		}},
		signing("B21", "log whose key only the log itself would vouch for", "log/unknown", sigstoretest.SignOptions{ForeignLog: true}),
		signing("B04", "subject with a dot at its end", "id/subject", sigstoretest.SignOptions{Subject: alice + "."}),
		signing("B04", "subject of a host in another alphabet", "id/subject", sigstoretest.SignOptions{Subject: "alice@xn--fctory-8ya.test"}),
		certificate("B04", "NUL behind the listed subject", "id/subject", func(c *x509.Certificate) {
			c.EmailAddresses = []string{alice + "\x00.attacker.test"}
		}),
		signing("B34", "issuer that looks like the listed one", "id/issuer", sigstoretest.SignOptions{Issuer: "https://issuer.virtual.test.attacker.test"}),
		signing("B34", "issuer in capitals", "id/issuer", sigstoretest.SignOptions{Issuer: "https://ISSUER.virtual.test"}),
	})
}

// malleated is the other signature that the same key, message and nonce have:
// s and the order less s are both good (row A18).
func malleated(t testing.TB, der []byte) []byte {
	t.Helper()
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		t.Fatal(err)
	}
	sig.S.Sub(elliptic.P256().Params().N, sig.S)
	out, err := asn1.Marshal(sig)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
