package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// studio is a factory's repository with the people who work on it, who use the
// real git and the real gitsign.
type studio struct {
	t        *testing.T
	sigstore *sigstoretest.Sigstore
	dir      string
}

func person(name string) sigstoretest.Committer {
	return sigstoretest.Committer{Name: name, Email: strings.ToLower(name) + "@factory.example"}
}

const studioPolicy = `apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: factory}
spec:
  version: 1
  repository: millwright.dev/test
  identities:
  - {name: alice, person: alice, issuer: "ISSUER", subject: alice@factory.example, roles: [maintainer, security]}
  - {name: bob, person: bob, issuer: "ISSUER", subject: bob@factory.example, roles: [maintainer, security]}
  - {name: carol, person: carol, issuer: "ISSUER", subject: carol@factory.example, roles: [maintainer]}
  - {name: dave, person: dave, issuer: "ISSUER", subject: dave@factory.example, roles: [gardener]}
  - {name: robot, issuer: "ISSUER", subject: robot@factory.example, roles: [maintainer, heartbeat]}
  rules:
  - {name: overlays, paths: ["overlays/**", "bases/**"], role: maintainer, threshold: 1}
  - {name: production, paths: ["overlays/production/**"], role: security, threshold: 2}
  - {name: rendered, affects: [overlays/production], role: security, threshold: 2}
  - {name: trust, paths: ["factory-config/trust/**"], role: security, threshold: 2}
`

// newStudio has an anchor on main.
func newStudio(t *testing.T) *studio {
	t.Helper()
	s := &studio{t: t, sigstore: sigstoretest.Shared(t), dir: t.TempDir()}
	s.git(person("Alice"), "init", "-q")
	s.write("factory-config/trust/policy.yaml", strings.ReplaceAll(studioPolicy, "ISSUER", s.sigstore.IssuerURL(sigstoretest.Person)))
	s.write("bases/app.yaml", "a: 1\n")
	s.write("bases/other.yaml", "a: 1\n")
	anchor := person("Alice")
	anchor.Unsigned = true
	s.commit(anchor, "anchor")
	return s
}

func (s *studio) write(path, text string) {
	s.t.Helper()
	path = filepath.Join(s.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// git runs git for somebody; only commits and tags are signed.
func (s *studio) git(who sigstoretest.Committer, args ...string) string {
	s.t.Helper()
	out, err := s.sigstore.Git(s.t.Context(), s.dir, who, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (s *studio) ask(args ...string) string {
	s.t.Helper()
	return s.git(sigstoretest.Committer{Unsigned: true}, args...)
}

func (s *studio) commit(who sigstoretest.Committer, message string) string {
	s.t.Helper()
	id, err := s.sigstore.Commit(s.t.Context(), s.dir, who, message)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// feature makes a branch on which Alice changes production.
func (s *studio) feature() (tip string) {
	s.t.Helper()
	s.ask("switch", "-q", "-c", "feature")
	s.write("overlays/production/app.yaml", "replicas: 3\n")
	return s.commit(person("Alice"), "three replicas")
}

// environment is that of somebody's shell: their git configuration and their
// token, and with it their identity.
func (s *studio) environment(who sigstoretest.Committer, config ...string) []string {
	s.t.Helper()
	token, err := s.sigstore.Token(s.t.Context(), sigstoretest.Person, who.Email, 5*time.Minute)
	if err != nil {
		s.t.Fatal(err)
	}
	config = append([]string{
		"user.name", who.Name, "user.email", who.Email, "gpg.format", "x509",
		"gpg.x509.program", s.sigstore.Gitsign(), "commit.gpgSign", "false",
	}, config...)
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(config)/2)}
	for i := 0; i+1 < len(config); i += 2 {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i/2, config[i]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i/2, config[i+1]))
	}
	return append(env, s.sigstore.GitsignEnv(token, false)...)
}

// shell is where somebody types a command.
type shell struct {
	env      []string
	input    string
	terminal bool
}

func (s *studio) run(sh shell, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(sh.input), terminal: sh.terminal, env: sh.env, out: &out, err: &err, now: time.Now}
	code = a.run(s.t.Context(), slices.Insert(args, 1, "--repo", s.dir))
	return code, out.String(), err.String()
}

