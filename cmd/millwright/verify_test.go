package main

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// virtualRepository is a bare repository of loose objects, whose commits are
// signed by a Sigstore in this process: a thousandth of what gitsign takes.
type virtualRepository struct {
	t           *testing.T
	virtual     *sigstoretest.Virtual
	dir         string
	trustedRoot string
	names       map[string]string
	tick        int
}

const virtualIssuer = "https://issuer.virtual.test"

func newVirtualRepository(t *testing.T) *virtualRepository {
	t.Helper()
	v, err := sigstoretest.NewVirtual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	r := &virtualRepository{t: t, virtual: v, dir: t.TempDir(), names: map[string]string{}}
	root, err := v.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	r.trustedRoot = r.write("trusted_root.json", string(root))
	r.write("HEAD", "ref: refs/heads/main\n")
	r.write("config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
	return r
}

func (r *virtualRepository) write(name, text string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *virtualRepository) put(kind string, body []byte) string {
	r.t.Helper()
	loose := append(fmt.Appendf(nil, "%s %d\x00", kind, len(body)), body...)
	sum := sha1.Sum(loose)
	name := hex.EncodeToString(sum[:])
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := z.Write(loose); err != nil {
		r.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.write("objects/"+name[:2]+"/"+name[2:], packed.String())
	return name
}

func (r *virtualRepository) tree(files map[string]string) string {
	r.t.Helper()
	entries, below := map[string]string{}, map[string]map[string]string{}
	for path, text := range files {
		if dir, rest, ok := strings.Cut(path, "/"); ok {
			if below[dir] == nil {
				below[dir] = map[string]string{}
			}
			below[dir][rest] = text
			continue
		}
		entries[path] = "100644 " + path + "\x00" + r.raw(r.put("blob", []byte(text)))
	}
	for dir, files := range below {
		entries[dir+"/"] = "40000 " + dir + "\x00" + r.raw(r.tree(files))
	}
	var body strings.Builder
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		body.WriteString(entries[key])
	}
	return r.put("tree", []byte(body.String()))
}

func (r *virtualRepository) raw(id string) string {
	r.t.Helper()
	raw, err := hex.DecodeString(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(raw)
}

// commit signs as somebody, or not at all, and remembers the id by a name.
func (r *virtualRepository) commit(name, who string, files map[string]string, message string, parents ...string) string {
	r.t.Helper()
	r.tick++
	at := r.virtual.Now().Add(time.Duration(r.tick) * time.Minute)
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", r.tree(files))
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author A <%[1]s> %[2]d +0000\ncommitter A <%[1]s> %[2]d +0000\n\n%[3]s\n", who, at.Unix(), message)
	body := []byte(b.String())
	payload := sha256.Sum256(body)
	r.names[hex.EncodeToString(payload[:])] = name
	if who != "" {
		var err error
		if body, err = r.virtual.SignCommit(body, sigstoretest.SignOptions{Subject: who, Issuer: virtualIssuer, IssuedAt: at}); err != nil {
			r.t.Fatal(err)
		}
	}
	id := r.put("commit", body)
	r.names[id] = name
	return id
}

// named puts names for the ids, which differ from run to run.
func (r *virtualRepository) named(text string) string {
	for id, name := range r.names { // of commits, and of what was signed
		full := (name + strings.Repeat("-", len(id)))[:len(id)]
		text = strings.ReplaceAll(text, id, full)
		text = strings.ReplaceAll(text, id[:12], full[:12])
	}
	return text
}

const virtualPolicy = `apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: factory}
spec:
  version: 1
  repository: millwright.dev/test
  identities:
  - {name: alice, person: alice, issuer: "https://issuer.virtual.test", subject: alice@factory.test, roles: [maintainer, security]}
  - {name: bob, person: bob, issuer: "https://issuer.virtual.test", subject: bob@factory.test, roles: [security]}
  - {name: carol, person: carol, issuer: "https://issuer.virtual.test", subject: carol@factory.test, roles: [security]}
  - {name: releaser, issuer: "https://issuer.virtual.test", subject: releaser@factory.test, roles: [release]}
  rules:
  - {name: bases, paths: ["bases/**"], role: maintainer, threshold: 1}
  - {name: production, paths: ["overlays/production/**"], role: security, threshold: 2}
  - {name: trust, paths: ["factory-config/trust/**"], role: security, threshold: 2}
`

func virtualFiles(changes ...string) map[string]string {
	files := map[string]string{"factory-config/trust/policy.yaml": virtualPolicy, "bases/a.yaml": "a: 1\n", "overlays/production/a.yaml": "a: 1\n"}
	for i := 0; i+1 < len(changes); i += 2 {
		files[changes[i]] = changes[i+1]
	}
	return files
}

const approval = "Approve\n\nMillwright-Approve: millwright.dev/test refs/heads/main"

// story is a history in which alice changes a base, then production; bob
// approves; then alice changes production again.
func story(r *virtualRepository) map[string]string {
	production := virtualFiles("bases/a.yaml", "a: 2\n", "overlays/production/a.yaml", "a: 2\n")
	changed := virtualFiles("bases/a.yaml", "a: 2\n", "overlays/production/a.yaml", "a: 3\n")
	at := map[string]string{}
	at["anchor"] = r.commit("anchor", "", virtualFiles(), "anchor")
	at["base"] = r.commit("base", "alice@factory.test", virtualFiles("bases/a.yaml", "a: 2\n"), "a base\n\n@everyone \x1b[2J | <b>", at["anchor"])
	at["unapproved"] = r.commit("unapproved", "alice@factory.test", production, "production", at["base"])
	at["approved"] = r.commit("approved", "bob@factory.test", production, approval, at["unapproved"])
	at["merged"] = r.commit("merged", "alice@factory.test", production, "merge", at["base"], at["approved"])
	at["more"] = r.commit("more", "alice@factory.test", changed, "one more thing", at["approved"])
	at["void"] = r.commit("void", "alice@factory.test", changed, "merge", at["base"], at["more"])
	at["unsigned"] = r.commit("unsigned", "", production, "quickly", at["base"])
	return at
}

func TestVerifyExplainsItsAnswer(t *testing.T) {
	t.Parallel()
	r := newVirtualRepository(t)
	at := story(r)
	for name, code := range map[string]int{
		"unapproved": exitNo, // needs a second person
		"approved":   exitYes,
		"merged":     exitYes,
		"void":       exitNo, // the content changed after the approval
		"unsigned":   exitNo,
		"anchor":     exitYes,
	} {
		for output, file := range map[string]string{"text": ".txt", "json": ".json", "markdown": ".md"} {
			t.Run(name+file, func(t *testing.T) {
				t.Parallel()
				got, stdout, stderr := answer(t, "verify", "--repo", r.dir, "--trusted-root", r.trustedRoot, "-o", output, at["anchor"]+".."+at[name])
				if got != code || stderr != "" {
					t.Errorf("exit %d, want %d\n%s%s", got, code, stdout, stderr)
				}
				golden(t, "verify/"+name+file, r.named(stdout))
				if strings.Contains(stdout, "everyone") || strings.Contains(stdout, "null") {
					t.Errorf("a message of a commit, or a hole, is shown:\n%s", stdout)
				}
			})
		}
	}
}

func TestVerifyListsNothingBelowTheFloor(t *testing.T) {
	t.Parallel()
	r := newVirtualRepository(t)
	at := story(r)
	code, stdout, stderr := answer(t, "verify", "--repo", r.dir, "--trusted-root", r.trustedRoot, "-o", "json", "--floor", at["base"], at["anchor"]+".."+at["approved"])
	var e explanation
	if err := json.Unmarshal([]byte(stdout), &e); err != nil || code != exitYes {
		t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if len(e.Steps) != 1 || e.Steps[0].Commit != at["approved"] || e.Floor != at["base"] {
		t.Errorf("explained: %+v", e)
	}
}

// tag puts a signed tag of a commit under refs/tags.
func (r *virtualRepository) tag(ref, name, who, commit string) {
	r.t.Helper()
	at := r.virtual.Now().Add(time.Hour)
	body := fmt.Appendf(nil, "object %s\ntype commit\ntag %s\ntagger A <%s> %d +0000\n\n%s\n", commit, name, who, at.Unix(), name)
	armored, err := r.virtual.Sign(body, sigstoretest.SignOptions{Subject: who, Issuer: virtualIssuer, IssuedAt: at})
	if err != nil {
		r.t.Fatal(err)
	}
	id := r.put("tag", append(body, armored...))
	r.names[id] = "tag-" + name
	r.write("refs/tags/"+ref, id+"\n")
}

func TestVerifyKnowsWhoReleased(t *testing.T) {
	t.Parallel()
	r := newVirtualRepository(t)
	at := story(r)
	r.tag("v1", "v1", "releaser@factory.test", at["approved"])
	r.tag("v2", "v1", "releaser@factory.test", at["approved"])
	r.tag("v3", "v3", "alice@factory.test", at["approved"])
	r.tag("v4", "v4", "releaser@factory.test", at["unapproved"])
	for tag, code := range map[string]int{
		"v1": exitYes,
		"v2": exitNo, // it calls itself v1
		"v3": exitNo, // alice does not release
		"v4": exitNo, // nobody approved its commit
	} {
		for output, file := range map[string]string{"text": ".txt", "json": ".json", "markdown": ".md"} {
			got, stdout, stderr := answer(t, "verify", "--repo", r.dir, "--trusted-root", r.trustedRoot, "-o", output, at["anchor"]+"..refs/tags/"+tag)
			if got != code || stderr != "" {
				t.Errorf("%s: exit %d, want %d\n%s%s", tag, got, code, stdout, stderr)
			}
			if tag == "v1" || output == "text" {
				golden(t, "verify/tag-"+tag+file, r.named(stdout))
			}
		}
	}
}

func TestVerifyTakesBranchesByTheirNames(t *testing.T) {
	t.Parallel()
	r := newVirtualRepository(t)
	at := story(r)
	r.write("refs/remotes/origin/main", at["base"]+"\n")
	r.write("refs/heads/feature", at["approved"]+"\n")
	code, stdout, stderr := answer(t, "verify", "--repo", r.dir, "--trusted-root", r.trustedRoot, "origin/main..feature")
	if code != exitYes || !strings.Contains(stdout, at["base"][:12]+" to "+at["approved"][:12]) {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

func TestVerifyCannotTellWhatIsNotThere(t *testing.T) {
	t.Parallel()
	r := newVirtualRepository(t)
	at := story(r)
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a commit that is not there":  {[]string{at["anchor"] + ".." + id("1")}, exitUnknown, id("1")},
		"a trusted root that is none": {[]string{"--trusted-root", filepath.Join(r.dir, "HEAD"), at["anchor"] + ".." + at["approved"]}, exitUnknown, "TrustedRootUnavailable"},
		"an output that is none":      {[]string{"-o", "yaml", at["anchor"] + ".." + at["approved"]}, exitUsage, "text, json or markdown"},
		"three dots":                  {[]string{at["anchor"] + "..." + at["approved"]}, exitUsage, "BASE..HEAD"},
		"a floor that is not there":   {[]string{"--floor", "nothere", at["anchor"] + ".." + at["approved"]}, exitUnknown, "nothere"},
		"a ref that is none":          {[]string{"--ref", "main", at["anchor"] + ".." + at["approved"]}, exitUnknown, "full name of a ref"},
	} {
		code, stdout, stderr := answer(t, append([]string{"verify", "--repo", r.dir, "--trusted-root", r.trustedRoot}, c.args...)...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", name, code, c.code, c.want, stdout, stderr)
		}
	}
}
