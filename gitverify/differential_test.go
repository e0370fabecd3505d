package gitverify_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

var (
	differentialSeed   = flag.Uint64("differential.seed", 1, "seed of the mutations that are compared with git and gitsign")
	differentialSample = flag.Int("differential.sample", 40, "number of mutations that git and gitsign are asked about; we are asked about 2000")
)

// opinions are what the four judges say of one object: Y or N. Git's fsck looks
// at the form alone and takes anything for a signature.
type opinions struct{ ours, gitsign, git, fsck byte }

func (o opinions) String() string { return string([]byte{o.ours, o.gitsign, o.git, o.fsck}) }

// agree says whether there is nothing to explain: those who look at signatures
// say the same, and what git would not write is not accepted.
func (o opinions) agree() bool {
	return o.ours == o.gitsign && o.ours == o.git && (o.fsck == 'Y' || o.ours == 'N')
}

func yes(ok bool) byte {
	if ok {
		return 'Y'
	}
	return 'N'
}

// bench is a Git repository on disk beside the one in memory, and a gitsign
// that trusts the same Sigstore as our verifier.
type bench struct {
	*repository
	dir, gitsign string
	env          []string
	subject      string
	issuer       string
	verifier     *gitverify.Verifier
	anchor       gitverify.ID
}

// newBench compares in a repository of the Sigstore in this process. It lives
// now, because gitsign looks at the clock.
func newBench(t *testing.T) *bench {
	t.Helper()
	virtual, err := sigstoretest.NewVirtual(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := &repository{t: t, virtual: virtual, objects: map[gitverify.ID]object{}, broken: map[gitverify.ID]error{}}
	trusted, err := virtual.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		repository: r, dir: t.TempDir(), gitsign: sigstoretest.Shared(t).Gitsign(),
		subject: alice, issuer: issuer, verifier: r.verifier(), anchor: r.anchor(),
	}
	b.env = peerEnv(t, trusted)
	b.run("git", "init", "--quiet", ".") // gitsign finds no bare one
	return b
}

// peerEnv is the environment in which gitsign trusts what a trusted root says.
// It must ask nobody: what would be asked is on a port where nobody listens.
func peerEnv(t *testing.T, trustedRoot []byte) []string {
	t.Helper()
	var tr struct {
		Tlogs, Ctlogs          []struct{ PublicKey struct{ RawBytes []byte } }
		CertificateAuthorities []struct{ CertChain certificateChain }
		TimestampAuthorities   []struct{ CertChain certificateChain }
	}
	if err := json.Unmarshal(trustedRoot, &tr); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, blocks ...[]byte) string {
		path, content := filepath.Join(dir, name), []byte(nil)
		for _, b := range blocks {
			content = append(content, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})...)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const nobody = "http://127.0.0.1:1"
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1",
		"GITSIGN_FULCIO_URL=" + nobody, "GITSIGN_REKOR_URL=" + nobody, "TUF_MIRROR=" + nobody, "TUF_ROOT=" + dir,
		"GITSIGN_FULCIO_ROOT=" + write("fulcio.crt", "CERTIFICATE", tr.CertificateAuthorities[0].CertChain.raw()...),
		"GITSIGN_TIMESTAMP_CERT_CHAIN=" + write("tsa.crt", "CERTIFICATE", tr.TimestampAuthorities[0].CertChain.raw()...),
		"SIGSTORE_REKOR_PUBLIC_KEY=" + write("rekor.pub", "PUBLIC KEY", tr.Tlogs[0].PublicKey.RawBytes),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + write("ct.pub", "PUBLIC KEY", tr.Ctlogs[0].PublicKey.RawBytes),
	}
}

type certificateChain struct{ Certificates []struct{ RawBytes []byte } }

func (c certificateChain) raw() [][]byte {
	var raw [][]byte
	for _, cert := range c.Certificates {
		raw = append(raw, cert.RawBytes)
	}
	return raw
}

// command runs a program in the repository, with an end to its time.
func (b *bench) command(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // gitsign talks to the terminal when there is one
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		b.t.Fatalf("%s %v took more than a minute", name, args)
	}
	return string(out), err
}

