package gitverify_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// kept is a verifier that keeps its frontier in a file.
func (r *repository) kept(file, key, build string) *gitverify.Verifier {
	return r.verifierWith(gitverify.Options{FrontierFile: file, FrontierKey: bytes.Repeat([]byte(key), 32), Build: build})
}

func TestARestartContinuesFromTheFrontier(t *testing.T) {
	t.Parallel()
	s := strictScene(t)
	line := []gitverify.ID{s.anchor}
	for i := range 20 {
		line = append(line, s.by("alice", "c", strictFiles("docs/x", fmt.Sprint(i)), line[i]))
	}
	tip := line[len(line)-1]
	file := filepath.Join(t.TempDir(), "frontier")
	first := s.wantYes(s.kept(file, "k", "1"), request(s.anchor, line[15]))
	_ = first

	before := s.reads
	again := s.wantYes(s.kept(file, "k", "1"), request(s.anchor, tip))
	if n := s.reads - before; n > 5*6+10 {
		t.Errorf("read %d objects where five commits are new", n)
	}
	cold := s.wantYes(s.verifier(), request(s.anchor, tip))
	if fmt.Sprintf("%+v", again.Steps()) != fmt.Sprintf("%+v", cold.Steps()) || again.PolicyDigest() != cold.PolicyDigest() || !again.FreshAt().Equal(cold.FreshAt()) {
		t.Errorf("restarted %+v, cold %+v", again.Steps(), cold.Steps())
	}
	// What the second process added is there for the third.
	before = s.reads
	s.wantYes(s.kept(file, "k", "1"), request(s.anchor, tip))
	if n := s.reads - before; n > 8 {
		t.Errorf("read %d objects where nothing is new", n)
	}
}

func TestAFrontierThatIsNotOursMeansVerifyingAgain(t *testing.T) { // row C25
	t.Parallel()
	s := strictScene(t)
	evil := s.put("commit", unsigned(s.tree(strictFiles("docs/x", "evil")), "unsigned", s.anchor))
	good := s.by("alice", "c", strictFiles("docs/x", "1"), s.anchor)
	next := s.by("alice", "c", strictFiles("docs/x", "2"), good)
	dir := t.TempDir()
	written := func() (string, []byte) {
		file := filepath.Join(dir, "f")
		s.wantYes(s.kept(file, "k", "1"), request(s.anchor, next))
		all, err := filepath.Glob(file + "-*")
		if err != nil || len(all) != 1 {
			t.Fatalf("%v %v", all, err)
		}
		data, err := os.ReadFile(all[0])
		if err != nil {
			t.Fatal(err)
		}
		return all[0], data
	}
	path, data := written()
	lines := bytes.SplitAfter(data, []byte("\n"))
	for name, edited := range map[string][]byte{
		"the accepted commit exchanged": bytes.ReplaceAll(data, []byte(next), []byte(evil)),
		"the first step dropped":        bytes.Join(lines[1:], nil),
		"the steps turned round":        append(append([]byte{}, lines[1]...), lines[0]...),
		"the last line cut":             data[:len(data)-10],
		"a line more":                   append(bytes.Clone(data), lines[0]...),
		"nothing":                       {},
		"noise":                         bytes.Repeat([]byte("x"), 5000),
	} {
		if err := os.WriteFile(path, edited, 0o600); err != nil {
			t.Fatal(err)
		}
		v := s.kept(filepath.Join(dir, "f"), "k", "1")
		s.wantNo(v, request(s.anchor, evil), "sig/missing", evil)
		s.wantYes(v, request(s.anchor, next))
		// What is written then is whole again.
		if _, now := written(); !bytes.Equal(now, data) {
			t.Errorf("%s: the file was not written anew", name)
		}
	}
	for name, v := range map[string]*gitverify.Verifier{
		"another key":   s.kept(filepath.Join(dir, "f"), "o", "1"),
		"another build": s.kept(filepath.Join(dir, "f"), "k", "2"),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		before := s.reads
		s.wantYes(v, request(s.anchor, next))
		if s.reads-before < 4 {
			t.Errorf("%s: the frontier was believed", name)
		}
	}
}

func TestALogThatContradictsItselfAcrossARestartIsRefused(t *testing.T) { // row B27
	t.Parallel()
	s := policyScene(t, "committer: any", "committer: any ")
	now := s.virtual.Now()
	file := filepath.Join(t.TempDir(), "frontier")
	first := s.onTop(honest, "c@example.test", now)
	s.wantYes(s.kept(file, "k", "1"), request(s.anchor, first))
	after := func(o sigstoretest.SignOptions) gitverify.ID {
		body := fmt.Sprintf("tree %s\nparent %s\nauthor A <a@example.test> 1700000000 +0000\ncommitter C <c@example.test> %d +0000\n\nnext\n", s.objects[s.anchor].body[5:45], first, now.Unix())
		return s.put("commit", s.sign([]byte(body), o))
	}
	early, fine := after(sigstoretest.SignOptions{IssuedAt: now.Add(-time.Hour)}), after(honest)
	// A later place in the log than the first commit's, at an earlier time.
	s.wantNo(s.kept(file, "k", "1"), request(s.anchor, early), "log/inconsistent", early)
	s.wantYes(s.kept(file, "k", "1"), request(s.anchor, fine))
}
