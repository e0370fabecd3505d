package main

import (
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/source"
)

func TestAHeartbeatIsASignedTagOfItsOwnRef(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	remote := t.TempDir()
	s.ask("init", "-q", "--bare", remote)
	s.ask("remote", "add", "origin", remote)
	s.ask("push", "-q", "origin", "main")
	s.ask("fetch", "-q", "origin")
	tip := s.ask("rev-parse", "main")
	robot := s.environment(person("Robot"))
	// The second one takes the place of the first.
	for range 2 {
		code, stdout, stderr := s.run(shell{env: robot}, "heartbeat", "--push", "origin")
		if code != exitYes || stderr != "" || !strings.Contains(stdout, tip) {
			t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
		}
	}
	body, err := s.sigstore.Git(t.Context(), s.dir, sigstoretest.Committer{Unsigned: true}, "cat-file", "tag", "refs/millwright/heartbeat")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(body, "object "+tip+"\ntype commit\ntag heartbeat\ntagger Robot <robot@factory.example> ") {
		t.Errorf("the tag:\n%s", body)
	}
	at := strings.Index(body, "-----BEGIN SIGNED MESSAGE-----\n")
	claim, err := gitverify.ClaimOfSignature([]byte(body[at:]), []byte(body[:at]))
	if err != nil || claim.Subject != "robot@factory.example" {
		t.Errorf("claims %+v, %v", claim, err)
	}
	s.believes(gitverify.ID(s.ask("rev-parse", "refs/millwright/heartbeat")), gitverify.ID(tip))
	if tags := s.ask("for-each-ref", "refs/tags"); tags != "" {
		t.Errorf("it left a tag behind: %s", tags)
	}
	here, there := s.ask("rev-parse", "refs/millwright/heartbeat"), s.ask("ls-remote", "origin", "refs/millwright/heartbeat")
	if !strings.HasPrefix(there, here) {
		t.Errorf("the remote has %s, not %s", there, here)
	}
}

// believes asks the verifier about a heartbeat, as a controller does.
func (s *studio) believes(tag, tip gitverify.ID) {
	s.t.Helper()
	root, err := gitverify.LoadTrustedRootFile(s.sigstore.TrustedRootPath)
	if err != nil {
		s.t.Fatal(err)
	}
	verifier, err := gitverify.New(root, gitverify.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	store, err := source.OpenLocal(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := verifier.Verify(s.t.Context(), store, gitverify.Request{Ref: "refs/heads/main", Candidate: tip, Anchor: tip}); err != nil {
		s.t.Fatal(err)
	}
	beat, err := verifier.Heartbeat(s.t.Context(), store, gitverify.HeartbeatRequest{Tag: tag, Anchor: tip})
	if err != nil || beat.Target != tip || !beat.Known || beat.Signer.Name != "robot" {
		s.t.Errorf("heartbeat: %+v, %v", beat, err)
	}
}

func TestAHeartbeatThatNobodyBelievesIsNotMade(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	for name, c := range map[string]struct {
		who  string
		args []string
		code int
		want string
	}{
		"somebody without the role":  {"Alice", nil, exitNo, "role heartbeat"},
		"somebody unknown":           {"Mallory", nil, exitNo, "mallory@factory.example"},
		"a commit that is not there": {"Robot", []string{"nothere"}, exitNo, "git fetch"},
		"a branch that is not there": {"Robot", []string{"--ref", "refs/heads/nothere"}, exitNo, "git fetch"},
		"an option for a commit":     {"Robot", []string{"--", "--all"}, exitUsage, "begins with a dash"},
		"two commits":                {"Robot", []string{"a", "b"}, exitUsage, "name the COMMIT"},
	} {
		code, stdout, stderr := s.run(shell{env: s.environment(person(c.who))}, append([]string{"heartbeat"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", name, code, c.code, c.want, stdout, stderr)
		}
	}
	if refs := s.ask("for-each-ref", "refs/millwright"); refs != "" {
		t.Errorf("a heartbeat was made: %s", refs)
	}
}
