package gitverify_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// tagSpecimen is one tag of the corpus and what ours, gitsign, git and fsck say of
// it. Where they differ it says who is right, and why.
type tagSpecimen struct {
	name       string
	make       func(b *tagBench) []byte
	want       string
	right, why string
}

// tagBench is a bench whose policy lets alice release.
type tagBench struct {
	*bench
	target gitverify.ID
}

func newTagBench(t *testing.T) *tagBench {
	t.Helper()
	b := &tagBench{bench: newBench(t)}
	policy := taggedPolicy(1, "subject: "+alice+", roles: [maintainer]", "subject: "+alice+", roles: [maintainer, release]")
	content := files(gitverify.DefaultPolicyPath, policy)
	b.anchor = b.put("commit", unsigned(b.tree(content), "anchor"))
	content["a"] = "1"
	b.target = b.commit("change", content, b.anchor)
	return b
}

// honest is the tag v1 by alice.
func (b *tagBench) honest() []byte { return b.signed(tagBody(b.target, "commit", "v1")) }

func (b *tagBench) signed(body []byte) []byte {
	b.t.Helper()
	signed, err := b.virtual.SignTag(body, honest)
	if err != nil {
		b.t.Fatal(err)
	}
	return signed
}

func (b *tagBench) replaced(body []byte, from, to string) []byte {
	b.t.Helper()
	if bytes.Count(body, []byte(from)) != 1 {
		b.t.Fatalf("%q is not in the tag exactly once", from)
	}
	return bytes.Replace(body, []byte(from), []byte(to), 1)
}

// tagBefore changes the bytes and signs them then; tagAfter changes what was
// signed.
func tagBefore(from, to string) func(b *tagBench) []byte {
	return func(b *tagBench) []byte {
		return b.signed(b.replaced(tagBody(b.target, "commit", "v1"), from, to))
	}
}

func tagAfter(from, to string) func(b *tagBench) []byte {
	return func(b *tagBench) []byte { return b.replaced(b.honest(), from, to) }
}

