package gitverify_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

const policyPath = gitverify.DefaultPolicyPath

// stranger is an identity that the policy does not list until it does.
var stranger = sigstoretest.SignOptions{Subject: "carol@factory.test"}

// policyWithCarol lists the stranger too.
func policyWithCarol(version int) string {
	return policyFile(version) + `  - {name: carol, person: carol, issuer: "` + issuer + `", subject: carol@factory.test}` + "\n"
}

func TestAttacksOnTheHistory(t *testing.T) {
	t.Parallel()
	runAttacks(t, []attack{
		{"C01", "unrelated history, all of it signed", "hist/non-descendant", func(s scene) outcome {
			root := s.commit("other root", files())
			return alone(s.commit("tip", files("a", "1"), root), s.commit("tip", files("a", "1"), s.anchor))
		}},
		{"C27", "history of another repository with the same people", "hist/non-descendant", func(s scene) outcome {
			root := s.commit("their root", files("README", "another factory\n"))
			return alone(s.commit("tip", files(), s.commit("more", files(), root)), s.commit("tip", files(), s.anchor))
		}},
		{"C04", "signed merge of an unsigned side branch", "sig/missing", func(s scene) outcome {
			body := unsigned(s.tree(files("b", "1")), "side", s.anchor)
			side, signedSide := s.put("commit", body), s.put("commit", s.sign(body, honest))
			main := s.signed(honest)
			merged := files("a", "1", "b", "1")
			return outcome{s.commit("merge", merged, main, side), side, s.commit("merge", merged, main, signedSide)}
		}},
		{"C04", "signed merge of a stranger's side branch", "id/subject", func(s scene) outcome {
			body := unsigned(s.tree(files("b", "1")), "side", s.anchor)
			side, signedSide := s.put("commit", s.sign(body, stranger)), s.put("commit", s.sign(body, honest))
			main := s.signed(honest)
			return outcome{s.commit("merge", files(), main, side), side, s.commit("merge", files(), main, signedSide)}
		}},
		{"C04", "unsigned commit deep in a side branch", "sig/missing", func(s scene) outcome {
			body := unsigned(s.tree(files("b", "1")), "deep", s.anchor)
			deep, signedDeep := s.put("commit", body), s.put("commit", s.sign(body, honest))
			merge := func(id gitverify.ID) gitverify.ID {
				return s.commit("merge", files(), s.signed(honest), s.commit("side", files(), id))
			}
			return outcome{merge(deep), deep, merge(signedDeep)}
		}},
		{"T1", "merge of a history with another root", "hist/root", func(s scene) outcome {
			root := s.commit("other root", files("b", "1"))
			side := s.commit("side", files("b", "1"), s.anchor)
			return outcome{s.commit("merge", files(), s.anchor, root), root, s.commit("merge", files(), s.anchor, side)}
		}},
		{"T3", "merge that makes the side branch the first parent", "hist/not-mainline", func(s scene) outcome {
			root := s.commit("other root", files("b", "1"))
			side := s.commit("side", files("b", "1"), s.anchor)
			return alone(s.commit("merge", files(), root, s.anchor), s.commit("merge", files(), s.anchor, side))
		}},
	})
}

