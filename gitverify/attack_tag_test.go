package gitverify_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

const (
	carol = "carol@factory.test" // releases, and does nothing else
	dave  = "dave@factory.test"  // a machine that sends heartbeats

	tagRef = "refs/tags/v1"
)

// taggedPolicy is the policy of alice and bob, with somebody who releases and
// something that sends heartbeats; edits are pairs of old and new text.
func taggedPolicy(version int, edits ...string) string {
	text := policyFile(version) +
		"  - {name: carol, person: carol, issuer: \"" + issuer + "\", subject: " + carol + ", roles: [release]}\n" +
		"  - {name: dave, issuer: \"" + issuer + "\", subject: " + dave + ", roles: [heartbeat]}\n"
	return strings.NewReplacer(edits...).Replace(text)
}

// tagScene has an anchor whose policy knows releases and heartbeats.
type tagScene struct {
	scene
	policy string
}

func newTagScene(t testing.TB, edits ...string) tagScene {
	s := tagScene{scene{repository: newRepository(t)}, taggedPolicy(1, edits...)}
	s.anchor = s.put("commit", unsigned(s.tree(s.files()), "anchor"))
	return s
}

// change stores a commit by alice on top of the anchor.
func (s tagScene) change() gitverify.ID {
	return s.commit("change", s.files("a", "1"), s.anchor)
}

func (s tagScene) files(changes ...string) map[string]string {
	return files(append([]string{gitverify.DefaultPolicyPath, s.policy}, changes...)...)
}

// tagBody is an annotated tag without a signature.
func tagBody(target gitverify.ID, kind, name string) []byte {
	return fmt.Appendf(nil, "object %s\ntype %s\ntag %s\ntagger C <%s> 1777636800 +0000\n\nrelease\n", target, kind, name, carol)
}

func by(subject string) sigstoretest.SignOptions { return sigstoretest.SignOptions{Subject: subject} }

// signTag stores a signed tag.
func (r *repository) signTag(body []byte, o sigstoretest.SignOptions) gitverify.ID {
	r.t.Helper()
	signed, err := r.virtual.SignTag(body, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.put("tag", signed)
}

// v1 stores the tag v1 on a commit, by carol.
func (r *repository) v1(target gitverify.ID) gitverify.ID {
	return r.signTag(tagBody(target, "commit", "v1"), by(carol))
}

func tagRequest(anchor, candidate gitverify.ID) gitverify.Request {
	return gitverify.Request{Ref: tagRef, Candidate: candidate, Anchor: anchor}
}

// tagAttack is a row about a followed tag.
type tagAttack struct {
	row, name, code string
	// policy edits the policy at the anchor.
	policy []string
	build  func(s tagScene) outcome
}

func runTagAttacks(t *testing.T, attacks []tagAttack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.row+" "+a.name, func(t *testing.T) {
			t.Parallel()
			s := newTagScene(t, a.policy...)
			o := a.build(s)
			v := s.verifier()
			s.wantNo(v, tagRequest(s.anchor, o.bad), a.code, o.blamed)
			got, err := v.Verify(t.Context(), s, tagRequest(s.anchor, o.twin))
			if err != nil {
				t.Fatalf("want yes for the twin, got %v", err)
			}
			if tag, ok := got.Tag(); !ok || tag.Name != "v1" || tag.Target != got.Commit() || tag.Signer.Name != "carol" {
				t.Errorf("the twin is verified as %+v of %s", tag, got.Commit())
			}
			s.wantNo(v, tagRequest(s.anchor, o.bad), a.code, o.blamed)
		})
	}
}

// sigOf is the signature of a stored tag.
func (r *repository) sigOf(tag gitverify.ID) []byte {
	body := r.objects[tag].body
	return body[bytes.Index(body, []byte("-----BEGIN ")):]
}

