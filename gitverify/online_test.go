package gitverify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// onlineScene is a repository whose commits are signed as gitsign does with
// rekorMode=online, and a log that answers by the object's name.
type onlineScene struct {
	*repository
	logged map[gitverify.ID][]byte
	asked  map[gitverify.ID]int
	anchor gitverify.ID
}

func newOnlineScene(t *testing.T, log string) onlineScene {
	t.Helper()
	s := onlineScene{repository: newRepository(t), logged: map[gitverify.ID][]byte{}, asked: map[gitverify.ID]int{}}
	s.anchor = s.put("commit", unsigned(s.tree(s.files(log, 1)), "anchor"))
	return s
}

func (s onlineScene) files(log string, version int, changes ...string) map[string]string {
	policy := strings.Replace(policyFile(version), "  rules:", "  transparency: {log: "+log+"}\n  rules:", 1)
	return files(append([]string{gitverify.DefaultPolicyPath, policy}, changes...)...)
}

// Find implements [gitverify.LogLookup].
func (s onlineScene) Find(_ context.Context, q gitverify.Question) ([][]byte, error) {
	s.asked[q.Object]++
	if entry, ok := s.logged[q.Object]; ok {
		return [][]byte{entry}, nil
	}
	return nil, fmt.Errorf("%w: nothing", gitverify.ErrNotLogged)
}

// online stores a commit of alice, and logs a signature over its name.
func (s onlineScene) online(files map[string]string, o sigstoretest.SignOptions, parents ...gitverify.ID) gitverify.ID {
	s.t.Helper()
	leaf, err := s.virtual.Leaf(o)
	if err != nil {
		s.t.Fatal(err)
	}
	id := s.put("commit", s.sign(unsigned(s.tree(files), "message", parents...), sigstoretest.SignOptions{Leaf: &leaf, NoLogEntry: true}))
	digest := sha256.Sum256([]byte(id))
	signature, err := ecdsa.SignASN1(rand.Reader, leaf.Key, digest[:])
	if err != nil {
		s.t.Fatal(err)
	}
	body, err := sigstoretest.HashedRekord([]byte(id), signature, leaf.Cert)
	if err != nil {
		s.t.Fatal(err)
	}
	entry, err := s.virtual.Log(body, o)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.logged[id], err = (proto.MarshalOptions{Deterministic: true}).Marshal(entry); err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s onlineScene) asking(o gitverify.Options) *gitverify.Verifier {
	o.Log = s
	return s.verifierWith(o)
}

func TestALogIsAskedOnceForEachCommitAndOnlyIfThePolicyInForceSaysSo(t *testing.T) {
	t.Parallel()
	s := newOnlineScene(t, "online")
	first := s.online(s.files("online", 1, "a", "1"), sigstoretest.SignOptions{}, s.anchor)
	tip := s.online(s.files("online", 1, "a", "2"), sigstoretest.SignOptions{}, first)
	s.wantNo(s.verifier(), request(s.anchor, tip), "log/missing", first)

	file, key := filepath.Join(t.TempDir(), "frontier"), make([]byte, 32)
	options := gitverify.Options{FrontierFile: file, FrontierKey: key, Build: "1"}
	v := s.asking(options)
	s.wantYes(v, request(s.anchor, tip))
	s.wantYes(v, request(s.anchor, tip))
	s.wantYes(s.asking(options), request(s.anchor, tip)) // another process
	if s.asked[first] != 1 || s.asked[tip] != 1 {
		t.Errorf("asked %v", s.asked)
	}
	// A policy takes the permission back for what comes after it.
	offline := s.online(s.files("offline", 2, "a", "2"), sigstoretest.SignOptions{}, tip)
	s.wantYes(v, request(s.anchor, offline))
	after := s.online(s.files("offline", 2, "a", "3"), sigstoretest.SignOptions{}, offline)
	if no := s.wantNo(v, request(s.anchor, after), "log/missing", after); s.asked[after] != 0 || gitverify.FromLog(&no) {
		t.Errorf("asked %v for %s", s.asked, after)
	}
}

func TestANoOfALogIsAskedForAgain(t *testing.T) {
	t.Parallel()
	s := newOnlineScene(t, "online")
	tip := s.online(s.files("online", 1, "a", "1"), sigstoretest.SignOptions{}, s.anchor)
	entry := s.logged[tip]
	delete(s.logged, tip)
	v := s.asking(gitverify.Options{})
	if no := s.wantNo(v, request(s.anchor, tip), "log/missing", tip); !gitverify.FromLog(&no) {
		t.Error("the no is called final")
	}
	s.logged[tip] = entry
	s.wantYes(v, request(s.anchor, tip))
}

// The entry of one commit, served for another of the same key, certificate and
// content, is nobody's.
func TestAttackWithTheEntryOfAnotherCommit(t *testing.T) { // row B15
	t.Parallel()
	s := newOnlineScene(t, "online")
	tip := s.online(s.files("online", 1, "a", "1"), sigstoretest.SignOptions{}, s.anchor)
	again := s.online(s.files("online", 1, "a", "1"), sigstoretest.SignOptions{}, s.anchor)
	right := s.logged[again]
	s.logged[again] = s.logged[tip]
	v := s.asking(gitverify.Options{})
	s.wantYes(v, request(s.anchor, tip))
	s.wantNo(v, request(s.anchor, again), "log/missing", again)
	s.logged[again] = right
	s.wantYes(v, request(s.anchor, again))
}

// What a log answers when it is asked is held against what it has signed before,
// as the entries inside signatures are.
func TestALogThatIsAskedCannotContradictItself(t *testing.T) { // row B27
	t.Parallel()
	s := newOnlineScene(t, "online")
	for range 3 {
		s.online(s.files("online", 1), sigstoretest.SignOptions{}, s.anchor)
	}
	late := s.virtual.Now().Add(2 * time.Hour)
	tip := s.online(s.files("online", 1, "a", "1"), sigstoretest.SignOptions{IssuedAt: late}, s.anchor)
	early := s.online(s.files("online", 1, "a", "2"), sigstoretest.SignOptions{}, tip) // a higher index, hours before
	v := s.asking(gitverify.Options{})
	s.wantYes(v, request(s.anchor, tip))
	s.wantNo(v, request(s.anchor, early), "log/inconsistent", early)
	s.wantYes(s.asking(gitverify.Options{}), request(s.anchor, s.online(s.files("online", 1, "a", "2"), sigstoretest.SignOptions{IssuedAt: late}, tip)))
}

func TestALogThatIsAwayLeavesTheQuestionOpen(t *testing.T) {
	t.Parallel()
	s := newOnlineScene(t, "online")
	tip := s.online(s.files("online", 1, "a", "1"), sigstoretest.SignOptions{}, s.anchor)
	v := s.verifierWith(gitverify.Options{Log: away{}})
	_, err := v.Verify(t.Context(), s, request(s.anchor, tip))
	if _, no := errors.AsType[*gitverify.Refusal](err); err == nil || no {
		t.Errorf("got %v", err)
	}
}

type away struct{}

func (away) Find(context.Context, gitverify.Question) ([][]byte, error) {
	return nil, errors.New("away")
}