func TestAttacksOnThePolicy(t *testing.T) {
	t.Parallel()
	policyCase := func(row, name, code, content string) attack {
		return attack{row, name, code, func(s scene) outcome {
			return alone(s.commit("policy", files(policyPath, content), s.anchor), s.commit("policy", files(policyPath, policyFile(2)), s.anchor))
		}}
	}
	runAttacks(t, []attack{
		{"C13", "stranger who adds himself in the commit that he signs", "id/subject", func(s scene) outcome {
			body := unsigned(s.tree(files(policyPath, policyWithCarol(2))), "let me in", s.anchor)
			return alone(s.put("commit", s.sign(body, stranger)), s.put("commit", s.sign(body, honest)))
		}},
		{"C13", "stranger whose merge brings in a branch that adds him", "id/subject", func(s scene) outcome {
			side := s.put("commit", s.sign(unsigned(s.tree(files(policyPath, policyWithCarol(2))), "add carol", s.anchor), honest))
			merge := unsigned(s.tree(files(policyPath, policyWithCarol(2))), "merge", s.anchor, side)
			return alone(s.put("commit", s.sign(merge, stranger)), s.put("commit", s.sign(merge, honest)))
		}},
		{"C14", "signer who was removed uses a branch from before that", "id/subject", func(s scene) outcome {
			branch := unsigned(s.tree(files("b", "1")), "old branch", s.anchor)
			byBob := s.put("commit", s.sign(branch, sigstoretest.SignOptions{Subject: bob}))
			byAlice := s.put("commit", s.sign(branch, honest))
			without := files(policyPath, strings.ReplaceAll(policyFile(2), bob, "bob@elsewhere.test"))
			main := s.commit("remove bob", without, s.anchor)
			return outcome{s.commit("merge", without, main, byBob), byBob, s.commit("merge", without, main, byAlice)}
		}},
		policyCase("C16", "policy that is gone", "policy/invalid", ""),
		policyCase("C16", "policy that is not YAML", "policy/invalid", "{"),
		policyCase("C16", "policy with a key twice", "policy/invalid", policyFile(2)+"kind: TrustPolicy\n"),
		policyCase("C16", "policy with an alias", "policy/invalid", strings.Replace(policyFile(2), "{name: factory}", "&a {name: factory}", 1)),
		policyCase("C16", "policy of 300 KiB", "policy/invalid", policyFile(2)+strings.Repeat("# more\n", 300<<10/7)),
		{"C16", "policy that is a symlink", "policy/invalid", func(s scene) outcome {
			m := files(policyPath, "", "120000 "+policyPath, "other.yaml", "factory-config/trust/other.yaml", policyFile(2))
			return alone(s.commit("link", m, s.anchor), s.commit("file", files("factory-config/trust/other.yaml", policyFile(2)), s.anchor))
		}},
		policyCase("T8", "policy that changes under the same version", "policy/version", policyWithCarol(1)),
		{"T8", "plain revert of a policy change", "policy/version", func(s scene) outcome {
			changed := s.commit("policy", files(policyPath, policyWithCarol(2)), s.anchor)
			return alone(s.commit("revert", files(), changed), s.commit("revert", files(policyPath, policyFile(3)), changed))
		}},
		{"T8", "merge that drops the side branch's policy", "policy/version", func(s scene) outcome {
			side := s.commit("policy", files(policyPath, policyWithCarol(2)), s.anchor)
			main := s.signed(honest)
			return alone(s.commit("merge -s ours", files("a", "1"), main, side), s.commit("merge", files(policyPath, policyWithCarol(2)), main, side))
		}},
	})
}

func TestAForcePushBehindTheLastAppliedRevisionIsARollback(t *testing.T) { // row C02
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	first := r.commit("first", files("a", "1"), anchor)
	second := r.commit("second", files("a", "2"), first)
	third := r.commit("third", files("a", "3"), second)
	v := r.verifier()
	for _, back := range []gitverify.ID{first, anchor} {
		r.wantNo(v, gitverify.Request{Ref: "refs/heads/main", Anchor: anchor, Floor: second, Candidate: back}, "hist/rollback", back)
	}
	for _, fine := range []gitverify.ID{second, third} {
		r.wantYes(v, gitverify.Request{Ref: "refs/heads/main", Anchor: anchor, Floor: second, Candidate: fine})
	}
	r.wantNo(r.verifier(), gitverify.Request{Ref: "refs/heads/main", Anchor: second, Candidate: first}, "hist/rollback", first)
}

func TestAnAmendedTipIsNotADescendantOfTheLastAppliedRevision(t *testing.T) { // row C03
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	applied := r.commit("first", files("a", "1"), anchor)
	amended := r.commit("first, amended", files("a", "1"), anchor)
	v := r.verifier()
	r.wantYes(v, request(anchor, applied))
	r.wantNo(v, gitverify.Request{Ref: "refs/heads/main", Anchor: anchor, Floor: applied, Candidate: amended}, "hist/non-descendant", amended)
	r.wantYes(v, request(anchor, amended)) // accepted, never applied: it may be dropped (rule T10)

	turned := r.commit("merge the wrong way round", files("a", "1"), amended, applied)
	r.wantNo(v, gitverify.Request{Ref: "refs/heads/main", Anchor: anchor, Floor: applied, Candidate: turned}, "hist/not-mainline", turned)
}

func TestTheLastAppliedRevisionMayLieBeforeTheAnchor(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	root := r.anchor()
	anchor := r.commit("anchor", files(), root)
	tip := r.commit("tip", files(), anchor)
	got := r.wantYes(r.verifier(), gitverify.Request{Ref: "refs/heads/main", Anchor: anchor, Floor: root, Candidate: tip})
	if n := len(got.Checked()); n != 1 {
		t.Errorf("%d commits checked", n)
	}
}

