package gitverify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// stumbling is a store of which one read fails, by its number; each read after it
// works again, unless it fails for good.
type stumbling struct {
	gitverify.Objects

	read, fails int
	forGood     bool
}

var errStumbled = errors.New("the disk stumbled")

func (s *stumbling) Object(ctx context.Context, id gitverify.ID, limit int64) (string, []byte, error) {
	if s.read++; s.read == s.fails || s.forGood && s.read > s.fails {
		return "", nil, errStumbled
	}
	return s.Objects.Object(ctx, id, limit)
}

// told is an answer in one word: yes, the code of a no, or that it cannot be told.
func told(err error) string {
	var no *gitverify.Refusal
	switch {
	case err == nil:
		return "yes"
	case errors.As(err, &no):
		return no.Code + " " + string(no.Commit)
	}
	return "could not tell"
}

// stumbles asks again and again, and lets each of the reads fail once in turn: the
// answer is the true one, or none and what failed. It returns how often it asked.
func stumbles(t *testing.T, name string, yes bool, objects gitverify.Objects, ask func(gitverify.Objects) error) int {
	t.Helper()
	count := &stumbling{Objects: objects}
	truth := told(ask(count))
	if truth == "could not tell" || (truth == "yes") != yes {
		t.Fatalf("%s: the answer is %s", name, truth)
	}
	for n := range count.read {
		err := ask(&stumbling{Objects: objects, fails: n + 1})
		if got := told(err); got != truth && !errors.Is(err, errStumbled) {
			t.Errorf("%s: when read %d of %d fails the answer is %s (%v), and it is %s", name, n+1, count.read, got, err, truth)
		}
		err = ask(&stumbling{Objects: objects, fails: n + 1, forGood: true})
		if got := told(err); got != truth && !errors.Is(err, errStumbled) {
			t.Errorf("%s: when no read after %d of %d works the answer is %s (%v), and it is %s", name, n, count.read, got, err, truth)
		}
	}
	return count.read
}

// TestAReadThatFailsOnceTurnsNoAnswer: a fault of the moment must make a no neither
// out of a yes, nor a yes out of a no.
func TestAReadThatFailsOnceTurnsNoAnswer(t *testing.T) {
	t.Parallel()
	virtual, err := sigstoretest.NewVirtual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	forge, err := forgekeytest.New("ssh")
	if err != nil {
		t.Fatal(err)
	}
	enough := 2000
	if testing.Short() {
		enough = 500
	}
	asked, seen := 0, map[bool]int{}
	for seed := uint64(1); asked < enough; seed++ {
		h := newHistory(rand.New(rand.NewPCG(seed, 1)), 5+int(seed%12))
		r := realise(t, h, virtual, forge)
		for _, c := range h.candidates {
			req := request(r.ids[0], r.ids[c])
			yes := h.judge(0, c, -1).yes
			// A no is seldom long, and would else be nearly all there is.
			if !yes && seen[false] > seen[true]+20 {
				continue
			}
			seen[yes]++
			asked += stumbles(t, fmt.Sprintf("seed %d, %s", seed, r.ids[c]), yes, r, func(o gitverify.Objects) error {
				_, err := r.verifier().Verify(t.Context(), o, req)
				return err
			})
		}
	}
	if seen[true] == 0 || seen[false] == 0 {
		t.Errorf("not both answers were asked about: %v", seen)
	}
}

func TestAReadThatFailsOnceTurnsNoAnswerAboutEffects(t *testing.T) { // rule T12
	t.Parallel()
	s, with := impactScene(t)
	base := with("bases/a", "1")
	change := s.by("carol", "c", base, s.anchor)
	side := s.by("alice", "d", with("bases/b", "1"), s.anchor)
	merged := s.by("bob", "m", with("bases/a", "1", "bases/b", "1"), change, side)
	one := s.by("alice", approveMain, with("bases/a", "1", "bases/b", "1"), merged)
	approved := s.by("bob", approveMain, with("bases/a", "1", "bases/b", "1"), one)
	impact := gitverify.Impact{Since: s.anchor, Closures: map[string][]string{"overlays/production": {"bases/a", "bases/b"}}}
	asked := 0
	for name, tip := range map[string]gitverify.ID{"not vouched for": change, "vouched for": approved} {
		file := filepath.Join(t.TempDir(), "frontier")
		s.wantYes(s.kept(file, "k", "1"), request(s.anchor, tip))
		asked += stumbles(t, name, tip == approved, s, func(o gitverify.Objects) error {
			v := gitverify.Forgetful(s.kept(file, "k", "1"))
			verified, err := v.Verify(t.Context(), s, request(s.anchor, tip))
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Permit(t.Context(), o, verified, impact)
			return err
		})
	}
	if asked < 10 {
		t.Errorf("%d objects were read", asked)
	}
}