func TestWhatATagNamesIsJudgedLikeAnyCommit(t *testing.T) {
	t.Parallel()
	runTagAttacks(t, []tagAttack{
		{"A23", "a signed tag on an unsigned commit", "sig/missing", nil, func(s tagScene) outcome {
			naked := s.put("commit", unsigned(s.tree(s.files("a", "1")), "change", s.anchor))
			return outcome{s.v1(naked), naked, s.v1(s.change())}
		}},
		{"A23", "a signed tag on a commit of a stranger", "id/subject", nil, func(s tagScene) outcome {
			body := unsigned(s.tree(s.files("a", "1")), "change", s.anchor)
			foreign := s.put("commit", s.sign(body, by("mallory@factory.test")))
			return outcome{s.v1(foreign), foreign, s.v1(s.put("commit", s.sign(body, by(alice))))}
		}},
		{"T14", "an unsigned commit behind the commit that the tag names", "sig/missing", nil, func(s tagScene) outcome {
			naked := s.put("commit", unsigned(s.tree(s.files("a", "1")), "change", s.anchor))
			return outcome{s.v1(s.commit("tip", s.files("a", "2"), naked)), naked, s.v1(s.commit("tip", s.files("a", "2"), s.change()))}
		}},
		{"T14", "whoever releases is not thereby a maintainer", "rule/threshold", nil, func(s tagScene) outcome {
			body := unsigned(s.tree(s.files("a", "1")), "change", s.anchor)
			own := s.put("commit", s.sign(body, by(carol)))
			return outcome{s.v1(own), own, s.v1(s.put("commit", s.sign(body, by(alice))))}
		}},
		{"T14", "a tag on another history", "hist/non-descendant", nil, func(s tagScene) outcome {
			root := s.put("commit", unsigned(s.tree(s.files()), "another root"))
			other := s.commit("change", s.files("a", "1"), root)
			return outcome{s.v1(other), other, s.v1(s.change())}
		}},
		{"T14", "the object is not of the type that the tag says", "obj/malformed", nil, func(s tagScene) outcome {
			tree := s.tree(s.files("a", "1"))
			return outcome{s.v1(tree), tree, s.v1(s.change())}
		}},
	})
}

func TestATagCountsOnlyWithItsOwnSignatureForItsOwnName(t *testing.T) {
	t.Parallel()
	runTagAttacks(t, []tagAttack{
		{"T14", "a lightweight tag on a good commit", "tag/unsigned", nil, func(s tagScene) outcome {
			commit := s.change()
			return alone(commit, s.v1(commit))
		}},
		{"T14", "an annotated tag without a signature", "tag/unsigned", nil, func(s tagScene) outcome {
			commit := s.change()
			return alone(s.put("tag", tagBody(commit, "commit", "v1")), s.v1(commit))
		}},
		{"T14", "a ref that names a tree", "tag/target", nil, func(s tagScene) outcome {
			return alone(s.tree(s.files()), s.v1(s.change()))
		}},
		{"T14", "an old tag under a new name", "tag/name", nil, func(s tagScene) outcome {
			commit := s.change()
			return alone(s.signTag(tagBody(commit, "commit", "v0"), by(carol)), s.v1(commit))
		}},
		{"T14", "a name that only looks alike", "tag/name", nil, func(s tagScene) outcome {
			commit := s.change()
			return alone(s.signTag(tagBody(commit, "commit", "refs/tags/v1"), by(carol)), s.v1(commit))
		}},
		{"T14", "a tag of a tag", "tag/target", nil, func(s tagScene) outcome {
			inner := s.v1(s.change())
			return alone(s.signTag(tagBody(inner, "tag", "v1"), by(carol)), inner)
		}},
		{"T14", "a tag of a tag that claims to name a commit", "obj/malformed", nil, func(s tagScene) outcome {
			inner := s.v1(s.change())
			return outcome{s.v1(inner), inner, inner}
		}},
		{"T14", "a tag of a tree", "tag/target", nil, func(s tagScene) outcome {
			return alone(s.signTag(tagBody(s.tree(s.files()), "tree", "v1"), by(carol)), s.v1(s.change()))
		}},
		{"T14", "the signature of another tag", "sig/digest", nil, func(s tagScene) outcome {
			commit := s.change()
			good := s.v1(commit)
			return alone(s.put("tag", slices.Concat(tagBody(s.anchor, "commit", "v1"), s.sigOf(good))), good)
		}},
		{"T14", "an edited message", "sig/digest", nil, func(s tagScene) outcome {
			good := s.v1(s.change())
			return alone(s.put("tag", bytes.Replace(s.objects[good].body, []byte("release"), []byte("rellase"), 1)), good)
		}},
		{"T14", "two signatures, the last one good", "tag/malformed", nil, func(s tagScene) outcome {
			commit := s.change()
			good := s.v1(commit)
			twice := slices.Concat(tagBody(commit, "commit", "v1"), s.sigOf(s.signTag(tagBody(commit, "commit", "v1"), by(alice))))
			return alone(s.signTag(twice, by(carol)), good)
		}},
		{"T14", "text behind the signature", "tag/malformed", nil, func(s tagScene) outcome {
			good := s.v1(s.change())
			return alone(s.put("tag", append(bytes.Clone(s.objects[good].body), "more\n"...)), good)
		}},
		{"T14", "a gpgsig header beside the signature", "tag/malformed", nil, func(s tagScene) outcome {
			commit := s.change()
			body := bytes.Replace(tagBody(commit, "commit", "v1"), []byte("\n\n"), []byte("\ngpgsig-sha256 x\n\n"), 1)
			return alone(s.signTag(body, by(carol)), s.v1(commit))
		}},
		{"T14", "a tag over the limit", "tag/malformed", nil, func(s tagScene) outcome {
			commit := s.change()
			return alone(s.signTag(append(tagBody(commit, "commit", "v1"), bytes.Repeat([]byte("x\n"), 1<<19)...), by(carol)), s.v1(commit))
		}},
		{"T14", "a tag without a log entry", "log/missing", nil, func(s tagScene) outcome {
			commit := s.change()
			return alone(s.signTag(tagBody(commit, "commit", "v1"), sigstoretest.SignOptions{Subject: carol, NoLogEntry: true}), s.v1(commit))
		}},
		{"B27", "a log that puts the tag after the commit and dates it before", "log/inconsistent", nil, func(s tagScene) outcome {
			commit := s.change()
			early := sigstoretest.SignOptions{Subject: carol, IssuedAt: s.virtual.Now().Add(-time.Hour)}
			return alone(s.signTag(tagBody(commit, "commit", "v1"), early), s.v1(commit))
		}},
		{"T14", "a tag signed by a forge", "sig/type", nil, func(s tagScene) outcome {
			commit := s.change()
			forge, err := forgekeytest.New(forgekey.PGP)
			if err != nil {
				s.t.Fatal(err)
			}
			signed, err := forge.SignTag(tagBody(commit, "commit", "v1"))
			if err != nil {
				s.t.Fatal(err)
			}
			return alone(s.put("tag", signed), s.v1(commit))
		}},
	})
}

