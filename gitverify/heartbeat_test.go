package gitverify_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// beat stores a heartbeat.
func (s tagScene) beat(target gitverify.ID, o sigstoretest.SignOptions) gitverify.ID {
	s.t.Helper()
	return s.signTag(tagBody(target, "commit", "heartbeat"), o)
}

func (s tagScene) heartbeat(v *gitverify.Verifier, tag gitverify.ID) (gitverify.Heartbeat, error) {
	s.t.Helper()
	return v.Heartbeat(s.t.Context(), s, gitverify.HeartbeatRequest{Tag: tag, Anchor: s.anchor})
}

// wantNoBeat fails unless the heartbeat is refused with the code.
func (s tagScene) wantNoBeat(v *gitverify.Verifier, tag gitverify.ID, code string) {
	s.t.Helper()
	got, err := s.heartbeat(v, tag)
	no, ok := errors.AsType[*gitverify.Refusal](err)
	if !ok || no.Code != code || no.Commit != tag || no.Hint == "" {
		s.t.Fatalf("want a refusal with %s about %s, got %v", code, tag, err)
	}
	if got != (gitverify.Heartbeat{}) {
		s.t.Fatalf("a refusal came with %+v", got)
	}
}

func TestAHeartbeatCountsOnlyByTheRoleForTheName(t *testing.T) {
	t.Parallel()
	for _, a := range []struct {
		row, name, code string
		bad             func(s tagScene, tip gitverify.ID) gitverify.ID
	}{
		{"T11", "a maintainer without the role", "tag/role", func(s tagScene, tip gitverify.ID) gitverify.ID {
			return s.beat(tip, by(alice))
		}},
		{"T11", "whoever releases", "tag/role", func(s tagScene, tip gitverify.ID) gitverify.ID {
			return s.beat(tip, by(carol))
		}},
		{"T11", "a stranger", "id/subject", func(s tagScene, tip gitverify.ID) gitverify.ID {
			return s.beat(tip, by("mallory@factory.test"))
		}},
		{"T11", "a tag of another name by whoever sends heartbeats", "tag/name", func(s tagScene, tip gitverify.ID) gitverify.ID {
			return s.signTag(tagBody(tip, "commit", "v1"), by(dave))
		}},
		{"T11", "without a signature", "tag/unsigned", func(s tagScene, tip gitverify.ID) gitverify.ID {
			return s.put("tag", tagBody(tip, "commit", "heartbeat"))
		}},
		{"T11", "the commit itself", "tag/unsigned", func(_ tagScene, tip gitverify.ID) gitverify.ID {
			return tip
		}},
		{"T11", "of a tree", "tag/target", func(s tagScene, _ gitverify.ID) gitverify.ID {
			return s.signTag(tagBody(s.tree(s.files()), "tree", "heartbeat"), by(dave))
		}},
		{"T11", "moved to another commit", "sig/digest", func(s tagScene, tip gitverify.ID) gitverify.ID {
			good := s.objects[s.beat(s.anchor, by(dave))].body
			return s.put("tag", bytes.Replace(good, []byte(s.anchor), []byte(tip), 1))
		}},
		{"T11", "signed with a stolen key after its certificate ended", "time/outside-validity", func(s tagScene, tip gitverify.ID) gitverify.ID {
			return s.beat(tip, sigstoretest.SignOptions{Subject: dave, LoggedAt: s.virtual.Now().Add(time.Hour)})
		}},
	} {
		t.Run(a.row+" "+a.name, func(t *testing.T) {
			t.Parallel()
			s := newTagScene(t)
			tip, v := s.change(), s.verifier()
			s.wantYes(v, request(s.anchor, tip))
			s.wantNoBeat(v, a.bad(s, tip), a.code)
			got, err := s.heartbeat(v, s.beat(tip, by(dave)))
			if err != nil || !got.Known || got.Target != tip || got.Signer.Name != "dave" || got.Signer.Person != "" {
				t.Errorf("the twin: %+v, %v", got, err)
			}
		})
	}
}

// A server that freezes us serves an old tip. It cannot make a heartbeat that
// names it and is new, and the one that is new does not name it.
func TestAServerThatWithholdsCommitsCannotHideItBehindHeartbeats(t *testing.T) { // row C22
	t.Parallel()
	s := newTagScene(t)
	served, v := s.change(), s.verifier()
	newer := s.commit("withheld", s.files("a", "2"), served)
	s.wantYes(v, request(s.anchor, served))
	now := s.virtual.Now()

	old := s.beat(served, sigstoretest.SignOptions{Subject: dave, LoggedAt: now.Add(time.Minute)})
	got, err := s.heartbeat(v, old)
	if err != nil || !got.Known || !got.SignedAt.Equal(now.Add(time.Minute)) {
		t.Fatalf("the heartbeat of the served tip: %+v, %v", got, err)
	}
	// Telling it again does not make it newer, and its date is signed.
	if again, err := s.heartbeat(v, old); err != nil || again != got {
		t.Errorf("told again: %+v, %v", again, err)
	}
	s.wantNoBeat(v, s.put("tag", bytes.Replace(s.objects[old].body, []byte("1777636800"), []byte("1777723200"), 1)), "sig/digest")

	fresh := s.beat(newer, sigstoretest.SignOptions{Subject: dave, LoggedAt: now.Add(5 * time.Minute)})
	delete(s.objects, newer)
	got, err = s.heartbeat(v, fresh)
	if err != nil || got.Known || got.Target != newer {
		t.Fatalf("the heartbeat of the withheld tip, which is not here: %+v, %v", got, err)
	}
}

