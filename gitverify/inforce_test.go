package gitverify_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// policyScene is a repository whose anchor has the usual policy, changed.
func policyScene(t *testing.T, old, with string) scene {
	t.Helper()
	r := newRepository(t)
	policy := strings.Replace(policyFile(1), old, with, 1)
	if policy == policyFile(1) {
		t.Fatalf("the policy has no %q", old)
	}
	return scene{r, r.put("commit", unsigned(r.tree(files(policyPath, policy)), "anchor"))}
}

// onTop is a commit that changes nothing, signed as the options say, whose
// committer has this address and time.
func (s scene) onTop(o sigstoretest.SignOptions, email string, when time.Time) gitverify.ID {
	s.t.Helper()
	anchor := s.objects[s.anchor].body
	tree := string(anchor[5:45])
	body := fmt.Sprintf("tree %s\nparent %s\nauthor A <author@example.test> 1700000000 +0000\ncommitter C <%s> %d +0000\n\nc\n", tree, s.anchor, email, when.Unix())
	return s.put("commit", s.sign([]byte(body), o))
}

func TestAnIdentityCountsOnlyInItsTime(t *testing.T) {
	t.Parallel()
	now := newRepository(t).virtual.Now()
	at := func(d time.Duration) string { return now.Add(d).UTC().Format(time.RFC3339) }
	late := sigstoretest.SignOptions{IssuedAt: now.Add(2 * time.Hour)}
	aliceWith := func(more string) (string, string) {
		return "subject: " + alice + ", roles", "subject: " + alice + ", " + more + ", roles"
	}
	for _, c := range []struct {
		row, name, code string
		old, with       string
		bad, twin       sigstoretest.SignOptions
	}{
		{"T2", "after the end of the window", "id/not-in-force", "", "notAfter: " + at(time.Hour), late, honest},
		{"T2", "before the begin of the window", "id/not-in-force", "", "notBefore: " + at(time.Hour), honest, late},
		{"B29", "identity revoked before it signed", "id/revoked", "  rules:", fmt.Sprintf("  revocations:\n  - {identity: alice, from: %s, reason: stolen}\n  rules:", at(time.Hour)), late, honest},
		{"T9", "identity revoked, another of the same role", "id/revoked", "  rules:", fmt.Sprintf("  revocations:\n  - {identity: alice, from: %s, reason: stolen}\n  rules:", at(-time.Hour)), honest, sigstoretest.SignOptions{Subject: bob}},
		{"B13", "timestamp that the policy wants", "time/no-stamp", "  rules:", "  transparency: {timestampAuthority: required}\n  rules:", honest, sigstoretest.SignOptions{Stamp: true}},
	} {
		t.Run(c.row+" "+c.name, func(t *testing.T) {
			t.Parallel()
			if c.old == "" {
				c.old, c.with = aliceWith(c.with)
			}
			s := policyScene(t, c.old, c.with)
			bad, twin := s.onTop(c.bad, "c@example.test", now), s.onTop(c.twin, "c@example.test", now)
			v := s.verifier()
			s.wantNo(v, request(s.anchor, bad), c.code, bad)
			s.wantYes(v, request(s.anchor, twin))
		})
	}
}

func TestACommitterMustBeWhoSigned(t *testing.T) { // row B07
	t.Parallel()
	s := policyScene(t, "  history: {committer: any}\n", "")
	now := s.virtual.Now()
	bad := s.onTop(honest, bob, now)
	v := s.verifier()
	s.wantNo(v, request(s.anchor, bad), "id/committer-mismatch", bad)
	s.wantYes(v, request(s.anchor, s.onTop(honest, alice, now)))
	capitals := s.onTop(honest, strings.ToUpper(alice), now)
	s.wantNo(v, request(s.anchor, capitals), "id/committer-mismatch", capitals)

	other := policyScene(t, "  history: {committer: any}\n", "  history: {committer: match}\n")
	bad = other.onTop(honest, bob, now)
	other.wantNo(other.verifier(), request(other.anchor, bad), "id/committer-mismatch", bad)
}