func TestAnApprovalIsAnEmptyCommitThatSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	tip := s.feature()
	// What is staged, and what lies about, is not approved.
	s.write("overlays/production/app.yaml", "replicas: 300\n")
	s.ask("add", "--all")
	s.write("bases/app.yaml", "a: not staged\n")
	before := s.ask("status", "--porcelain")
	// The hooks are whoever's wrote the repository: none of them runs.
	for _, hook := range []string{"pre-commit", "commit-msg", "prepare-commit-msg", "post-commit", "reference-transaction"} {
		path := filepath.Join(s.dir, ".git/hooks", hook)
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho ran >>"+s.dir+"/.git/ran\nexit 1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}

	code, stdout, stderr := s.run(shell{env: s.environment(person("Bob"))}, "approve", "--yes")
	if code != exitYes || stderr != "" {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	for _, want := range []string{
		"overlays/production/app.yaml", "rule production: 2 of role security (alice, bob), for 1 path\n",
		"rule overlays: 1 of role maintainer (alice, bob, carol), for 1 path\n", "rule rendered", "1 commit signed as alice@factory.example",
		"approved by bob@factory.example",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	body, err := s.sigstore.Git(t.Context(), s.dir, sigstoretest.Committer{Unsigned: true}, "cat-file", "commit", "feature")
	if err != nil {
		t.Fatal(err)
	}
	claim, err := gitverify.ClaimOfCommit([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(claim.Tree); got != s.ask("rev-parse", tip+"^{tree}") {
		t.Errorf("the approval has the tree %s, not its parent's", got)
	}
	if !slices.Equal(claim.Parents, []gitverify.ID{gitverify.ID(tip)}) {
		t.Errorf("the parents are %v, not %s", claim.Parents, tip)
	}
	if !strings.HasSuffix(string(claim.Message), "\n\nMillwright-Approve: millwright.dev/test refs/heads/main\n") || strings.Count(string(claim.Message), "Millwright-Approve") != 1 {
		t.Errorf("the message does not end with the one trailer:\n%s", claim.Message)
	}
	if claim.Subject != "bob@factory.example" || claim.Committer != "bob@factory.example" {
		t.Errorf("signed by %s, committed by %s", claim.Subject, claim.Committer)
	}
	if after := s.ask("status", "--porcelain"); after != before {
		t.Errorf("index or work tree changed:\n%s\nwas:\n%s", after, before)
	}
	if _, err := os.Stat(filepath.Join(s.dir, ".git/ran")); err == nil {
		t.Error("a hook of the repository was run")
	}
}

func TestAnApprovalThatWouldBeWorthNothingIsNotMade(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	alice := person("Alice")
	anchor := s.ask("rev-parse", "main")
	on := func(branch string, do func()) {
		s.ask("switch", "-q", "-c", branch, anchor)
		do()
	}
	on("unsigned", func() {
		s.write("overlays/local/app.yaml", "a: 2\n")
		plain := alice
		plain.Unsigned = true
		s.commit(plain, "unsigned")
	})
	on("nobody", func() { s.write("elsewhere", "x\n"); s.commit(alice, "a path without a rule") })
	on("same", func() { s.commit(alice, "nothing") })
	on("conflict", func() { s.write("bases/app.yaml", "a: 3\n"); s.commit(alice, "both sides") })
	on("good", func() { s.write("bases/other.yaml", "a: 3\n"); s.commit(alice, "another file") })
	s.ask("switch", "-q", "--orphan", "alone")
	s.write("bases/app.yaml", "a: 4\n")
	s.commit(alice, "another root")
	s.ask("switch", "-q", "main")
	s.write("bases/app.yaml", "a: 5\n")
	s.commit(alice, "main went on")
	s.ask("switch", "-q", "--detach", "main")

	bob := s.environment(person("Bob"))
	stranger := person("Mallory")
	misnamed := s.environment(person("Bob"), "user.email", "bobby@home.example")
	cases := map[string]struct {
		env  []string
		args []string
		code int
		want string
	}{
		"no branch is checked out":             {bob, nil, exitNo, "name the branch"},
		"a branch that is not there":           {bob, []string{"nothere"}, exitNo, "git fetch"},
		"an option for a branch":               {bob, []string{"--", "--upload-pack=x"}, exitUsage, "begins with a dash"},
		"an option for a remote":               {bob, []string{"good", "--push=--receive-pack=x"}, exitUsage, "begins with a dash"},
		"two branches":                         {bob, []string{"good", "same"}, exitUsage, "name the BRANCH"},
		"a tag to merge into":                  {bob, []string{"good", "--ref", "refs/tags/v1"}, exitUsage, "refs/heads/main"},
		"an unsigned commit":                   {bob, []string{"unsigned", "-y"}, exitNo, "is not signed"},
		"a path that nobody may change":        {bob, []string{"nobody", "-y"}, exitNo, "no rule of the policy lets anybody change elsewhere"},
		"the same files":                       {bob, []string{"same", "-y"}, exitNo, "nothing to approve"},
		"the branch that is merged into":       {bob, []string{"main", "-y"}, exitNo, "--base"},
		"a branch that is merged already":      {bob, []string{"main", "-y", "--base", "main"}, exitNo, "nothing to approve"},
		"a base that it does not descend from": {bob, []string{"good", "-y", "--base", "main"}, exitNo, "does not descend"},
		"a base that is none":                  {bob, []string{"good", "-y", "--base", "nothere"}, exitNo, "no commit"},
		"a base without a policy":              {bob, []string{"alone", "-y", "--base", "alone"}, exitNo, "nothing to approve"},
		"another root":                         {bob, []string{"alone", "-y"}, exitNo, "no common history"},
		"a file that both changed":             {bob, []string{"conflict", "-y"}, exitNo, "both changed bases/app.yaml"},
		"nobody to ask":                        {bob, []string{"good"}, exitUsage, "--yes"},
		"somebody whom the policy lacks":       {s.environment(stranger), []string{"good", "-y"}, exitNo, "mallory@factory.example"},
		"an address that is not the signer's":  {misnamed, []string{"good", "-y"}, exitNo, "git config user.email bob@factory.example"},
		"git that signs with PGP":              {s.environment(person("Bob"), "gpg.format", "openpgp"), []string{"good", "-y"}, exitUnknown, "gpg.format x509"},
		"gitsign without its servers":          {append(slices.Clone(bob), "GITSIGN_FULCIO_URL=http://127.0.0.1:1"), []string{"good", "-y"}, exitUnknown, "NotSigned"},
		"gitsign without the log's proof":      {append(slices.Clone(bob), "GITSIGN_REKOR_MODE=online"), []string{"good", "-y"}, exitNo, "rekorMode=offline"},
	}
	refs := s.ask("for-each-ref")
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := s.run(shell{env: c.env}, append([]string{"approve"}, c.args...)...)
			if code != c.code || !strings.Contains(stderr, c.want) {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, c.code, c.want, stdout, stderr)
			}
			if lines := strings.Count(strings.TrimSpace(stderr), "\n"); lines > 2 || strings.ContainsAny(stderr, "\x1b\r\x00") {
				t.Errorf("not one printable line:\n%s", stderr)
			}
		})
	}
	if after := s.ask("for-each-ref"); after != refs {
		t.Errorf("a ref moved:\n%s\nwas:\n%s", after, refs)
	}
	// The twin that differs in nothing but that it may be approved.
	if code, stdout, stderr := s.run(shell{env: bob}, "approve", "good", "-y"); code != exitYes || !strings.Contains(stdout, "has gone on since") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

