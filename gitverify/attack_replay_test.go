package gitverify_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
)

// An old branch must not carry the approvals that it has over a fix that was
// accepted since, by way of somebody who puts the old content back first: the
// merge would then find both sides alike (rule T5, row C06).
func TestNobodyVouchesForContentThatReplacesWhatTheyHaveNotSeen(t *testing.T) {
	t.Parallel()
	fix := func(s scene, before map[string]string) (fixed scene) {
		tree := strictFiles("prod/x", "fixed")
		at := s.by("bob", approveMain, before, s.by("alice", "first", before, s.anchor))
		return scene{s.repository, s.by("bob", approveMain, tree, s.by("alice", "fix", tree, at))}
	}
	runStrict(t, []attack{
		{"C06", "approval of a branch that still had what a fix replaced", "rule/threshold", func(s scene) outcome {
			flawed := strictFiles("prod/x", "flawed")
			fork := s.by("bob", approveMain, flawed, s.by("alice", "first", flawed, s.anchor))
			fixed := strictFiles("prod/x", "fixed")
			main := s.by("bob", approveMain, fixed, s.by("alice", "fix", fixed, fork))
			other := strictFiles("prod/x", "flawed", "prod/y", "1")
			branch := s.by("alice", approveMain, other, s.by("bob", approveMain, other, s.by("alice", "y", other, fork)))
			undo := s.by("carol", "undo the fix", flawed, main)
			bad := s.by("carol", "merge", other, undo, branch)
			return alone(bad, s.by("carol", "merge", strictFiles("prod/x", "fixed", "prod/y", "1"), main, branch))
		}},
		{"T5", "merge of something else on top of what is not accepted yet", "rule/threshold", func(s scene) outcome {
			prod := strictFiles("prod/a", "1")
			waits := s.by("alice", "c", prod, s.anchor)
			docs := strictFiles("prod/a", "1", "docs/x", "1")
			bad := s.by("bob", "merge docs", docs, waits, s.by("carol", "docs", strictFiles("docs/x", "1"), s.anchor))
			return alone(bad, s.by("bob", approveMain, docs, bad))
		}},
		{"T5", "empty merge on top of what is not accepted yet", "rule/threshold", func(s scene) outcome {
			prod := strictFiles("prod/a", "1")
			waits := s.by("alice", "c", prod, s.anchor)
			bad := s.by("bob", "merge", prod, waits, s.by("carol", "nothing", strictFiles(), s.anchor))
			return alone(bad, s.by("bob", "merge", prod, s.anchor, waits))
		}},
		{"C06", "content of an empty merge that comes back with a branch from it", "rule/threshold", func(s scene) outcome {
			evil, docs := strictFiles("prod/a", "evil"), strictFiles("prod/a", "evil", "docs/x", "1")
			side := s.by("carol", "evil", evil, s.anchor)
			empty := s.by("carol", "merge nothing", strictFiles(), s.anchor, side)
			branch := s.by("bob", approveMain, docs, s.by("alice", approveMain, docs, s.by("alice", "docs", docs, side)))
			bad := s.by("carol", "merge", docs, s.by("carol", "evil again", evil, empty), branch)
			return alone(bad, s.by("carol", "merge", strictFiles("docs/x", "1"), empty, branch))
		}},
		{"C06", "branch that made what a fix replaced", "rule/threshold", func(s scene) outcome {
			flawed := strictFiles("prod/x", "flawed")
			main := fix(s, strictFiles("prod/x", "first")).anchor
			fork := s.anchor
			branch := s.by("bob", approveMain, flawed, s.by("alice", "x", flawed, fork))
			bad := s.by("carol", "merge", flawed, s.by("carol", "undo the fix", flawed, main), branch)
			// With the fix before their eyes, they may say so again.
			update := s.by("bob", approveMain, flawed, s.by("alice", "update the branch, keep ours", flawed, branch, main))
			return alone(bad, s.by("carol", "merge", flawed, main, update))
		}},
		{"C06", "approval of a branch that merged older history twice", "rule/threshold", func(s scene) outcome {
			first := strictFiles("prod/x", "first")
			one := s.by("bob", approveMain, first, s.by("alice", "first", first, s.anchor))
			flawed := strictFiles("prod/x", "flawed")
			two := s.by("bob", approveMain, flawed, s.by("alice", "flawed", flawed, one))
			back := s.by("bob", approveMain, first, s.by("alice", "back", first, two))
			docs := strictFiles("prod/x", "first", "docs/x", "1")
			both := strictFiles("prod/x", "flawed", "docs/x", "1")
			update := s.by("alice", "update", both, s.by("alice", "docs", docs, one), two)
			branch := s.by("alice", approveMain, both, s.by("bob", approveMain, both, update))
			bad := s.by("carol", "merge", both, s.by("carol", "undo", flawed, back), branch)
			return alone(bad, s.by("carol", "merge", docs, back, branch))
		}},
	})
}

// What was accepted for one branch says nothing about another: approvals name
// their ref (rule T7), and a Factory may be made to follow another one.
func TestWhatWasAcceptedForOneRefIsNotAcceptedForAnother(t *testing.T) { // row C26
	t.Parallel()
	s := strictScene(t)
	prod := strictFiles("prod/a", "1")
	tip := s.by("bob", strings.Replace(approveMain, "heads/main", "heads/dev", 1), prod, s.by("alice", "c", prod, s.anchor))
	dev := gitverify.Request{Ref: "refs/heads/dev", Candidate: tip, Anchor: s.anchor}
	file := filepath.Join(t.TempDir(), "frontier")
	v := s.kept(file, "k", "1")
	s.wantYes(v, dev)
	s.wantNo(v, request(s.anchor, tip), "rule/threshold", tip)
	s.wantYes(v, dev)
	s.wantNo(s.kept(file, "k", "1"), request(s.anchor, tip), "rule/threshold", tip)
	// Nor is it permitted, or known to a heartbeat, for another one.
	verified := s.wantYes(v, dev)
	s.wantYes(v, request(s.anchor, s.anchor))
	if _, err := v.Permit(t.Context(), s, verified, gitverify.Impact{Since: s.anchor}); err != nil {
		t.Errorf("the verification lost its history: %v", err)
	}
}

func TestAnotherTrustedRootAfterARestartProvesAgain(t *testing.T) { // rows B28, C25
	t.Parallel()
	r := newRepository(t)
	own, foreign := r.roots()
	anchor := r.anchor()
	tip := anchor
	for range 5 {
		tip = r.commit("c", files("a", string(tip)), tip)
	}
	file := filepath.Join(t.TempDir(), "frontier")
	open := func(roots ...[]byte) *gitverify.Verifier {
		v, err := gitverify.New(trusted(t, roots...), gitverify.Options{FrontierFile: file, FrontierKey: bytes.Repeat([]byte("k"), 32)})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	refused := func(v *gitverify.Verifier) {
		t.Helper()
		if _, err := v.Verify(t.Context(), r, request(anchor, tip)); codeOf(err) != "log/unknown" {
			t.Errorf("got %v", err)
		}
	}
	r.wantYes(open(own), request(anchor, tip))
	refused(open(foreign))
	refused(open(foreign)) // whatever the other process left in the file
	v := open(own, foreign)
	r.wantYes(v, request(anchor, tip))
	if err := v.Replace(trusted(t, foreign)); err != nil {
		t.Fatal(err)
	}
	refused(v)
	if err := v.Replace(trusted(t, own)); err != nil {
		t.Fatal(err)
	}
	r.wantYes(v, request(anchor, tip))
	r.wantYes(open(own), request(anchor, tip))
}
