package gitverify_test

import (
	"fmt"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
)

// forgeScene is a strict repository whose policy lists a forge's key.
type forgeScene struct {
	scene
	forge *forgekeytest.Forge
	with  func(changes ...string) map[string]string
}

func newForgeScene(t *testing.T, kind string) forgeScene {
	t.Helper()
	forge, err := forgekeytest.New(kind)
	if err != nil {
		t.Fatal(err)
	}
	key := forge.Key("web")
	r := newRepository(t)
	policy := strings.Replace(strict("1"), "history: {committer: any}",
		fmt.Sprintf("history:\n    committer: any\n    forgeKeys:\n    - {name: web, type: %s, fingerprint: %q, publicKey: %q}", key.Type, key.Fingerprint, key.PublicKey), 1)
	with := func(changes ...string) map[string]string {
		return files(append([]string{policyPath, policy}, changes...)...)
	}
	return forgeScene{scene{r, r.put("commit", unsigned(r.tree(with()), "anchor"))}, forge, with}
}

func TestAPolicyWhoseForgeKeyCannotBeUsedIsInvalid(t *testing.T) { // rule T6
	t.Parallel()
	s := newForgeScene(t, forgekey.PGP)
	good := s.forge.Key("web")
	stranger, err := forgekeytest.New(forgekey.PGP)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(s.with()[policyPath], good.Fingerprint, stranger.Key("").Fingerprint, 1)
	bad := s.put("commit", unsigned(s.tree(s.with(policyPath, other)), "anchor"))
	no := s.wantNo(s.verifier(), request(bad, s.by("alice", "c", s.with(policyPath, other, "docs/x", "1"), bad)), "policy/invalid", bad)
	if no.Path != policyPath || !strings.Contains(no.Detail, `forge key "web"`) {
		t.Errorf("got %v", no)
	}
	s.wantYes(s.verifier(), request(s.anchor, s.by("alice", "c", s.with("docs/x", "1"), s.anchor)))
}

// merge is a commit that the forge signed.
func (s forgeScene) merge(tree map[string]string, parents ...gitverify.ID) gitverify.ID {
	s.t.Helper()
	body, err := s.forge.SignCommit(unsigned(s.tree(tree), "merge", parents...))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.put("commit", body)
}

func TestWhatAForgeMayMerge(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{forgekey.PGP, forgekey.SSH} {
		for _, a := range forgeAttacks() {
			t.Run(a.row+" "+kind+" "+a.name, func(t *testing.T) {
				t.Parallel()
				s := newForgeScene(t, kind)
				bad, blamed, twin := a.build(s)
				v := s.verifier()
				s.wantNo(v, request(s.anchor, bad), a.code, blamed)
				s.wantYes(v, request(s.anchor, twin))
			})
		}
	}
}

func TestARevokedForgeKeyMergesNothingThatIsNotAppliedYet(t *testing.T) { // rules T6, T9
	t.Parallel()
	s := newForgeScene(t, forgekey.SSH)
	docs := s.with("docs/x", "1")
	merge := s.merge(docs, s.anchor, s.by("bob", approveMain, docs, s.by("alice", "c", docs, s.anchor)))
	revoked := strings.Replace(s.with()[policyPath], "version: 1", "version: 2", 1)
	revoked = strings.Replace(revoked, "  rules:", "  revocations:\n  - {forgeKey: web, reason: its server was broken into}\n  rules:", 1)
	after := s.with("docs/x", "1", policyPath, revoked)
	tip := s.by("bob", approveMain, after, s.by("alice", "revoke", after, merge))
	v := s.verifier()
	s.wantYes(v, request(s.anchor, merge))
	s.wantNo(v, request(s.anchor, tip), "forge/revoked", merge)
	if e, err := v.Explain(t.Context(), s, request(s.anchor, tip)); err != nil || e.Accepted != s.anchor || len(e.Steps) != 0 {
		t.Errorf("explained as %+v, %v", e, err)
	}
	// Applied before: a fact.
	applied := s.wantYes(v, gitverify.Request{Ref: "refs/heads/main", Anchor: s.anchor, Candidate: tip, Floor: merge})
	if got := applied.Revoked(); len(got) != 1 || got[0].Commit != merge {
		t.Errorf("got %+v", got)
	}
	more := s.with("docs/x", "1", "docs/y", "1", policyPath, revoked)
	next := s.merge(more, tip, s.by("bob", approveMain, more, s.by("alice", "c", more, tip)))
	s.wantNo(v, gitverify.Request{Ref: "refs/heads/main", Anchor: s.anchor, Candidate: next, Floor: tip}, "forge/revoked", next)
	// And a status that says that it was applied makes it no fact.
	s.wantNo(v, gitverify.Request{Ref: "refs/heads/main", Anchor: s.anchor, Candidate: next, Floor: next}, "forge/revoked", next)
}