func TestAReadThatFailsOnceTurnsNoAnswerAboutATagOrAHeartbeat(t *testing.T) { // rules T11, T14
	t.Parallel()
	s := newTagScene(t)
	tip := s.commit("tip", s.files("a", "2"), s.anchor)
	for who, yes := range map[string]bool{carol: true, bob: false} {
		tag := s.signTag(tagBody(tip, "commit", "v1"), by(who))
		stumbles(t, "a tag by "+who, yes, s, func(o gitverify.Objects) error {
			_, err := gitverify.Forgetful(s.verifier()).Verify(t.Context(), o, gitverify.Request{Ref: "refs/tags/v1", Candidate: tag, Anchor: s.anchor})
			return err
		})
	}
	for who, yes := range map[string]bool{dave: true, bob: false} {
		beat := s.beat(tip, by(who))
		stumbles(t, "a heartbeat by "+who, yes, s, func(o gitverify.Objects) error {
			v := gitverify.Forgetful(s.verifier())
			if _, err := v.Verify(t.Context(), s, request(s.anchor, tip)); err != nil {
				t.Fatal(err)
			}
			_, err := v.Heartbeat(t.Context(), o, gitverify.HeartbeatRequest{Tag: beat, Anchor: s.anchor})
			return err
		})
	}
}

func TestAReadThatFailsOnceWhileAProofIsMadeAgainTurnsNoAnswer(t *testing.T) { // rows B28, C25
	t.Parallel()
	s := newTagScene(t)
	tip := s.change()
	beat := s.beat(tip, by(dave))
	own, foreign := s.roots()
	stumbles(t, "what rested on keys that went", false, s, func(o gitverify.Objects) error {
		v := gitverify.Forgetful(s.verifier())
		s.wantYes(v, request(s.anchor, tip))
		if err := v.Replace(trusted(t, foreign)); err != nil {
			t.Fatal(err)
		}
		_, err := v.Verify(t.Context(), o, request(s.anchor, tip))
		return err
	})
	var root map[string]any
	if err := json.Unmarshal(own, &root); err != nil {
		t.Fatal(err)
	}
	// The log's key gets an end: it is another part of the trusted root now.
	log, _ := root["tlogs"].([]any)[0].(map[string]any)
	log["publicKey"].(map[string]any)["validFor"].(map[string]any)["end"] = "2036-01-01T00:00:00Z"
	data, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	stumbles(t, "a heartbeat", true, s, func(o gitverify.Objects) error {
		v := gitverify.Forgetful(s.verifier())
		s.wantYes(v, request(s.anchor, tip))
		if err := v.Replace(trusted(t, data)); err != nil {
			t.Fatal(err)
		}
		got, err := v.Heartbeat(t.Context(), o, gitverify.HeartbeatRequest{Tag: beat, Anchor: s.anchor})
		if err == nil && !got.Known {
			return &gitverify.Refusal{Code: "not known"}
		}
		return err
	})
}

// TestAReadThatFailsOncePutsNoTwoUnitsTogether: a step that could not be told is not
// passed over. Together with the next one it would be judged by the policy before.
func TestAReadThatFailsOncePutsNoTwoUnitsTogether(t *testing.T) { // rules T3, T8
	t.Parallel()
	s := strictScene(t)
	newer := strings.Replace(strict("2"), "  identities:", "  - {name: other, paths: [\"other/**\"], role: maintainer, threshold: 1}\n  identities:", 1)
	with := func(changes ...string) map[string]string {
		return strictFiles(append([]string{policyPath, newer}, changes...)...)
	}
	ruled := s.by("bob", approveMain, with(), s.by("alice", "rule", with(), s.anchor))
	tip := s.by("carol", "other", with("other/x", "1"), ruled)
	early := s.by("carol", "other", strictFiles("other/x", "1"), s.anchor)
	s.wantNo(s.verifier(), request(s.anchor, early), "rule/none", early)
	stumbles(t, "a change by a new rule", true, s, func(o gitverify.Objects) error {
		_, err := gitverify.Forgetful(s.verifier()).Verify(t.Context(), o, request(s.anchor, tip))
		return err
	})
}

