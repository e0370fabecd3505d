package gitverify_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestMain(m *testing.M) { os.Exit(sigstoretest.Main(m)) }

// workshop is a real repository whose commits are made by the real git and
// signed by the real gitsign at a real Sigstore.
type workshop struct {
	t        testing.TB
	sigstore *sigstoretest.Sigstore
	dir      string
}

var (
	aliceCommits = sigstoretest.Committer{Name: "Alice", Email: alice}
	bobCommits   = sigstoretest.Committer{Name: "Bob", Email: bob, Stamp: true}
	nobody       = sigstoretest.Committer{Name: "Nobody", Email: "nobody@factory.test", Unsigned: true}
)

func newWorkshop(t testing.TB) *workshop {
	t.Helper()
	w := &workshop{t: t, sigstore: sigstoretest.Shared(t), dir: t.TempDir()}
	w.git(nobody, "init", "--quiet")
	w.write(gitverify.DefaultPolicyPath, strings.ReplaceAll(policyFile(1), issuer, w.sigstore.IssuerURL(sigstoretest.Person)))
	return w
}

func (w *workshop) git(who sigstoretest.Committer, args ...string) string {
	w.t.Helper()
	out, err := w.sigstore.Git(w.t.Context(), w.dir, who, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *workshop) write(path, content string) {
	w.t.Helper()
	path = filepath.Join(w.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *workshop) commit(who sigstoretest.Committer, message string) gitverify.ID {
	w.t.Helper()
	id, err := w.sigstore.Commit(w.t.Context(), w.dir, who, message)
	if err != nil {
		w.t.Fatal(err)
	}
	return gitverify.ID(id)
}

// load copies all objects into memory, where tests can change them.
func (w *workshop) load() *repository {
	w.t.Helper()
	r := &repository{t: w.t, objects: map[gitverify.ID]object{}}
	out := w.git(nobody, "cat-file", "--batch", "--batch-all-objects")
	for out != "" {
		head, rest, _ := strings.Cut(out, "\n")
		var id, kind string
		var size int
		if _, err := fmt.Sscanf(head, "%s %s %d", &id, &kind, &size); err != nil {
			w.t.Fatalf("%q: %v", head, err)
		}
		if got := r.put(kind, []byte(rest[:size])); string(got) != id {
			w.t.Fatalf("%s was read as %s", id, got)
		}
		out = rest[size+1:]
	}
	return r
}

func (w *workshop) verifier() *gitverify.Verifier {
	w.t.Helper()
	root, err := gitverify.LoadTrustedRootFile(w.sigstore.TrustedRootPath)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := gitverify.New(root, gitverify.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func TestCommitsOfTheRealGitsignVerify(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	anchor := w.commit(aliceCommits, "anchor, signed too")
	w.write("a", "1\n")
	first := w.commit(bobCommits, "by bob, with a timestamp")
	w.git(nobody, "switch", "--quiet", "--create", "side")
	w.write("b", "2\n")
	side := w.commit(aliceCommits, "on the side\n\nwith Unicode: Mühlenbau ☃")
	w.git(bobCommits, "tag", "--message", "a tag", "v1")
	w.git(nobody, "switch", "--quiet", "main")
	w.write("c", "3\n")
	w.commit(aliceCommits, "meanwhile")
	w.git(bobCommits, "merge", "--quiet", "--no-ff", "--message", "merge", "v1")
	tip := gitverify.ID(strings.TrimSpace(w.git(nobody, "rev-parse", "HEAD")))

	r := w.load()
	if !bytes.Contains(r.objects[tip].body, []byte("\nmergetag object "+string(side))) {
		t.Fatal("the merge does not carry the tag, as it should for this test")
	}
	got := r.wantYes(w.verifier(), request(anchor, tip))
	names := map[gitverify.ID]string{}
	for _, c := range got.Checked() {
		names[c.Commit] = c.Signer.Name
		if c.SignedAt.IsZero() || c.LogIndex < 0 {
			t.Errorf("%s has no proven time or place in the log: %+v", c.Commit, c)
		}
	}
	if len(names) != 4 || names[first] != "bob" || names[side] != "alice" || names[tip] != "bob" {
		t.Errorf("checked %+v", got.Checked())
	}
}

func TestARealSignedRootCommitVerifiesOnlyAsTheAnchor(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	root := w.commit(aliceCommits, "root")
	r := w.load()
	got := r.wantYes(w.verifier(), request(root, root))
	if _, signed := got.Tip(); signed || len(got.Checked()) != 0 {
		t.Error("the anchor was checked, where its id alone should count")
	}
}

func TestNoByteOfARealSignedCommitCanBeChanged(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]sigstoretest.Committer{"signed": aliceCommits, "signed and stamped": bobCommits} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorkshop(t)
			anchor := w.commit(nobody, "anchor")
			w.write("a", "1\n")
			tip := w.commit(who, "change")
			r, v := w.load(), w.verifier()
			good := r.objects[tip].body
			for i := range good {
				for _, mask := range []byte{1, 1 << (1 + i%7)} {
					bad := bytes.Clone(good)
					bad[i] ^= mask
					if _, err := v.Verify(t.Context(), r, request(anchor, r.put("commit", bad))); err == nil {
						t.Errorf("byte %d (%q) of the commit became %q, and it is verified still", i, good[i], bad[i])
					}
				}
			}
			r.wantYes(v, request(anchor, tip))
		})
	}
}

func TestAStrangerWithARealSignatureIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	anchor := w.commit(aliceCommits, "anchor")
	w.write("a", "1\n")
	tip := w.commit(sigstoretest.Committer{Name: "Alice", Email: "mallory@factory.test"}, "as Alice")
	r := w.load()
	_, err := w.verifier().Verify(t.Context(), r, request(anchor, tip))
	var no *gitverify.Refusal
	if !errors.As(err, &no) || no.Code != "id/subject" || no.Commit != tip || !strings.Contains(no.Detail, "mallory@factory.test") {
		t.Errorf("got %v", err)
	}
}

func TestTagsOfTheRealGitsignVerify(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	policy := strings.ReplaceAll(taggedPolicy(1), issuer, w.sigstore.IssuerURL(sigstoretest.Person))
	w.write(gitverify.DefaultPolicyPath, policy)
	anchor := w.commit(nobody, "anchor")
	w.write("a", "1\n")
	tip := w.commit(aliceCommits, "change")
	carolTags := sigstoretest.Committer{Name: "Carol", Email: carol, Stamp: true}
	daveTags := sigstoretest.Committer{Name: "Dave", Email: dave}
	w.git(carolTags, "tag", "--sign", "--message", "release\n\nof Mühlenbau ☃", "v1")
	w.git(aliceCommits, "tag", "--sign", "--message", "no release", "v2")
	w.git(nobody, "tag", "--annotate", "--message", "not signed", "v3")
	w.git(nobody, "tag", "v4")
	w.git(daveTags, "tag", "--sign", "--message", "tip", "heartbeat")
	id := func(name string) gitverify.ID {
		return gitverify.ID(strings.TrimSpace(w.git(nobody, "rev-parse", "refs/tags/"+name)))
	}
	r, v := w.load(), w.verifier()
	follow := func(name string) (gitverify.Verification, error) {
		return v.Verify(t.Context(), r, gitverify.Request{Ref: "refs/tags/" + name, Candidate: id(name), Anchor: anchor})
	}
	got, err := follow("v1")
	if err != nil {
		t.Fatal(err)
	}
	tag, ok := got.Tag()
	if !ok || got.Commit() != tip || tag.Target != tip || tag.Signer.Person != "carol" || tag.SignedAt.IsZero() {
		t.Errorf("verified %s by %+v", got.Commit(), tag)
	}
	for name, code := range map[string]string{"v2": "tag/role", "v3": "tag/unsigned", "v4": "tag/unsigned", "heartbeat": "tag/role"} {
		_, err := follow(name)
		if no, ok := errors.AsType[*gitverify.Refusal](err); !ok || no.Code != code {
			t.Errorf("%s: got %v, want %s", name, err, code)
		}
	}
	beat, err := v.Heartbeat(t.Context(), r, gitverify.HeartbeatRequest{Tag: id("heartbeat"), Anchor: anchor})
	if err != nil || !beat.Known || beat.Target != tip || beat.Signer.Name != "dave" {
		t.Errorf("heartbeat %+v, %v", beat, err)
	}
	good := r.objects[id("v1")].body
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := v.Verify(t.Context(), r, gitverify.Request{Ref: "refs/tags/v1", Candidate: r.put("tag", bad), Anchor: anchor}); err == nil {
			t.Errorf("byte %d (%q) of the tag became %q, and it is verified still", i, good[i], bad[i])
		}
	}
}
