package gitverify_test

import (
	"errors"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey"
)

// mergeScene is a small history that has a merge of each kind, and branches from
// before the anchor.
func mergeScene(t *testing.T) (s forgeScene, asked map[string]gitverify.Request) {
	t.Helper()
	s = newForgeScene(t, forgekey.SSH)
	root := s.put("commit", unsigned(s.tree(s.with()), "root"))
	old := s.put("commit", unsigned(s.tree(s.with()), "old", root))
	s.anchor = s.put("commit", unsigned(s.tree(s.with()), "anchor", old))
	x := s.by("alice", "x", s.with("docs/x", "1"), s.anchor)
	y := s.by("alice", "y", s.with("docs/y", "1"), old) // from before the anchor
	both := s.with("docs/x", "1", "docs/y", "1")
	first := s.by("bob", "merge", both, x, y)
	// A merge by the forge of something that was approved.
	z := s.with("docs/x", "1", "docs/z", "1")
	all := s.with("docs/x", "1", "docs/y", "1", "docs/z", "1")
	approved := s.by("bob", approveMain, z, s.by("alice", "z", z, x))
	forged := s.merge(all, first, approved)
	// A criss-cross, whose second merge changes what both sides changed.
	ours := s.by("bob", "ours", s.with("docs/x", "2", "docs/y", "1", "docs/z", "1"), forged)
	theirs := s.by("alice", "theirs", s.with("docs/x", "3", "docs/y", "1", "docs/z", "1"), forged)
	left := s.by("bob", "left", s.with("docs/x", "2", "docs/y", "1", "docs/z", "1"), ours, theirs)
	right := s.by("alice", "right", s.with("docs/x", "2", "docs/y", "1", "docs/z", "1"), theirs, ours)
	crossed := s.by("bob", "crossed", s.with("docs/x", "2", "docs/y", "1", "docs/z", "1"), left, right)
	// A policy that comes from a side.
	newer := strings.Replace(s.with()[policyPath], "version: 1", "version: 2", 1)
	side := s.with("docs/x", "1", policyPath, newer)
	voted := s.by("bob", approveMain, side, s.by("alice", "newer", side, x))
	final := s.with("docs/x", "2", "docs/y", "1", "docs/z", "1", policyPath, newer)
	tip := s.by("alice", approveMain, final, s.by("bob", "policy", final, crossed, voted))
	// A merge by the forge of what forked before the anchor.
	w := s.with("docs/y", "1", "docs/w", "1")
	forked := s.by("bob", approveMain, w, s.by("alice", "w", w, y))
	whole := s.merge(s.with("docs/x", "1", "docs/y", "1", "docs/w", "1"), first, forked)
	aside := s.by("bob", approveMain, s.with("docs/v", "1"), s.by("alice", "v", s.with("docs/v", "1"), old))
	beside := s.merge(s.with("docs/x", "1", "docs/y", "1", "docs/v", "1"), first, aside)
	// An approval of what was there before the anchor.
	early := s.by("bob", "e", s.with("docs/e", "1"), s.by("alice", approveMain, s.with(), old))
	late := s.by("bob", "late", s.with("docs/x", "1", "docs/y", "1", "docs/e", "1"), first, s.by("alice", approveMain, s.with("docs/e", "1"), early))
	evil := s.merge(s.with("docs/x", "1", "docs/y", "2", "docs/z", "1"), first, approved)
	stale := s.by("bob", "back", s.with("docs/x", "1", "docs/y", "1", "docs/z", "2"), tip)
	to := func(id gitverify.ID) gitverify.Request { return request(s.anchor, id) }
	floor := func(id, applied gitverify.ID) gitverify.Request {
		req := to(id)
		req.Floor = applied
		return req
	}
	return s, map[string]gitverify.Request{
		"since a step that the forge merged": to(whole), "since before the anchor it forked": to(beside), "since before the anchor it was approved": to(late),
		"all of it": to(tip), "since a step": floor(tip, forged), "since before the anchor": floor(tip, root),
		"a forge's evil merge": to(evil), "an older policy": to(stale), "nobody approved": to(s.merge(all, first, s.by("alice", "z", z, x))),
		"since something that was only merged": floor(tip, y), "since something elsewhere": floor(first, approved), "since something later": floor(first, tip),
		"from another root": to(s.by("bob", "merge", both, x, s.by("alice", "y", s.with("docs/y", "1"), s.put("commit", unsigned(s.tree(s.with()), "another root"))))),
		"from the root":     to(s.by("bob", "merge", both, root, x)),
	}
}

// TestAReadThatFailsOnceTurnsNoAnswerAboutMerges is small enough to be asked about
// every read of everything that merges need.
func TestAReadThatFailsOnceTurnsNoAnswerAboutMerges(t *testing.T) { // rules T2, T3, T6, T8, T10
	t.Parallel()
	s, asked := mergeScene(t)
	reads := 0
	for name, req := range asked {
		yes := name == "all of it" || strings.HasPrefix(name, "since a step") || strings.HasPrefix(name, "since before")
		ask := func(o gitverify.Objects) error {
			_, err := s.verifier().Verify(t.Context(), o, req)
			return err
		}
		reads += stumbles(t, name, yes, s, ask)
		stumbles(t, name+", without a memory", yes, s, func(o gitverify.Objects) error {
			_, err := gitverify.Forgetful(s.verifier()).Verify(t.Context(), o, req)
			return err
		})
		// And what fails once and for all.
		seen := noting{s, map[gitverify.ID]bool{}}
		truth := told(ask(seen))
		for id := range seen.read {
			s.broken[id] = errStumbled
			err := ask(s)
			if got := told(err); got != truth && !errors.Is(err, errStumbled) {
				t.Errorf("%s: without the %s %s the answer is %s (%v), and it is %s", name, s.objects[id].kind, id, got, err, truth)
			}
			delete(s.broken, id)
		}
	}
	if reads < 200 {
		t.Errorf("only %d objects were read", reads)
	}
}

func TestAReadThatFailsOnceHidesNoSideInTheFolderOfTheTrustPolicy(t *testing.T) { // rule T6
	t.Parallel()
	s := newForgeScene(t, forgekey.SSH)
	const one, other = "factory-config/trust/one", "factory-config/trust/other"
	side := func(path string) gitverify.ID {
		return s.by("bob", approveMain, s.with(path, "1"), s.by("alice", path, s.with(path, "1"), s.anchor))
	}
	ours := side(one)
	merge := s.merge(s.with(one, "1", other, "1"), ours, side(other))
	s.wantNo(s.verifier(), request(s.anchor, merge), "forge/content", merge)
	s.wantYes(s.verifier(), request(s.anchor, s.merge(s.with(one, "1", "docs/x", "1"), ours, side("docs/x"))))
	stumbles(t, "a merge", false, s, func(o gitverify.Objects) error {
		_, err := gitverify.Forgetful(s.verifier()).Verify(t.Context(), o, request(s.anchor, merge))
		return err
	})
}