func TestABranchFromBeforeTheAnchorMayBeMerged(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	root := r.put("commit", unsigned(r.tree(files()), "unsigned root"))
	anchor := r.put("commit", unsigned(r.tree(files()), "unsigned anchor", root))
	side := r.commit("side", files("b", "1"), root)
	tip := r.commit("merge", files("b", "1"), anchor, side)
	got := r.wantYes(r.verifier(), request(anchor, tip))
	if c := got.Checked(); len(c) != 2 || c[0].Commit != side || c[1].Commit != tip {
		t.Errorf("checked %+v", c)
	}
}

func TestAMissingObjectIsNeitherYesNorNo(t *testing.T) { // row C09
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	side := r.commit("side", files("b", "1"), anchor)
	main := r.commit("main", files("a", "1"), anchor)
	tip := r.commit("merge", files(), main, side)
	for name, missing := range map[string]gitverify.ID{"on the line": main, "on the side": side, "the anchor": anchor, "the tip's tree": r.tree(files())} {
		o := r.objects[missing]
		delete(r.objects, missing)
		_, err := r.verifier().Verify(t.Context(), r, request(anchor, tip))
		var no *gitverify.Refusal
		if !errors.Is(err, gitverify.ErrObjectMissing) || errors.As(err, &no) || !strings.Contains(err.Error(), string(missing)) {
			t.Errorf("%s: got %v", name, err)
		}
		r.objects[missing] = o
	}
	r.broken[main] = errors.New("the disk is on fire")
	_, err := r.verifier().Verify(t.Context(), r, request(anchor, tip))
	if !errors.Is(err, r.broken[main]) {
		t.Errorf("got %v", err)
	}
	delete(r.broken, main)
	r.wantYes(r.verifier(), request(anchor, tip))
}

func TestADamagedHistoryIsNotTakenForAnotherOne(t *testing.T) { // row C09
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	floor := r.commit("floor", files("a", "1"), anchor)
	main := r.commit("main", files("a", "2"), floor)
	// The floor was merged, and not on the line: a no, if that could be seen.
	turned := r.commit("turned", files("a", "2"), r.commit("other", files("b", "1"), anchor), main)
	req := gitverify.Request{Ref: "refs/heads/main", Anchor: anchor, Floor: floor, Candidate: turned}
	lost := r.objects[main]
	delete(r.objects, main)
	_, err := r.verifier().Verify(t.Context(), r, req)
	var no *gitverify.Refusal
	if !errors.Is(err, gitverify.ErrObjectMissing) || errors.As(err, &no) {
		t.Errorf("got %v", err)
	}
	r.objects[main] = lost
	r.wantNo(r.verifier(), req, "hist/not-mainline", turned)
	// Without the floor itself, which kind of no it is cannot be told; that it is one can.
	delete(r.objects, floor)
	unrelated := r.commit("tip", files(), r.commit("root", files()))
	req.Candidate = unrelated
	r.wantNo(r.verifier(), req, "hist/non-descendant", unrelated)
}

func TestALongHistoryIsBounded(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	tip := anchor
	for i := range 5 {
		tip = r.commit(fmt.Sprint(i), files(), tip)
	}
	r.wantYes(r.verifierWith(gitverify.Options{MaxCommits: 6}), request(anchor, tip))
	short := gitverify.Options{MaxCommits: 4}
	_, err := r.verifierWith(short).Verify(t.Context(), r, request(anchor, tip))
	var no *gitverify.Refusal
	if !errors.As(err, &no) || no.Code != "limits/commits" {
		t.Errorf("got %v", err)
	}
	// Step by step it is as long.
	warm, line := r.verifierWith(short), []gitverify.ID{anchor}
	for i := range 5 {
		line = append(line, r.commit(fmt.Sprint(i), files(), line[i]))
		if i < 4 {
			r.wantYes(warm, request(anchor, line[i+1]))
		}
	}
	r.wantNo(warm, request(anchor, line[5]), "limits/commits", line[5])
}

func TestALaterCommitCompletesAUnitWithABadPolicy(t *testing.T) { // rule T3
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	bad := r.commit("policy", files(policyPath, "{"), anchor)
	v := r.verifier()
	r.wantNo(v, request(anchor, bad), "policy/invalid", bad)
	mended := r.commit("mended", files(policyPath, policyWithCarol(2)), bad)
	got := r.wantYes(v, request(anchor, mended))
	if len(got.Checked()) != 2 || got.PolicyVersion() != 2 {
		t.Errorf("got %+v", got)
	}
	// The policy counts from the next step on only.
	next := r.put("commit", r.sign(unsigned(r.tree(files(policyPath, policyWithCarol(2))), "by carol", mended), stranger))
	r.wantYes(v, request(anchor, next))
}