func TestAReadThatFailsOnceLeavesNoTipKnownThatWentWithItsKey(t *testing.T) { // rows B28, C22
	t.Parallel()
	s := newTagScene(t)
	tip := s.change()
	beat := s.beat(tip, sigstoretest.SignOptions{Subject: dave, ForeignCA: true, ForeignSCT: true, ForeignLog: true})
	_, foreign := s.roots()
	stumbles(t, "a heartbeat", false, s, func(o gitverify.Objects) error {
		v := gitverify.Forgetful(s.verifier())
		s.wantYes(v, request(s.anchor, tip))
		if err := v.Replace(trusted(t, foreign)); err != nil {
			t.Fatal(err)
		}
		got, err := v.Heartbeat(t.Context(), o, gitverify.HeartbeatRequest{Tag: beat, Anchor: s.anchor})
		if err == nil && !got.Known {
			return &gitverify.Refusal{Code: "not known"}
		}
		return err
	})
}

func TestAQuestionThatNoHistoryAnswersIsAFaultOfWhoAsks(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	tip := r.commit("c", files("a", "1"), anchor)
	good := gitverify.Request{Ref: "refs/heads/main", Candidate: tip, Anchor: anchor, Floor: anchor}
	r.wantYes(r.verifier(), good)
	for words, change := range map[string]func(*gitverify.Request){
		"not the full name of a ref":        func(q *gitverify.Request) { q.Ref = "main" },
		"not the full name of a branch":     func(q *gitverify.Request) { q.Mainline = "main" },
		"candidate":                         func(q *gitverify.Request) { q.Candidate = tip[:39] },
		"anchor":                            func(q *gitverify.Request) { q.Anchor = gitverify.ID(strings.ToUpper(string(anchor))) },
		"last applied revision":             func(q *gitverify.Request) { q.Floor = "HEAD" },
		`candidate "" is not a full commit`: func(q *gitverify.Request) { q.Candidate = "" },
	} {
		req := good
		change(&req)
		_, err := r.verifier().Verify(t.Context(), r, req)
		if told(err) != "could not tell" || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
	data, err := r.virtual.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	root, err := gitverify.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]gitverify.Options{
		"a file without a key":      {FrontierFile: "f"},
		"a key without a file":      {FrontierKey: make([]byte, 32)},
		"a file with a short key":   {FrontierFile: "f", FrontierKey: make([]byte, 31)},
		"a file with an empty key":  {FrontierFile: "f", FrontierKey: []byte{}},
		"a short key for no file":   {FrontierKey: make([]byte, 1)},
		"an empty name with a key ": {FrontierFile: "", FrontierKey: make([]byte, 64)},
	} {
		if _, err := gitverify.New(root, o); err == nil || !strings.Contains(err.Error(), "a frontier file needs a key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (gitverify.TreeLimits{}).Open(t.Context(), r, gitverify.Verification{}); err == nil || !strings.Contains(err.Error(), "nothing has been verified") {
		t.Errorf("a tree of nothing: %v", err)
	}
}

func TestATrustedRootNamesOneOfEach(t *testing.T) { // row B24
	t.Parallel()
	r := newRepository(t)
	data, err := r.virtual.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	for member, words := range map[string]string{
		"certificateAuthorities": "names no certificate authority",
		"ctlogs":                 "names no certificate transparency log",
		"tlogs":                  "names no transparency log",
	} {
		_, err := gitverify.ParseTrustedRoot(dropMember(t, data, member))
		if !errors.Is(err, gitverify.ErrTrustedRoot) || !strings.Contains(err.Error(), words) {
			t.Errorf("without %s: %v", member, err)
		}
	}
	if _, err := gitverify.ParseTrustedRoot(append(data, []byte(strings.Repeat(" ", 1<<20))...)); !errors.Is(err, gitverify.ErrTrustedRoot) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("too large: %v", err)
	}
}

func dropMember(t *testing.T, data []byte, member string) []byte {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if len(all[member]) == 0 {
		t.Fatalf("the trusted root of this test has no %s", member)
	}
	delete(all, member)
	out, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