func TestWhoeverCountsForNothingIsToldSo(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	s.feature()
	for who, want := range map[string]string{"Carol": "", "Robot": "a machine", "Alice": "somebody else", "Dave": "none of the roles that are asked for (maintainer, security)"} {
		code, stdout, stderr := s.run(shell{env: s.environment(person(who))}, "approve", "-y")
		if code != exitYes || !strings.Contains(stderr, want) || (want == "") != (stderr == "") {
			t.Errorf("%s: exit %d, want %q\n%s%s", who, code, want, stdout, stderr)
		}
	}
}

func TestATerminalIsAskedAndSilenceIsNo(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	tip := s.feature()
	bob := s.environment(person("Bob"))
	for _, input := range []string{"", "\n", "n\n", "yesterday\n"} {
		code, stdout, stderr := s.run(shell{env: bob, input: input, terminal: true}, "approve")
		if code != exitNo || !strings.Contains(stdout, "approve this as Bob <bob@factory.example>? [y/N]") || !strings.Contains(stderr, "not approved") {
			t.Errorf("%q: exit %d\n%s%s", input, code, stdout, stderr)
		}
	}
	if now := s.ask("rev-parse", "feature"); now != tip {
		t.Errorf("the branch moved to %s", now)
	}
	if code, stdout, stderr := s.run(shell{env: bob, input: "y\n", terminal: true}, "approve"); code != exitYes {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

func TestSigningMayLeaveABrowserBehind(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	s.feature()
	program := filepath.Join(t.TempDir(), "gitsign")
	script := "#!/bin/sh\nsleep 30 &\nexec " + s.sigstore.Gitsign() + " \"$@\"\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	code, stdout, stderr := s.run(shell{env: s.environment(person("Bob"), "gpg.x509.program", program)}, "approve", "-y")
	if code != exitYes || time.Since(began) > 25*time.Second {
		t.Errorf("exit %d after %s\n%s%s", code, time.Since(began), stdout, stderr)
	}
}

// Where only people were missing, as for a rule about what is rendered, an
// approval on top of the followed branch itself completes it.
func TestTheFollowedBranchIsApprovedAgainstTheLastAcceptedCommit(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	accepted := s.ask("rev-parse", "main")
	s.write("overlays/production/app.yaml", "replicas: 3\n")
	s.commit(person("Alice"), "three replicas")
	bob := s.environment(person("Bob"))
	if code, stdout, stderr := s.verify(accepted, "main"); code != exitNo {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := s.run(shell{env: bob}, "approve", "-y", "--base", accepted); code != exitYes {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := s.verify(accepted, "main"); code != exitYes {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

// The names of files are whoever's made them.
func TestAnApprovalShowsHostileNamesAsText(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	s.ask("switch", "-q", "-c", "feature")
	s.write("bases/x\x1b[2J\nD bases/guard.yaml\u202e", "x\n")
	s.commit(person("Alice"), "a name")
	code, stdout, stderr := s.run(shell{env: s.environment(person("Bob"))}, "approve", "-y")
	if code != exitYes || strings.ContainsAny(stdout, "\x1b\u202e") || strings.Contains(stdout, "\nD bases") {
		t.Errorf("exit %d\n%q\n%s", code, stdout, stderr)
	}
}

func TestAnApprovalIsPushedOnlyOntoWhatItApproves(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	remote := t.TempDir()
	s.ask("init", "-q", "--bare", remote)
	s.ask("remote", "add", "origin", remote)
	s.feature()
	s.ask("push", "-q", "origin", "main", "feature")
	bob := s.environment(person("Bob"))
	if code, stdout, stderr := s.run(shell{env: bob}, "approve", "-y", "--push", "origin"); code != exitYes || !strings.Contains(stdout, "pushed to origin") {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	if here, there := s.ask("rev-parse", "feature"), s.ask("ls-remote", "origin", "refs/heads/feature"); !strings.HasPrefix(there, here) {
		t.Errorf("the remote has %s, not %s", there, here)
	}
	// Alice goes on meanwhile: Bob's next approval is of what he has seen.
	seen := s.ask("rev-parse", "feature")
	s.write("overlays/production/app.yaml", "replicas: 4\n")
	s.commit(person("Alice"), "four replicas")
	s.ask("push", "-q", "origin", "feature")
	s.ask("reset", "-q", "--hard", seen)
	code, stdout, stderr := s.run(shell{env: bob}, "approve", "-y", "--push", "origin")
	if code != exitUnknown || !strings.Contains(stderr, "NotPushed") || strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}