func TestATagCountsOnlyByWhomThePolicyLetsRelease(t *testing.T) {
	t.Parallel()
	signedBy := func(subject string) func(s tagScene) outcome {
		return func(s tagScene) outcome {
			commit := s.change()
			return alone(s.signTag(tagBody(commit, "commit", "v1"), by(subject)), s.v1(commit))
		}
	}
	const twin = "carol2@factory.test"
	second := func(window string) []string {
		return []string{"  - {name: dave", "  - {name: carol2, person: carol, issuer: \"" + issuer + "\", subject: " + twin + ", roles: [release]" + window + "}\n  - {name: dave"}
	}
	runTagAttacks(t, []tagAttack{
		{"T14", "a maintainer without the role", "tag/role", nil, signedBy(alice)},
		{"T14", "whoever sends heartbeats", "tag/role", nil, signedBy(dave)},
		{"T14", "a stranger", "id/subject", nil, signedBy("mallory@factory.test")},
		{"T14", "the right name of another issuer", "id/issuer", nil, func(s tagScene) outcome {
			commit := s.change()
			return alone(s.signTag(tagBody(commit, "commit", "v1"), sigstoretest.SignOptions{Subject: carol, Issuer: "https://evil.test"}), s.v1(commit))
		}},
		{"T14", "a person whose window is over", "id/not-in-force", second(", notAfter: 2026-01-01T00:00:00Z"), signedBy(twin)},
		{"T14", "a person whose window has not begun", "id/not-in-force", second(", notBefore: 2027-01-01T00:00:00Z"), signedBy(twin)},
		{"T14", "somebody revoked", "id/revoked", append(second(""), "  rules:", "  revocations: [{identity: carol2, from: 2026-04-01T00:00:00Z, reason: left}]\n  rules:"), signedBy(twin)},
		{"T14", "without the timestamp that the policy wants", "time/no-stamp", []string{"  rules:", "  transparency: {timestampAuthority: required}\n  rules:"}, func(s tagScene) outcome {
			stamped := sigstoretest.SignOptions{Subject: carol, Stamp: true}
			body := unsigned(s.tree(s.files("a", "1")), "change", s.anchor)
			good := tagBody(s.put("commit", s.sign(body, sigstoretest.SignOptions{Stamp: true})), "commit", "v1")
			return alone(s.signTag(good, by(carol)), s.signTag(good, stamped))
		}},
		{"B14", "a tagger date far from the proven time", "time/skew", []string{"committer: any", "committer: any, maxSkew: 24h"}, func(s tagScene) outcome {
			old := unsigned(s.tree(s.files("a", "1")), "change", s.anchor)
			now := bytes.ReplaceAll(old, []byte("1700000000"), []byte("1777636800"))
			good := tagBody(s.put("commit", s.sign(now, honest)), "commit", "v1")
			return alone(s.signTag(bytes.Replace(good, []byte("1777636800"), []byte("1777036800"), 1), by(carol)), s.signTag(good, by(carol)))
		}},
		{"B07", "the tagger is somebody else than the signer", "id/committer-mismatch", []string{"committer: any", "committer: match", "subject: " + alice, "subject: " + alice + ", emails: [committer@example.test]"}, func(s tagScene) outcome {
			good := tagBody(s.change(), "commit", "v1")
			return alone(s.signTag(bytes.Replace(good, []byte(carol), []byte(alice), 1), by(carol)), s.signTag(good, by(carol)))
		}},
	})
}