func TestASquashByAForgeIsToldFromAMergeOfMany(t *testing.T) { // rule T6
	t.Parallel()
	s := newForgeScene(t, forgekey.SSH)
	docs := s.with("docs/x", "1")
	side := func(message string) gitverify.ID { return s.by("alice", message, docs, s.anchor) }
	for words, parents := range map[string][]gitverify.ID{
		"a squash, a rebase":         {s.anchor},
		"of more than two branches,": {s.anchor, side("a"), side("b")},
	} {
		_, err := s.verifier().Verify(t.Context(), s, request(s.anchor, s.merge(docs, parents...)))
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
}

type forgeAttack struct {
	row, name, code string
	build           func(s forgeScene) (bad, blamed, twin gitverify.ID)
}

func forgeAttacks() []forgeAttack {
	return []forgeAttack{
		{"T6", "squash", "forge/content", func(s forgeScene) (bad, blamed, twin gitverify.ID) {
			docs := s.with("docs/x", "1")
			side := s.by("bob", approveMain, docs, s.by("alice", "c", docs, s.anchor))
			bad = s.merge(docs, s.anchor)
			return bad, bad, s.merge(docs, s.anchor, side)
		}},
		{"C05", "evil merge", "forge/content", func(s forgeScene) (bad, blamed, twin gitverify.ID) {
			docs := s.with("docs/x", "1")
			side := s.by("bob", approveMain, docs, s.by("alice", "c", docs, s.anchor))
			bad = s.merge(s.with("docs/x", "2"), s.anchor, side)
			return bad, bad, s.merge(docs, s.anchor, side)
		}},
		{"T6", "both sides changed a path", "forge/content", func(s forgeScene) (bad, blamed, twin gitverify.ID) {
			main := s.by("alice", "main", s.with("docs/x", "1"), s.anchor)
			other := s.with("docs/x", "2")
			side := s.by("bob", approveMain, other, s.by("alice", "side", other, s.anchor))
			bad = s.merge(other, main, side)
			return bad, bad, s.by("bob", "merge", other, main, side)
		}},
		{"T7", "approval that is missing", "rule/intent", func(s forgeScene) (bad, blamed, twin gitverify.ID) {
			docs := s.with("docs/x", "1")
			side := s.by("alice", "c", docs, s.anchor)
			bad = s.merge(docs, s.anchor, side)
			return bad, bad, s.merge(docs, s.anchor, s.by("alice", approveMain, docs, side))
		}},
		{"T5", "forge that would be the second person", "rule/threshold", func(s forgeScene) (bad, blamed, twin gitverify.ID) {
			prod := s.with("prod/a", "1")
			side := s.by("alice", approveMain, prod, s.by("alice", "c", prod, s.anchor))
			bad = s.merge(prod, s.anchor, side)
			return bad, bad, s.merge(prod, s.anchor, s.by("bob", approveMain, prod, side))
		}},
		{"B08", "forge that the policy does not list", "forge/key", func(s forgeScene) (bad, blamed, twin gitverify.ID) {
			docs := s.with("docs/x", "1")
			side := s.by("bob", approveMain, docs, s.by("alice", "c", docs, s.anchor))
			stranger, err := forgekeytest.New(forgekey.SSH)
			if err != nil {
				s.t.Fatal(err)
			}
			bad = forgeScene{s.scene, stranger, s.with}.merge(docs, s.anchor, side)
			return bad, bad, s.merge(docs, s.anchor, side)
		}},
		{"T6", "octopus", "forge/content", func(s forgeScene) (bad, blamed, twin gitverify.ID) {
			a, b := s.with("docs/a", "1"), s.with("docs/b", "1")
			one := s.by("bob", approveMain, a, s.by("alice", "a", a, s.anchor))
			two := s.by("bob", approveMain, b, s.by("alice", "b", b, s.anchor))
			both := s.with("docs/a", "1", "docs/b", "1")
			bad = s.merge(both, s.anchor, one, two)
			return bad, bad, s.merge(both, s.merge(a, s.anchor, one), two)
		}},
		{"T2", "unsigned commit below a forge's merge", "sig/missing", func(s forgeScene) (bad, blamed, twin gitverify.ID) {
			docs := s.with("docs/x", "1")
			blamed = s.put("commit", unsigned(s.tree(docs), "c", s.anchor))
			bad = s.merge(docs, s.anchor, s.by("bob", approveMain, docs, blamed))
			return bad, blamed, s.merge(docs, s.anchor, s.by("bob", approveMain, docs, s.by("alice", "c", docs, s.anchor)))
		}},
	}
}