func TestTheAnswerDoesNotDependOnWhatWasVerifiedBefore(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	line := []gitverify.ID{anchor}
	for i := range 6 {
		line = append(line, r.commit(fmt.Sprint(i), files("a", fmt.Sprint(i)), line[i]))
	}
	warm := r.verifier()
	for i := 1; i < len(line); i++ {
		req := gitverify.Request{Ref: "refs/heads/main", Anchor: anchor, Candidate: line[i], Floor: line[i/2]}
		before := r.reads
		got := r.wantYes(warm, req)
		if reads := r.reads - before; i > 1 && reads > 6 {
			t.Errorf("step %d read %d objects where one commit is new", i, reads)
		}
		cold := r.wantYes(r.verifier(), req)
		if fmt.Sprintf("%+v", got.Checked()) != fmt.Sprintf("%+v", cold.Checked()) || got.PolicyDigest() != cold.PolicyDigest() || got.Tree() != cold.Tree() {
			t.Errorf("step %d: warm %+v, cold %+v", i, got, cold)
		}
		if n := len(got.Checked()); n != i-i/2 {
			t.Errorf("step %d: %d commits checked after the floor", i, n)
		}
	}
	// Back and forth over branches that share a part.
	other := r.commit("other", files("b", "1"), line[3])
	for _, c := range []gitverify.ID{other, line[6], line[2], other, anchor, line[6]} {
		r.wantYes(warm, request(anchor, c))
	}
	evil := r.put("commit", unsigned(r.tree(files()), "unsigned", line[6]))
	r.wantNo(warm, request(anchor, evil), "sig/missing", evil)
	r.wantYes(warm, request(anchor, line[6]))
}

func TestCommitsThatAForcePushDroppedAreJudgedAgain(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	byBob := r.put("commit", r.sign(unsigned(r.tree(files("b", "1")), "by bob", anchor), sigstoretest.SignOptions{Subject: bob}))
	v := r.verifier()
	r.wantYes(v, request(anchor, byBob))
	without := files(policyPath, strings.ReplaceAll(policyFile(2), bob, "bob@elsewhere.test"))
	main := r.commit("remove bob", without, anchor)
	r.wantYes(v, request(anchor, main))
	r.wantNo(v, request(anchor, r.commit("merge", without, main, byBob)), "id/subject", byBob)
}

func TestARequestThatNoHistoryCouldAnswerIsAnErrorAndNotARefusal(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	for name, req := range map[string]gitverify.Request{
		"no ref":       {Candidate: anchor, Anchor: anchor},
		"short ref":    {Ref: "main", Candidate: anchor, Anchor: anchor},
		"no candidate": {Ref: "refs/heads/main", Anchor: anchor},
		"short anchor": {Ref: "refs/heads/main", Candidate: anchor, Anchor: anchor[:12]},
		"upper case":   {Ref: "refs/heads/main", Candidate: anchor, Anchor: gitverify.ID(strings.ToUpper(string(anchor)))},
		"bad floor":    {Ref: "refs/heads/main", Candidate: anchor, Anchor: anchor, Floor: "x"},
	} {
		_, err := r.verifier().Verify(t.Context(), r, req)
		var no *gitverify.Refusal
		if err == nil || errors.As(err, &no) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestATagInPlaceOfACommitIsRefused(t *testing.T) { // row A23
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	commit := r.put("commit", unsigned(r.tree(files()), "unsigned", anchor))
	body, err := r.virtual.SignTag([]byte("object "+string(commit)+"\ntype commit\ntag v1\ntagger T <t@example.test> 1700000000 +0000\n\nv1\n"), honest)
	if err != nil {
		t.Fatal(err)
	}
	tag := r.put("tag", body)
	v := r.verifier()
	r.wantNo(v, request(anchor, tag), "obj/malformed", tag)
	r.wantNo(v, request(anchor, commit), "sig/missing", commit)
}

func TestWhatLiesBeforeTheAnchorIsBoundedToo(t *testing.T) { // row C09
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	for range 9 {
		anchor = r.put("commit", unsigned(r.tree(files()), "before", anchor))
	}
	req := request(anchor, r.commit("tip", files("a", "1"), anchor))
	r.wantYes(r.verifierWith(gitverify.Options{MaxCommits: 8}), req)
	req.Floor = gitverify.ID(strings.Repeat("1", 40)) // which is looked for there
	no := r.wantNo(r.verifierWith(gitverify.Options{MaxCommits: 20}), req, "hist/non-descendant", req.Candidate)
	if _, err := r.verifierWith(gitverify.Options{MaxCommits: 8}).Verify(t.Context(), r, req); !strings.HasPrefix(told(err), "limits/commits") {
		t.Errorf("got %v, and with a higher bound %v", err, no)
	}
}