func tagSpecimens() []tagSpecimen {
	const begin = "-----BEGIN SIGNED MESSAGE-----\n"
	return []tagSpecimen{
		{"honest", (*tagBench).honest, "YYYY", "", ""},
		{"unsigned", func(b *tagBench) []byte { return tagBody(b.target, "commit", "v1") }, "NNNY", "", ""},
		{"another name than its ref, signed", tagBefore("tag v1", "tag v0"), "NYYY", "ours", "a tag under a ref of another name is an old release served as a new one; only git tag --points-at and people would notice"},
		{"message edited", tagAfter("release\n", "rellase\n"), "NNNY", "", ""},
		{"carriage return added to the message", tagAfter("release\n", "release\r\n"), "NYNY", "ours", "gitsign reads lines and drops the carriage return: other bytes under a good signature, and git says so too"},
		{"carriage return added to the tagger", tagAfter("+0000\n", "+0000\r\n"), "NYNN", "ours", "the same in a header"},
		{"carriage returns signed", tagBefore("release\n", "release\r\nmore\r\n"), "YNYY", "ours", "what was signed is what is stored; gitsign drops bytes before it looks"},
		{"no message, signed", tagBefore("release\n", ""), "YYYY", "", ""},
		{"no line end before the signature", func(b *tagBench) []byte {
			return b.signed(b.replaced(tagBody(b.target, "commit", "v1"), "release\n", "release"))
		}, "NNNY", "", ""},
		{"NUL in the message, signed", tagBefore("release\n", "rel\x00ease\n"), "NYYY", "ours", "A20: C programs stop reading there"},
		{"NUL in the tagger, signed", tagBefore("tagger C", "tagger C\x00"), "NYNN", "ours", "A20: C programs stop reading there, git too"},
		{"line of 70 kB, signed", tagBefore("release\n", strings.Repeat("x", 70_000)+"\n"), "YNYY", "ours", "gitsign gives up on lines of more than 64 KiB; git has no such limit, we have one for the whole tag"},
		{"two objects, signed", func(b *tagBench) []byte {
			return b.signed(b.replaced(tagBody(b.target, "commit", "v1"), "\ntype ", "\nobject "+string(b.anchor)+"\ntype "))
		}, "NYYY", "ours", "A05 for tags: two readers may take one object each, so one signature would stand for two contents"},
		{"two names, signed", tagBefore("\ntag v1", "\ntag v0\ntag v1"), "NYYN", "ours", "the same for the name, which is what binds a tag to its ref; fsck says so too"},
		{"two taggers, signed", tagBefore("\ntagger ", "\ntagger X <x@example.test> 1 +0000\ntagger "), "NYYY", "ours", "A06 for tags: two readers may take one tagger each"},
		{"no tagger, signed", tagBefore("tagger C <"+carol+"> 1777636800 +0000\n", ""), "NYNN", "ours", "git writes a tagger into every tag, and does not accept this one"},
		{"tagger without a date, signed", tagBefore(" 1777636800 +0000", ""), "NYYN", "ours", "git would not write it; fsck says so too"},
		{"unknown header, signed", tagBefore("\n\nrelease", "\nencoding UTF-7\n\nrelease"), "NYYY", "ours", "A26: a strict reading; git writes no other header into a tag"},
		{"junk in a gpgsig header, signed", tagBefore("\n\nrelease", "\ngpgsig junk\n\nrelease"), "NNNY", "", ""},
		{"junk in gpgsig-sha256, not signed", tagAfter("\n\nrelease", "\ngpgsig-sha256 junk\n\nrelease"), "NYYY", "ours", "A08: nothing signs the junk, so that one signed tag would have many ids"},
		{"names a tree, signed", func(b *tagBench) []byte { return b.signed(tagBody(b.tree(files()), "tree", "v1")) }, "NYYY", "ours", "T14: a release is a commit of the mainline; git does not say what a tag should be of"},
		{"names a tag, signed", func(b *tagBench) []byte {
			return b.signed(tagBody(b.put("tag", b.honest()), "tag", "v1"))
		}, "NYYY", "ours", "T14: the inner tag has another name, and perhaps another signer, than the one that is judged"},
		{"says that a tree is a commit, signed", func(b *tagBench) []byte {
			return b.signed(tagBody(b.tree(files()), "commit", "v1"))
		}, "NYYY", "ours", "the object is not what the tag says; fsck does not compare the two here"},
		{"signed twice, one signature over the other", func(b *tagBench) []byte { return b.signed(b.honest()) }, "NYYY", "ours", "A07 for tags: git takes the last signature, other readers may take the first"},
		{"a signature of something else before its own, signed", func(b *tagBench) []byte {
			other := b.honest()[len(tagBody(b.target, "commit", "v1")):]
			return b.signed(slices.Concat(tagBody(b.target, "commit", "v1"), []byte("more\n"), other))
		}, "NYYY", "ours", "the same"},
		{"a beginning of a PGP signature in the message, signed", tagBefore("release\n", "-----BEGIN PGP SIGNATURE-----\n"), "NYYY", "ours", "the same: where the signature begins must not depend on the reader"},
		{"a certificate in the message, signed", tagBefore("release\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "NYYY", "ours", "a strict reading: what begins a signature differs between versions of git, so nothing that looks like it may stand before the one"},
		{"line behind the signature", tagAfter("-----END SIGNED MESSAGE-----\n", "-----END SIGNED MESSAGE-----\njunk\n"), "NYYY", "ours", "A10: nothing signs the line, so that one signed tag would have many ids"},
		{"empty line behind the signature", tagAfter("-----END SIGNED MESSAGE-----\n", "-----END SIGNED MESSAGE-----\n\n"), "NYYY", "ours", "A10: the same"},
		{"last line end cut off", tagAfter("-----END SIGNED MESSAGE-----\n", "-----END SIGNED MESSAGE-----"), "NYYY", "ours", "A10: the same"},
		{"PEM header line", tagAfter(begin, begin+"X: y\n\n"), "NYYY", "ours", "A10: the same"},
		{"blank before the signature", tagAfter(begin, " "+begin), "NNNY", "", ""},
		{"the commit's signature", func(b *tagBench) []byte {
			commit := b.objects[b.target].body
			return append(tagBody(b.target, "commit", "v1"), scene{b.repository, b.anchor}.armored(commit)...)
		}, "NNNY", "", ""},
		{"a PGP signature", func(b *tagBench) []byte {
			return must(must(forgekeytest.New(forgekey.PGP)).SignTag(tagBody(b.target, "commit", "v1")))
		}, "NNNY", "", ""},
		{"by a stranger", func(b *tagBench) []byte {
			return must(b.virtual.SignTag(tagBody(b.target, "commit", "v1"), sigstoretest.SignOptions{Subject: "mallory@factory.test"}))
		}, "NNYY", "ours", "git asks only whether there is a signature, not by whom"},
		{"by somebody listed without the role", func(b *tagBench) []byte {
			return must(b.virtual.SignTag(tagBody(b.target, "commit", "v1"), by(bob)))
		}, "NNYY", "ours", "the same"},
	}
}

// must is for what can only fail by a mistake in the test.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// armored is the signature in a signed commit.
func (s scene) armored(commit []byte) []byte {
	header := strings.TrimPrefix(s.signature(commit), "gpgsig ")
	return []byte(strings.ReplaceAll(header, "\n ", "\n"))
}

// askTags asks all four about tags, each of which has a ref of its own.
func (b *tagBench) askTags(ids []gitverify.ID) (all []opinions, refusals []*gitverify.Refusal) {
	b.t.Helper()
	b.store()
	faults := b.fsck()
	all, refusals = make([]opinions, len(ids)), make([]*gitverify.Refusal, len(ids))
	work, wait := make(chan int), sync.WaitGroup{}
	for range 2 {
		wait.Go(func() {
			for i := range work {
				all[i], refusals[i] = b.askTag(ids[i], fmt.Sprintf("t%d", i))
				_, bad := faults[ids[i]]
				all[i].fsck = yes(!bad)
			}
		})
	}
	for i := range ids {
		work <- i
	}
	close(work)
	wait.Wait()
	return all, refusals
}

func (b *tagBench) askTag(id gitverify.ID, ref string) (o opinions, no *gitverify.Refusal) {
	b.t.Helper()
	// git itself would not let a ref name what it cannot read.
	if err := os.WriteFile(filepath.Join(b.dir, ".git", "refs", "tags", ref), []byte(id+"\n"), 0o600); err != nil {
		b.t.Error(err)
	}
	no, ours := b.ours(id)
	_, byGitsign := b.command(b.gitsign, "verify-tag", "--certificate-identity", b.subject, "--certificate-oidc-issuer", b.issuer, ref)
	_, byGit := b.command("git", "-c", "gpg.format=x509", "-c", "gpg.x509.program="+b.gitsign, "-c", "gpg.program=false", "-c", "gpg.ssh.program=false",
		"verify-tag", string(id))
	return opinions{ours: yes(ours), gitsign: yes(byGitsign == nil), git: yes(byGit == nil), fsck: '-'}, no
}

func (b *tagBench) ours(id gitverify.ID) (no *gitverify.Refusal, ok bool) {
	b.t.Helper()
	_, err := b.verifier.Verify(b.t.Context(), b, tagRequest(b.anchor, id))
	if err != nil && !errors.As(err, &no) && !errors.Is(err, gitverify.ErrObjectMissing) {
		b.t.Errorf("%s: neither yes nor no: %v", id, err)
	}
	return no, err == nil
}

func TestEveryDisagreementOverATagIsAKnownOne(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("asks git and gitsign a few dozen times")
	}
	b := newTagBench(t)
	specimens := tagSpecimens()
	ids := make([]gitverify.ID, len(specimens))
	for i, sp := range specimens {
		ids[i] = b.put("tag", sp.make(b))
	}
	all, refusals := b.askTags(ids)
	for i, sp := range specimens {
		if got := all[i].String(); got != sp.want {
			t.Errorf("%s: ours, gitsign, git, fsck say %s (ours: %s), the table says %q", sp.name, got, code(refusals[i]), sp.want)
		}
		if known := sp.right != "" && sp.why != ""; known == all[i].agree() {
			t.Errorf("%s: %s, and the table says of it that %q is right: %q", sp.name, all[i], sp.right, sp.why)
		}
	}
}

// Whatever a mutation does to a tag, we accept none but the very tag.
func TestNoMutationOfATagIsAccepted(t *testing.T) {
	t.Parallel()
	t.Logf("replay with -differential.seed=%d", *differentialSeed)
	b := newTagBench(t)
	rng := rand.New(rand.NewPCG(*differentialSeed, 1))
	good := b.honest()
	if no, ok := b.ours(b.put("tag", good)); !ok {
		t.Fatalf("the tag itself: %v", no)
	}
	for range 2000 {
		m := mutate(rng, good)
		if bytes.Equal(m.bytes, good) {
			continue
		}
		if _, ok := b.ours(b.put("tag", m.bytes)); ok {
			t.Errorf("%s: accepted", m)
		}
	}
}
