package source_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/reconciler/source"
	"millwright.dev/millwright/tools/process"
)

// newSSH serves the forge's repositories over SSH too.
func newSSH(t *testing.T, f *forge) *gittest.SSHServer {
	t.Helper()
	s, err := gittest.StartSSH(t.Context(), f.server.Root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func sshRemote(s *gittest.SSHServer, name string) source.Remote {
	r := remote(s.RepoURL(name))
	r.Credentials = map[string][]byte{"identity": s.Identity, "known_hosts": s.KnownHosts}
	return r
}

// wantReason returns the message of the failure that must have been.
func wantReason(t *testing.T, err error, reason string) string {
	t.Helper()
	var got *source.Error
	if !errors.As(err, &got) || got.Reason != reason {
		t.Fatalf("got %v, want reason %s", err, reason)
	}
	return err.Error()
}

func TestSSHFetchesTheTipAndLaterOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	s := newSSH(t, f)
	first := f.commit("one")
	dir, sent := t.TempDir(), []int{}
	store, err := source.OpenInterrupted(dir, func(point string) error {
		if point == source.PointPackHeld {
			sent = append(sent, objectsHeld(t, dir))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	checkout, err := store.Fetch(t.Context(), sshRemote(s, "factory"))
	if err != nil || checkout.Commit != first {
		t.Fatalf("first fetch: %v, %v; want %s", checkout.Commit, err, first)
	}
	if _, err := store.Fetch(t.Context(), sshRemote(s, "factory")); err != nil {
		t.Fatalf("nothing new: %v", err)
	}
	second := f.commit("two")
	checkout, err = store.Fetch(t.Context(), sshRemote(s, "factory"))
	if err != nil || checkout.Commit != second {
		t.Fatalf("second fetch: %v, %v; want %s", checkout.Commit, err, second)
	}
	// A commit, a tree and a blob; with what was here already it would be six.
	if want := []int{3, 3}; !slices.Equal(sent, want) {
		t.Errorf("packs of %d objects were sent, want %d", sent, want)
	}
}

func TestSSHFetchesAfterAForcePush(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	s := newSSH(t, f)
	f.commit("one")
	f.commit("two")
	store, _ := open(t)
	if _, err := store.Fetch(t.Context(), sshRemote(s, "factory")); err != nil {
		t.Fatal(err)
	}
	f.git("reset", "-q", "--hard", "HEAD~1")
	f.git("commit", "-q", "--allow-empty", "-m", "another two")
	f.git("push", "-q", "--force", "origin", "main")
	want := f.git("rev-parse", "HEAD")
	checkout, err := store.Fetch(t.Context(), sshRemote(s, "factory"))
	if err != nil || string(checkout.Commit) != want {
		t.Fatalf("%v, %v; want %s", checkout.Commit, err, want)
	}
	f.git("push", "-q", "--force", "origin", "HEAD~1:main")
	want = f.git("rev-parse", "HEAD~1")
	checkout, err = store.Fetch(t.Context(), sshRemote(s, "factory"))
	if err != nil || string(checkout.Commit) != want {
		t.Fatalf("back to what is here: %v, %v; want %s", checkout.Commit, err, want)
	}
}

func TestAHostWhoseKeyChangedIsNotTalkedTo(t *testing.T) { // row E03
	t.Parallel()
	f := newForge(t, gittest.Options{})
	f.commit("one")
	ports, err := process.Ports(1) // one that nobody takes while no host listens there
	if err != nil {
		t.Fatal(err)
	}
	before, err := gittest.StartSSHAt(t.Context(), f.server.Root, process.Addr(ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	old := sshRemote(before, "factory")
	store, _ := open(t)
	if _, err := store.Fetch(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	before.Stop()
	after, err := gittest.StartSSHAt(t.Context(), f.server.Root, before.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(after.Stop)
	f.commit("two")
	old.Credentials["identity"] = after.Identity // all else would be well
	_, err = store.Fetch(t.Context(), old)
	if text := wantReason(t, err, source.ReasonSourceUnauthorized); !strings.Contains(text, "known_hosts") {
		t.Errorf("the message does not name known_hosts: %s", text)
	}
}

func TestSSHCredentialsThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	f.commit("one")
	s := newSSH(t, f)
	stranger, _, err := gittest.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := []byte(strings.Replace(string(s.KnownHosts), "127.0.0.1", "127.0.0.9", 1))
	for name, change := range map[string]func(*source.Remote){
		"a key that the server does not know":  func(r *source.Remote) { r.Credentials["identity"] = stranger },
		"no key":                               func(r *source.Remote) { delete(r.Credentials, "identity") },
		"a key that is none":                   func(r *source.Remote) { r.Credentials["identity"] = []byte("none") },
		"no known_hosts":                       func(r *source.Remote) { delete(r.Credentials, "known_hosts") },
		"a known_hosts that is empty":          func(r *source.Remote) { r.Credentials["known_hosts"] = nil },
		"a known_hosts with a comment only":    func(r *source.Remote) { r.Credentials["known_hosts"] = []byte("# none\n") },
		"a known_hosts that does not parse":    func(r *source.Remote) { r.Credentials["known_hosts"] = []byte("127.0.0.1 none\n") },
		"a known_hosts of another host":        func(r *source.Remote) { r.Credentials["known_hosts"] = elsewhere },
		"a user that the server does not know": func(r *source.Remote) { r.URL = strings.Replace(r.URL, "git@", "root@", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sshRemote(s, "factory")
			change(&r)
			store, _ := open(t)
			_, err := store.Fetch(t.Context(), r)
			if text := wantReason(t, err, source.ReasonSourceUnauthorized); strings.Contains(text, "PRIVATE KEY") {
				t.Errorf("the message holds a key: %s", text)
			}
		})
	}
}

func TestARepositoryThatTheSSHServerHasNotIsMissing(t *testing.T) { // row E02
	t.Parallel()
	f := newForge(t, gittest.Options{})
	f.commit("one")
	if _, err := f.server.Create(t.Context(), "empty"); err != nil {
		t.Fatal(err)
	}
	s := newSSH(t, f)
	for name, c := range map[string]struct{ path, reason string }{
		"not there":                    {"/none.git", source.ReasonSourceRefMissing},
		"empty":                        {"/empty.git", source.ReasonSourceRefMissing},
		"outside the folder":           {"/../x.git", source.ReasonSourceUnreachable},
		"another command in its name":  {"/factory.git'%20;id%20'", source.ReasonSourceUnreachable},
		"a newline in its name":        {"/factory.git%0aid", source.ReasonSourceUnsupported},
		"an escape code in its answer": {"/%1b[31m.git", source.ReasonSourceUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sshRemote(s, "factory")
			r.URL = s.URL + c.path
			store, _ := open(t)
			_, err := store.Fetch(t.Context(), r)
			wantReason(t, err, c.reason)
		})
	}
}

func TestAnSSHHostThatSaysNothingIsLeftWhenTheTimeIsUp(t *testing.T) { // row E06
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	f := newForge(t, gittest.Options{})
	r := sshRemote(newSSH(t, f), "factory")
	r.URL, r.Timeout = "ssh://git@"+silent.Addr().String()+"/factory.git", 300*time.Millisecond
	store, _ := open(t)
	begin := time.Now()
	_, err = store.Fetch(t.Context(), r)
	wantReason(t, err, source.ReasonSourceUnreachable)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not say that the time was up", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// objectsHeld reads the count in the header of the pack in quarantine (gitformat-pack).
func objectsHeld(t *testing.T, dir string) int {
	held, err := filepath.Glob(filepath.Join(dir, "incoming-*.pack"))
	if err != nil || len(held) != 1 {
		t.Errorf("in quarantine: %v, %v", held, err)
		return -1
	}
	head, err := os.ReadFile(held[0])
	if err != nil || len(head) < 12 {
		t.Errorf("a pack of %d bytes: %v", len(head), err)
		return -1
	}
	return int(binary.BigEndian.Uint32(head[8:12]))
}