func TestAHeartbeatOfACommitThatIsOnlyMergedIsNotKnown(t *testing.T) {
	t.Parallel()
	s := newTagScene(t)
	first, side := s.change(), s.commit("side", s.files("b", "1"), s.anchor)
	merge := s.commit("merge", s.files("a", "1", "b", "1"), first, side)
	v := s.verifier()
	s.wantYes(v, request(s.anchor, merge))
	for target, want := range map[gitverify.ID]bool{s.anchor: true, first: true, side: false, merge: true} {
		if got, err := s.heartbeat(v, s.beat(target, by(dave))); err != nil || got.Known != want {
			t.Errorf("%s: %+v, %v; want known %v", target, got, err, want)
		}
	}
}

func TestAHeartbeatIsJudgedByTheNewestAcceptedPolicy(t *testing.T) {
	t.Parallel()
	s := newTagScene(t)
	v := s.verifier()
	revoking := taggedPolicy(2, "  rules:", "  revocations: [{identity: dave, from: 2026-05-01T00:00:00Z, reason: moved}]\n  rules:")
	tip := s.change()
	beat := s.beat(tip, by(dave))
	s.wantYes(v, request(s.anchor, tip))
	if _, err := s.heartbeat(v, beat); err != nil {
		t.Fatal(err)
	}
	s.wantYes(v, request(s.anchor, s.commit("revoke", files("a", "1", gitverify.DefaultPolicyPath, revoking), tip)))
	s.wantNoBeat(v, beat, "id/revoked")
}

func TestWithoutAVerifiedHistoryAHeartbeatCannotBeTold(t *testing.T) {
	t.Parallel()
	s := newTagScene(t)
	tip, v := s.change(), s.verifier()
	beat := s.beat(tip, by(dave))
	s.wantYes(v, request(s.anchor, tip))
	missing := s.beat(s.anchor, by(dave))
	delete(s.objects, missing)
	for words, req := range map[string]gitverify.HeartbeatRequest{
		"nothing after the anchor":             {Tag: beat, Anchor: tip},
		"object missing":                       {Tag: missing, Anchor: s.anchor},
		`"heartbeat" is not a full commit id`:  {Tag: "heartbeat", Anchor: s.anchor},
		`anchor "" is not a full commit id`:    {Tag: beat},
		`"main" is not the full name of a ref`: {Tag: beat, Anchor: s.anchor, Mainline: "main"},
	} {
		got, err := v.Heartbeat(t.Context(), s, req)
		if _, no := errors.AsType[*gitverify.Refusal](err); err == nil || no || got.Known || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %+v, %v", words, got, err)
		}
	}
}

func TestAfterARotationAHeartbeatRestsOnTheNewTrustedRoot(t *testing.T) {
	t.Parallel()
	s := newTagScene(t)
	tip, v := s.change(), s.verifier()
	beat := s.beat(tip, by(dave))
	s.wantYes(v, request(s.anchor, tip))
	data, err := s.virtual.ForeignTrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := gitverify.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Replace(foreign); err != nil {
		t.Fatal(err)
	}
	s.wantNoBeat(v, beat, "log/unknown")
	// What the tip rested on is gone with it, so that the tip is not known either.
	foreignBeat := s.beat(tip, sigstoretest.SignOptions{Subject: dave, ForeignCA: true, ForeignSCT: true, ForeignLog: true})
	if got, err := s.heartbeat(v, foreignBeat); err != nil || got.Known {
		t.Errorf("of a tip that does not verify any more: %+v, %v", got, err)
	}
	if err := v.Replace(s.trusted()); err != nil {
		t.Fatal(err)
	}
	s.wantYes(v, request(s.anchor, tip))
	if got, err := s.heartbeat(v, beat); err != nil || !got.Known {
		t.Errorf("with the old root again: %+v, %v", got, err)
	}
}

func TestAFaultInReadingAHeartbeatEndsOnlyThatCall(t *testing.T) { // row B33
	t.Parallel()
	s := newTagScene(t)
	tip, v := s.change(), s.verifier()
	beat := s.beat(tip, by(dave))
	s.wantYes(v, request(s.anchor, tip))
	_, err := v.Heartbeat(t.Context(), panicking{}, gitverify.HeartbeatRequest{Tag: beat, Anchor: s.anchor})
	if _, no := errors.AsType[*gitverify.Refusal](err); err == nil || no {
		t.Errorf("got %v", err)
	}
	if got, err := s.heartbeat(v, beat); err != nil || !got.Known {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}

// panicking is a store of objects that fails in the worst way.
type panicking struct{}

func (panicking) Object(context.Context, gitverify.ID, int64) (string, []byte, error) {
	panic("a fault in the store")
}