func TestACommitterDateFarFromTheProvenTimeIsAWarningOrRefused(t *testing.T) { // row B14
	t.Parallel()
	s := policyScene(t, "{committer: any}", "{committer: any, maxSkew: 72h}")
	now := s.virtual.Now()
	v := s.verifier()
	for _, far := range []time.Duration{80 * time.Hour, -80 * time.Hour, -20 * 365 * 24 * time.Hour} {
		bad := s.onTop(honest, "c@example.test", now.Add(far))
		s.wantNo(v, request(s.anchor, bad), "time/skew", bad)
	}
	near := s.wantYes(v, request(s.anchor, s.onTop(honest, "c@example.test", now.Add(-50*time.Hour))))
	if w := near.Checked()[0].Warnings; len(w) != 1 || !strings.Contains(w[0], "hours away") {
		t.Errorf("warnings %q", w)
	}
	if w := s.wantYes(v, request(s.anchor, s.onTop(honest, "c@example.test", now))).Checked()[0].Warnings; len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestARevokedCommitIsRefusedUnderEveryName(t *testing.T) { // rule T9
	t.Parallel()
	probe := newRepository(t)
	now := probe.virtual.Now()
	sign := func(r scene, message string) (id gitverify.ID, payload [32]byte) {
		body := unsigned(r.tree(files("a", message)), message, r.anchor)
		return r.put("commit", r.sign(body, sigstoretest.SignOptions{IssuedAt: now})), sha256.Sum256(body)
	}
	r := newRepository(t)
	s := scene{r, r.anchor()}
	leaked, payload := sign(s, "leaked")
	v := s.verifier()
	before := s.wantYes(v, request(s.anchor, leaked))
	if len(before.Revoked()) != 0 || before.Checked()[0].Payload != fmt.Sprintf("sha256:%x", payload) {
		t.Fatalf("%+v", before.Checked())
	}
	revoking := strings.Replace(policyFile(2), "  rules:", fmt.Sprintf("  revocations:\n  - {commit: \"sha256:%x\", reason: leaked a token}\n  rules:", payload), 1)
	// Accepted before: the factory has to say so.
	after := s.wantYes(v, request(s.anchor, s.commit("revoke", files("a", "leaked", policyPath, revoking), leaked)))
	if got := after.Revoked(); len(got) != 1 || got[0].Commit != leaked || !strings.Contains(got[0].Why, "leaked a token") {
		t.Errorf("got %+v", got)
	}
	// Not accepted yet: refused, also when somebody signs the same bytes anew.
	main := s.commit("revoke", files(policyPath, revoking), s.anchor)
	again, _ := sign(s, "leaked")
	fine, _ := sign(s, "fine")
	if again == leaked {
		t.Fatal("the same name twice")
	}
	merge := func(id gitverify.ID) gitverify.ID { return s.commit("merge", files(policyPath, revoking), main, id) }
	for _, id := range []gitverify.ID{leaked, again} {
		s.wantNo(s.verifier(), request(s.anchor, merge(id)), "sig/revoked", id)
	}
	s.wantYes(s.verifier(), request(s.anchor, merge(fine)))
}

func TestAPolicyOfAnotherHistoryIsRefused(t *testing.T) { // rule T1, row C27
	t.Parallel()
	r := newRepository(t)
	root := r.anchor()
	with := func(anchor gitverify.ID) map[string]string {
		return files(policyPath, strings.Replace(policyFile(2), "{committer: any}", fmt.Sprintf("{committer: any, anchor: %s}", anchor), 1))
	}
	other := r.put("commit", unsigned(r.tree(files("x", "y")), "another root"))
	bad, twin := r.commit("bad", with(other), root), r.commit("good", with(root), root)
	v := r.verifier()
	r.wantNo(v, request(root, bad), "hist/anchor", bad)
	r.wantYes(v, request(root, twin))
	// Pinned as an anchor itself, the policy names one that lies before it.
	r.wantYes(v, request(twin, r.commit("next", with(root), twin)))
	r.wantNo(v, request(bad, r.commit("next", with(other), bad)), "hist/anchor", bad)
}

func TestWithoutTheHistoryBeforeTheAnchorNoPolicyIsSaidToBeOfAnother(t *testing.T) { // rule T1, row C27
	t.Parallel()
	r := newRepository(t)
	with := func(version int, anchor gitverify.ID) map[string]string {
		return files(policyPath, strings.Replace(policyFile(version), "{committer: any}", fmt.Sprintf("{committer: any, anchor: %s}", anchor), 1))
	}
	root := r.anchor()
	between := r.commit("between", files(policyPath, policyFile(1)), root)
	anchor := r.commit("anchor", files(policyPath, policyFile(1)), between)
	tip := r.commit("tip", with(2, root), anchor)
	v := r.verifier()
	whole := r.objects[between]
	delete(r.objects, between)
	if _, err := v.Verify(t.Context(), r, request(anchor, tip)); !errors.Is(err, gitverify.ErrObjectMissing) || codeOf(err) != "" {
		t.Errorf("got %v", err)
	}
	r.objects[between] = whole
	r.wantYes(v, request(anchor, tip))
}
