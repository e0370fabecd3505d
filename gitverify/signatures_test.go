package gitverify_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// proven is what Signatures should say of one commit: the code of what it
// lacks, or who signed it.
type proven struct{ code, subject string }

// history without any trust policy, as public repositories are.
func (r *repository) foreign(o sigstoretest.SignOptions, message string, parents ...gitverify.ID) gitverify.ID {
	r.t.Helper()
	return r.put("commit", r.sign(unsigned(r.tree(map[string]string{"README": message}), message, parents...), o))
}

func TestSignaturesOfARepositoryWithoutAPolicyAreProvenOneByOne(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	base := r.put("commit", unsigned(r.tree(map[string]string{"README": "x"}), "base"))
	logged := r.foreign(sigstoretest.SignOptions{}, "logged", base)
	online := r.foreign(sigstoretest.SignOptions{NoLogEntry: true}, "online", base)
	bare := r.put("commit", unsigned(r.tree(map[string]string{"README": "y"}), "bare", base))
	merge := r.foreign(sigstoretest.SignOptions{Subject: bob}, "merge", logged, online, bare)
	broken := r.put("commit", append([]byte("tree "), unsigned(r.tree(nil), "two trees", merge)...))
	// The second, third and later parents of commits count as well.
	want := map[gitverify.ID]proven{
		logged: {subject: alice}, merge: {subject: bob}, online: {code: "log/missing"}, bare: {code: "sig/missing"}, broken: {code: "obj/malformed"},
	}
	tip := r.foreign(sigstoretest.SignOptions{}, "tip", merge, broken)
	want[tip] = proven{subject: alice}
	all, err := r.verifier().Signatures(t.Context(), r, base, tip)
	if err != nil {
		t.Fatal(err)
	}
	if all[0].Commit != tip {
		t.Errorf("begins with %s, not with the newest", all[0].Commit)
	}
	for _, s := range all {
		got := proven{subject: s.Subject}
		if s.Refusal != nil {
			got.code = s.Refusal.Code
		}
		if w, ok := want[s.Commit]; !ok || got != w {
			t.Errorf("%s: got %+v, want %+v (listed: %v)", s.Commit, got, w, ok)
		}
		if (s.Refusal == nil) == s.SignedAt.IsZero() || s.Refusal != nil && s.Refusal.Commit != s.Commit {
			t.Errorf("%s: %+v", s.Commit, s)
		}
		delete(want, s.Commit)
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
}

func TestASignatureOverOtherBytesIsNotProvenByBeingListed(t *testing.T) { // row A04
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	honestly := s.sign(s.body(), sigstoretest.SignOptions{})
	stolen := s.put("commit", s.replaceOnce(honestly, "\n\nchange", "\n\nchanged"))
	for tip, code := range map[gitverify.ID]string{stolen: "sig/digest", s.put("commit", honestly): ""} {
		all, err := r.verifier().Signatures(t.Context(), r, s.anchor, tip)
		if err != nil || len(all) != 1 {
			t.Fatalf("%v, %v", all, err)
		}
		if no := all[0].Refusal; code == "" && no != nil || code != "" && (no == nil || no.Code != code || all[0].Subject != "") {
			t.Errorf("want %q, got %+v", code, all[0])
		}
	}
}

func TestSignaturesAreNotToldWhereHistoryIsMissing(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	first := s.signed(sigstoretest.SignOptions{})
	tip := r.commit("tip", files(), first)
	for _, away := range []gitverify.ID{s.anchor, first, tip} {
		r.broken[away] = errors.New("the disk is away")
		all, err := r.verifier().Signatures(t.Context(), r, s.anchor, tip)
		if _, refused := errors.AsType[*gitverify.Refusal](err); err == nil || refused || all != nil {
			t.Errorf("without %s: %v, %v", away, all, err)
		}
		delete(r.broken, away)
	}
	if _, err := r.verifier().Signatures(t.Context(), r, "main", tip); err == nil {
		t.Error("a name that is no id was taken")
	}
}

func TestSignaturesAreOfFullCommitsAndToldWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	base := r.put("commit", unsigned(r.tree(map[string]string{"README": "x"}), "base"))
	one := r.foreign(sigstoretest.SignOptions{}, "one", base)
	tip := r.foreign(sigstoretest.SignOptions{Subject: bob}, "two", one)
	for _, ids := range [][2]gitverify.ID{{base[:39], tip}, {base, "HEAD"}} {
		if _, err := r.verifier().Signatures(t.Context(), r, ids[0], ids[1]); err == nil || !strings.Contains(err.Error(), "full commit ids") {
			t.Errorf("%v: %v", ids, err)
		}
	}
	count := &stumbling{Objects: r}
	ask := func(o gitverify.Objects) (string, error) {
		all, err := gitverify.Forgetful(r.verifier()).Signatures(t.Context(), o, base, tip)
		return fmt.Sprintf("%+v", all), err
	}
	truth, err := ask(count)
	if err != nil || count.read < 4 {
		t.Fatalf("%d reads, %v", count.read, err)
	}
	for n := range count.read {
		for _, forGood := range []bool{false, true} {
			got, err := ask(&stumbling{Objects: r, fails: n + 1, forGood: forGood})
			if got != truth && !errors.Is(err, errStumbled) {
				t.Errorf("when read %d of %d fails: %v, %s", n+1, count.read, err, got)
			}
		}
	}
}