func TestAForgeKeySignsNeitherReleasesNorHeartbeats(t *testing.T) { // rule T6
	t.Parallel()
	for _, kind := range []string{forgekey.PGP, forgekey.SSH} {
		forge, err := forgekeytest.New(kind)
		if err != nil {
			t.Fatal(err)
		}
		key := forge.Key("web")
		s := newTagScene(t, "history: {committer: any}",
			fmt.Sprintf("history: {committer: any, forgeKeys: [{name: web, type: %s, fingerprint: %q, publicKey: %q}]}", key.Type, key.Fingerprint, key.PublicKey))
		commit, v := s.change(), s.verifier()
		s.wantYes(v, request(s.anchor, commit))
		signed := func(name string) gitverify.ID {
			body, err := forge.SignTag(tagBody(commit, "commit", name))
			if err != nil {
				t.Fatal(err)
			}
			return s.put("tag", body)
		}
		bad := signed("v1")
		s.wantNo(v, tagRequest(s.anchor, bad), "sig/type", bad)
		s.wantNoBeat(v, signed("heartbeat"), "sig/type")
	}
}

func TestAFollowedTagCannotGoBack(t *testing.T) { // row C02
	t.Parallel()
	s := newTagScene(t)
	first := s.change()
	second := s.commit("second", s.files("a", "2"), first)
	v := s.verifier()
	req := tagRequest(s.anchor, s.v1(first))
	req.Floor = second
	s.wantNo(v, req, "hist/rollback", first)
	for _, target := range []gitverify.ID{second, s.commit("third", s.files("a", "3"), second)} {
		req.Candidate = s.v1(target)
		if _, err := v.Verify(t.Context(), s, req); err != nil {
			t.Errorf("forward to %s: %v", target, err)
		}
	}
}

func TestATagIsNoBranchAndABranchNoTag(t *testing.T) {
	t.Parallel()
	s := newTagScene(t)
	commit := s.change()
	tag := s.v1(commit)
	v := s.verifier()
	s.wantNo(v, request(s.anchor, tag), "obj/malformed", tag)
	got := s.wantYes(v, request(s.anchor, commit))
	if _, ok := got.Tag(); ok {
		t.Error("a branch was verified as a tag")
	}
}

func TestTheTimeOfATagIsTheProvenOne(t *testing.T) {
	t.Parallel()
	s := newTagScene(t)
	at := s.virtual.Now().Add(time.Hour)
	tag := s.signTag(tagBody(s.change(), "commit", "v1"), sigstoretest.SignOptions{Subject: carol, IssuedAt: at, LoggedAt: at.Add(time.Minute)})
	got, err := s.verifier().Verify(t.Context(), s, tagRequest(s.anchor, tag))
	if err != nil {
		t.Fatal(err)
	}
	if tag, _ := got.Tag(); !tag.SignedAt.Equal(at.Add(time.Minute)) {
		t.Errorf("signed at %v", tag.SignedAt)
	}
}

func TestNoByteOfASignedTagCanBeChanged(t *testing.T) {
	t.Parallel()
	s := newTagScene(t)
	tag := s.v1(s.change())
	v, good := s.verifier(), s.objects[tag].body
	for i := range good {
		for _, mask := range []byte{1, 1 << (1 + i%7)} {
			bad := bytes.Clone(good)
			bad[i] ^= mask
			if _, err := v.Verify(t.Context(), s, tagRequest(s.anchor, s.put("tag", bad))); err == nil {
				t.Errorf("byte %d (%q) of the tag became %q, and it is verified still", i, good[i], bad[i])
			}
		}
	}
	if _, err := v.Verify(t.Context(), s, tagRequest(s.anchor, tag)); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}
