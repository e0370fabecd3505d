package gitverify_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

const (
	alice  = "alice@factory.test"
	bob    = "bob@factory.test"
	issuer = "https://issuer.virtual.test"
)

// repository is a Git repository in memory that holds whatever it is given,
// also objects that git would never write.
type repository struct {
	t       testing.TB
	virtual *sigstoretest.Virtual
	objects map[gitverify.ID]object
	// broken answers reads of these objects with an error.
	broken map[gitverify.ID]error
	reads  int
}

type object struct {
	kind string
	body []byte
}

func newRepository(t testing.TB) *repository {
	t.Helper()
	v, err := sigstoretest.NewVirtual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return &repository{t: t, virtual: v, objects: map[gitverify.ID]object{}, broken: map[gitverify.ID]error{}}
}

func (r *repository) Object(_ context.Context, id gitverify.ID, limit int64) (string, []byte, error) {
	r.reads++
	if err := r.broken[id]; err != nil {
		return "", nil, err
	}
	o, ok := r.objects[id]
	if !ok {
		return "", nil, fmt.Errorf("%s: %w", id, gitverify.ErrObjectMissing)
	}
	if int64(len(o.body)) > limit {
		return "", nil, fmt.Errorf("%s: %w", id, gitverify.ErrObjectTooLarge)
	}
	return o.kind, o.body, nil
}

// put stores an object under its name.
func (r *repository) put(kind string, body []byte) gitverify.ID {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kind, len(body))
	h.Write(body)
	id := gitverify.ID(hex.EncodeToString(h.Sum(nil)))
	r.objects[id] = object{kind, bytes.Clone(body)}
	return id
}

// tree stores files by path. A path may begin with "<mode> "; its content is
// then the content of a symlink, or the commit of a submodule.
func (r *repository) tree(files map[string]string) gitverify.ID {
	type entry struct{ key, line string }
	var entries []entry
	below := map[string]map[string]string{}
	for path, content := range files {
		mode, path := modeOf(path)
		if dir, rest, ok := strings.Cut(path, "/"); ok {
			if below[dir] == nil {
				below[dir] = map[string]string{}
			}
			below[dir][mode+" "+rest] = content
			continue
		}
		id := gitverify.ID(content)
		if mode != "160000" {
			id = r.put("blob", []byte(content))
		}
		entries = append(entries, entry{path, treeLine(mode, path, id)})
	}
	for dir, files := range below {
		entries = append(entries, entry{dir + "/", treeLine("40000", dir, r.tree(files))})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	var body strings.Builder
	for _, e := range entries {
		body.WriteString(e.line)
	}
	return r.put("tree", []byte(body.String()))
}

func modeOf(path string) (mode, rest string) {
	if mode, rest, ok := strings.Cut(path, " "); ok {
		return mode, rest
	}
	return "100644", path
}

func treeLine(mode, name string, id gitverify.ID) string {
	raw, err := hex.DecodeString(string(id))
	if err != nil {
		panic(err)
	}
	return mode + " " + name + "\x00" + string(raw)
}

// policyFile is a trust policy of alice and bob.
func policyFile(version int) string {
	return strings.NewReplacer("VERSION", strconv.Itoa(version), "ISSUER", issuer, "ALICE", alice, "BOB", bob).Replace(`apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: factory}
spec:
  version: VERSION
  repository: millwright.dev/factory
  history: {committer: any}
  rules:
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
  identities:
  - {name: alice, person: alice, issuer: "ISSUER", subject: ALICE, roles: [maintainer]}
  - {name: bob, person: bob, issuer: "ISSUER", subject: BOB, roles: [maintainer]}
`)
}

// files are those of a factory, with changes: an empty content removes a file.
func files(changes ...string) map[string]string {
	m := map[string]string{gitverify.DefaultPolicyPath: policyFile(1), "README": "a factory\n"}
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == "" {
			delete(m, changes[i])
			continue
		}
		m[changes[i]] = changes[i+1]
	}
	return m
}

// unsigned is the body of a commit without a signature.
func unsigned(tree gitverify.ID, message string, parents ...gitverify.ID) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author A U Thor <author@example.test> 1700000000 +0000\n")
	fmt.Fprintf(&b, "committer C O Mitter <committer@example.test> 1700000000 +0000\n\n%s\n", message)
	return []byte(b.String())
}

// sign signs a commit's body; without options as alice.
func (r *repository) sign(body []byte, o sigstoretest.SignOptions) []byte {
	r.t.Helper()
	signed, err := r.virtual.SignCommit(body, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return signed
}

// commit stores a commit signed by alice.
func (r *repository) commit(message string, files map[string]string, parents ...gitverify.ID) gitverify.ID {
	r.t.Helper()
	return r.put("commit", r.sign(unsigned(r.tree(files), message, parents...), sigstoretest.SignOptions{}))
}

// anchor stores an unsigned root commit.
func (r *repository) anchor() gitverify.ID {
	return r.put("commit", unsigned(r.tree(files()), "anchor"))
}

func (r *repository) verifier() *gitverify.Verifier {
	r.t.Helper()
	return r.verifierWith(gitverify.Options{})
}

func (r *repository) verifierWith(o gitverify.Options) *gitverify.Verifier {
	r.t.Helper()
	data, err := r.virtual.TrustedRootJSON()
	if err != nil {
		r.t.Fatal(err)
	}
	root, err := gitverify.ParseTrustedRoot(data)
	if err != nil {
		r.t.Fatal(err)
	}
	v, err := gitverify.New(root, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func request(anchor, candidate gitverify.ID) gitverify.Request {
	return gitverify.Request{Ref: "refs/heads/main", Candidate: candidate, Anchor: anchor}
}

// wantYes fails unless the request is answered with yes.
func (r *repository) wantYes(v *gitverify.Verifier, req gitverify.Request) gitverify.Verification {
	r.t.Helper()
	got, err := v.Verify(r.t.Context(), r, req)
	if err != nil {
		r.t.Fatalf("want yes, got %v", err)
	}
	if got.Commit() != req.Candidate {
		r.t.Fatalf("verified %s, not the candidate %s", got.Commit(), req.Candidate)
	}
	return got
}

// wantNo fails unless the request is refused with the code, about the commit.
func (r *repository) wantNo(v *gitverify.Verifier, req gitverify.Request, code string, commit gitverify.ID) gitverify.Refusal {
	r.t.Helper()
	got, err := v.Verify(r.t.Context(), r, req)
	var no *gitverify.Refusal
	if !errors.As(err, &no) {
		r.t.Fatalf("want a refusal with %s, got %v", code, err)
	}
	if got.Commit() != "" {
		r.t.Fatal("a refusal came with a verification")
	}
	if no.Code != code || no.Commit != commit {
		r.t.Fatalf("want %s about %s, got %v", code, commit, err)
	}
	if no.Hint == "" || no.Reason == "" || strings.ContainsAny(no.Error(), "\n\r\x1b") {
		r.t.Fatalf("not one clear line with reason and hint: %+v", no)
	}
	return *no
}