func (b *bench) run(name string, args ...string) {
	b.t.Helper()
	if out, err := b.command(name, args...); err != nil {
		b.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// store writes all objects of the memory as loose ones, also those that no git
// would write.
func (b *bench) store() {
	b.t.Helper()
	for id, o := range b.objects {
		path := filepath.Join(b.dir, ".git", "objects", string(id[:2]), string(id[2:]))
		var loose bytes.Buffer
		w := zlib.NewWriter(&loose)
		fmt.Fprintf(w, "%s %d\x00%s", o.kind, len(o.body), o.body)
		if err := w.Close(); err != nil {
			b.t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(path, loose.Bytes(), 0o600); err != nil && !errors.Is(err, os.ErrExist) {
			b.t.Fatal(err)
		}
	}
}

// fsck is what git fsck finds wrong with the form of objects.
func (b *bench) fsck() map[gitverify.ID]string {
	b.t.Helper()
	out, err := b.command("git", "-c", "core.commitGraph=false", "fsck", "--strict", "--full", "--no-dangling", "--no-progress")
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	faults := map[gitverify.ID]string{}
	for line := range strings.Lines(out) {
		// error in commit 1234…: multipleAuthors: invalid format - multiple 'author' lines
		fields := strings.Fields(strings.ReplaceAll(line, ":", " "))
		if len(fields) > 4 && fields[1] == "in" && (fields[2] == "commit" || fields[2] == "tag") {
			faults[gitverify.ID(fields[3])] = fields[4]
		}
	}
	return faults
}

// ask asks us, and gitsign and git too where the slow ones are wanted.
func (b *bench) ask(id gitverify.ID, slow bool) (o opinions, no *gitverify.Refusal) {
	b.t.Helper()
	_, err := b.verifier.Verify(b.t.Context(), b, request(b.anchor, id))
	if err != nil && !errors.As(err, &no) && !errors.Is(err, gitverify.ErrObjectMissing) {
		b.t.Fatalf("%s: neither yes nor no: %v", id, err)
	}
	o = opinions{yes(err == nil), '-', '-', '-'}
	if slow {
		_, err = b.command(b.gitsign, "verify", "--certificate-identity", b.subject, "--certificate-oidc-issuer", b.issuer, string(id))
		o.gitsign = yes(err == nil)
		_, err = b.command("git", "-c", "gpg.format=x509", "-c", "gpg.x509.program="+b.gitsign, "-c", "gpg.program=false", "-c", "gpg.ssh.program=false",
			"verify-commit", string(id))
		o.git = yes(err == nil)
	}
	return o, no
}

// askAll asks about many objects, on all cores.
func (b *bench) askAll(ids []gitverify.ID) (all []opinions, refusals []*gitverify.Refusal) {
	b.t.Helper()
	b.store()
	faults := b.fsck()
	all, refusals = make([]opinions, len(ids)), make([]*gitverify.Refusal, len(ids))
	work, wait := make(chan int), sync.WaitGroup{}
	for range 2 {
		wait.Go(func() {
			for i := range work {
				all[i], refusals[i] = b.ask(ids[i], true)
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

// code is how a refusal is shown beside opinions.
func code(no *gitverify.Refusal) string {
	if no == nil {
		return "accepted, or an object is missing"
	}
	return no.Code
}

func TestEveryDisagreementWithGitsignAndGitIsAKnownOne(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("asks git and gitsign a few hundred times")
	}
	b := newBench(t)
	s := scene{b.repository, b.anchor}
	specimens := specimens()
	ids := make([]gitverify.ID, len(specimens))
	for i, sp := range specimens {
		ids[i] = b.put("commit", sp.make(s))
	}
	all, refusals := b.askAll(ids)
	for i, sp := range specimens {
		if got := all[i].String(); got != sp.want {
			t.Errorf("%s: ours, gitsign, git, fsck say %s (ours: %s), the table says %q", sp.name, got, code(refusals[i]), sp.want)
		}
		if known := sp.right != "" && sp.why != ""; known == all[i].agree() {
			t.Errorf("%s: %s, and the table says of it that %q is right: %q", sp.name, all[i], sp.right, sp.why)
		}
	}
}

// realBench compares in a repository of the real git and the real gitsign, and
// gives a commit to mutate.
func realBench(t *testing.T) (b *bench, tip gitverify.ID) {
	t.Helper()
	w := newWorkshop(t)
	anchor := w.commit(nobody, "anchor")
	w.write("a", "1\n")
	tip = w.commit(aliceCommits, "change")
	trusted, err := w.sigstore.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	return &bench{
		repository: w.load(), dir: w.dir, gitsign: w.sigstore.Gitsign(), env: peerEnv(t, trusted),
		subject: alice, issuer: w.sigstore.IssuerURL(sigstoretest.Person), verifier: w.verifier(), anchor: anchor,
	}, tip
}

func TestEveryDisagreementOverAMutationIsOfAKnownKind(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("asks git and gitsign a few dozen times")
	}
	t.Logf("replay with -differential.seed=%d", *differentialSeed)
	t.Run("of a commit made in this process", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.compareMutations(t, scene{b.repository, b.anchor}.signed(honest))
	})
	t.Run("of a commit made by git and gitsign", func(t *testing.T) {
		t.Parallel()
		b, tip := realBench(t)
		b.compareMutations(t, tip)
	})
}

// compareMutations asks everybody about some mutations of a commit, and us
// about many more.
func (b *bench) compareMutations(t *testing.T, tip gitverify.ID) {
	t.Helper()
	rng := rand.New(rand.NewPCG(*differentialSeed, 0))
	good := b.objects[tip].body
	mutations := make([]mutation, 2000)
	ids := make([]gitverify.ID, len(mutations))
	for i := range mutations {
		mutations[i] = mutate(rng, good)
		ids[i] = b.put("commit", mutations[i].bytes)
	}
	n := min(*differentialSample, len(ids))
	all, refusals := b.askAll(append([]gitverify.ID{tip}, ids[:n]...))
	if all[0].String() != "YYYY" {
		t.Fatalf("the commit itself: %s (%s)", all[0], code(refusals[0]))
	}
	for i, o := range all[1:] {
		if !o.agree() && explain(mutations[i], o) == "" {
			t.Errorf("%s: ours, gitsign, git, fsck say %s (ours: %s); no kind of disagreement fits", mutations[i], o, code(refusals[i+1]))
		}
	}
	for i, id := range ids {
		if o, _ := b.ask(id, false); o.ours == 'Y' && !bytes.Equal(mutations[i].bytes, good) {
			t.Errorf("%s: accepted", mutations[i])
		}
	}
}
