package gitverify_test

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestARevokedCommitStandsAsLongAsAnythingOfItIsThere(t *testing.T) { // rule T9
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	revoking := func(payload [32]byte) string {
		return strings.Replace(policyFile(2), "  rules:", fmt.Sprintf("  revocations:\n  - {commit: \"sha256:%x\", reason: leaked}\n  rules:", payload), 1)
	}
	// The commit adds a and b and takes c away.
	first := s.commit("before", files("c", "1"), s.anchor)
	body := unsigned(s.tree(files("a", "1", "b", "1")), "leaked", first)
	leaked := s.put("commit", s.sign(body, sigstoretest.SignOptions{IssuedAt: s.virtual.Now()}))
	policy := revoking(sha256.Sum256(body))
	for name, c := range map[string]struct {
		content []string
		stands  bool
	}{
		"all of it":                  {[]string{"a", "1", "b", "1"}, true},
		"one file of it":             {[]string{"a", "1", "b", "2", "c", "1"}, true},
		"only what it deleted":       {[]string{"a", "2"}, true},
		"one file and the other new": {[]string{"a", "2", "b", "1", "c", "1"}, true},
		"nothing of it":              {[]string{"a", "2", "c", "1"}, false},
		"nothing, by a revert":       {[]string{"c", "1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := s.verifier()
			verified := s.wantYes(v, request(s.anchor, s.commit(name, files(append(c.content, gitverify.DefaultPolicyPath, policy)...), leaked)))
			if got := verified.Revoked(); len(got) != 1 || got[0].Commit != leaked {
				t.Fatalf("revoked: %+v", got)
			}
			standing, err := v.Standing(t.Context(), r, verified)
			if err != nil || (len(standing) == 1) != c.stands {
				t.Errorf("standing: %+v, %v; want %t", standing, err, c.stands)
			}
			if _, err := s.verifier().Standing(t.Context(), r, verified); err == nil {
				t.Error("a verifier that has not seen it answers")
			}
		})
	}
	var none gitverify.Verification
	if _, err := s.verifier().Standing(t.Context(), r, none); err == nil {
		t.Error("the zero verification has an answer")
	}
}

func TestAReadThatFailsOnceTurnsNoAnswerAboutWhatStands(t *testing.T) { // rule T9
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	body := unsigned(s.tree(files("a", "1")), "leaked", s.anchor)
	leaked := s.put("commit", s.sign(body, honest))
	policy := strings.Replace(policyFile(2), "  rules:", fmt.Sprintf("  revocations:\n  - {commit: \"sha256:%x\", reason: leaked}\n  rules:", sha256.Sum256(body)), 1)
	for content, stands := range map[string]bool{"1": true, "2": false} {
		req := request(s.anchor, s.commit("on top", files("a", content, gitverify.DefaultPolicyPath, policy), leaked))
		file := filepath.Join(t.TempDir(), "frontier")
		s.wantYes(s.kept(file, "k", "1"), req)
		asked := stumbles(t, "a is "+content, stands, s, func(o gitverify.Objects) error {
			v := gitverify.Forgetful(s.kept(file, "k", "1"))
			standing, err := v.Standing(t.Context(), o, s.wantYes(v, req))
			if err == nil && len(standing) == 0 {
				return &gitverify.Refusal{Code: "nothing stands"}
			}
			return err
		})
		if asked < 4 {
			t.Errorf("%d objects were read", asked)
		}
	}
}
