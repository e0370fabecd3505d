package source_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

const heartbeatRef = "refs/millwright/heartbeat"

// beat pushes a heartbeat that names what is at HEAD.
func (f *forge) beat(message string) gitverify.ID {
	f.t.Helper()
	f.git("tag", "-f", "-a", "-m", message, "heartbeat")
	f.git("push", "-q", "--force", "origin", "refs/tags/heartbeat:"+heartbeatRef)
	return gitverify.ID(f.git("rev-parse", "refs/tags/heartbeat"))
}

func TestTheHeartbeatComesWithTheTipInTheSameRoundTrips(t *testing.T) { // rule T11
	t.Parallel()
	f := newForge(t, gittest.Options{})
	s := newSSH(t, f)
	tip := f.commit("one")
	first := f.beat("first")
	for name, r := range map[string]source.Remote{
		"over http": remote(f.url), "over ssh": sshRemote(s, "factory"), "from a file": remote("file://" + f.server.Path("factory")),
	} {
		store, _ := open(t)
		before := f.server.Requests()
		checkout, err := store.Fetch(t.Context(), r)
		if err != nil || checkout.Commit != tip || checkout.Heartbeat != first {
			t.Fatalf("%s: %+v, %v; want %s and heartbeat %s", name, checkout, err, tip, first)
		}
		if kind, _, err := store.Object(t.Context(), first, 1<<20); err != nil || kind != "tag" {
			t.Errorf("%s: the heartbeat is a %s, %v", name, kind, err)
		}
		if asked := f.server.Requests() - before; name == "over http" && asked != 2 {
			t.Errorf("%d requests for the tip and its heartbeat, want 2", asked)
		}
	}
}

func TestANewHeartbeatIsFetchedThoughTheTipIsTheSame(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	tip := f.commit("one")
	store, _ := open(t)
	fetch := func(want gitverify.ID, requests int64) {
		t.Helper()
		before := f.server.Requests()
		checkout, err := store.Fetch(t.Context(), remote(f.url))
		if err != nil || checkout.Commit != tip || checkout.Heartbeat != want {
			t.Fatalf("%+v, %v; want heartbeat %q", checkout, err, want)
		}
		if asked := f.server.Requests() - before; asked != requests {
			t.Errorf("%d requests, want %d", asked, requests)
		}
	}
	fetch("", 2)
	first := f.beat("first")
	fetch(first, 2)
	fetch(first, 1)
	fetch(f.beat("second"), 2)
	f.git("push", "-q", "origin", ":"+heartbeatRef)
	fetch("", 1)
}

func TestABadHeartbeatNeverFailsAFetch(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(f *forge) (limit int64){
		"one that names more than a pack may hold": func(f *forge) int64 {
			f.git("switch", "-q", "-c", "far")
			f.must(os.WriteFile(filepath.Join(f.work, "noise"), noise(64<<10), 0o600))
			f.git("add", "noise")
			f.git("commit", "-q", "-m", "noise")
			f.beat("far")
			f.git("switch", "-q", "main")
			return 16 << 10
		},
		"one whose files the server lost": func(f *forge) int64 {
			f.git("switch", "-q", "-c", "far")
			f.must(os.WriteFile(filepath.Join(f.work, "lost"), []byte("lost"), 0o600))
			f.git("add", "lost")
			f.git("commit", "-q", "-m", "lost")
			f.beat("lost")
			id := f.git("rev-parse", "HEAD:lost")
			f.must(os.Remove(filepath.Join(f.server.Path("factory"), "objects", id[:2], id[2:])))
			f.git("switch", "-q", "main")
			return 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForge(t, gittest.Options{})
			f.commit("one")
			limit := spoil(f)
			s := newSSH(t, f)
			for _, r := range []source.Remote{remote(f.url), sshRemote(s, "factory")} {
				store, dir := open(t)
				r.MaxPack = limit
				for _, text := range []string{"two " + r.URL, "three " + r.URL, ""} {
					var tip gitverify.ID
					if tip = gitverify.ID(f.git("rev-parse", "main")); text != "" {
						tip = f.commit(text)
					}
					checkout, err := store.Fetch(t.Context(), r)
					if err != nil || checkout.Commit != tip || checkout.Heartbeat != "" {
						t.Fatalf("%q: %+v, %v; want %s", text, checkout, err, tip)
					}
				}
				wantNoRemains(t, dir)
			}
		})
	}
}

func TestAHeartbeatThatIsNoTagIsHandedOutForTheVerifier(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	tip := f.commit("one")
	f.git("push", "-q", "origin", "main:"+heartbeatRef)
	store, _ := open(t)
	checkout, err := store.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Heartbeat != tip {
		t.Fatalf("%+v, %v", checkout, err)
	}
}

func TestATagIsFollowedWithItsObjectAndItsCommit(t *testing.T) { // rule T14
	t.Parallel()
	f := newForge(t, gittest.Options{})
	s := newSSH(t, f)
	first := f.commit("one")
	f.git("tag", "-a", "-m", "the first", "v1")
	f.git("tag", "light")
	f.git("tag", "-a", "-m", "of a tag", "twice", "v1")
	f.git("push", "-q", "origin", "v1", "light", "twice")
	newest := f.commit("two")
	tag := gitverify.ID(f.git("rev-parse", "refs/tags/v1"))
	for _, r := range []source.Remote{remote(f.url), sshRemote(s, "factory")} {
		store, _ := open(t)
		r.Ref = "refs/tags/v1"
		checkout, err := store.Fetch(t.Context(), r)
		if err != nil || checkout.Tag != tag || checkout.Commit != first || checkout.Ref != r.Ref {
			t.Fatalf("%+v, %v; want tag %s of %s", checkout, err, tag, first)
		}
		if kind, body, err := store.Object(t.Context(), tag, 1<<20); err != nil || kind != "tag" || !strings.Contains(string(body), "the first") {
			t.Errorf("the tag object is a %s, %q, %v", kind, body, err)
		}
		if _, _, err := store.Object(t.Context(), newest, 1<<20); err == nil {
			t.Error("the branch came too")
		}
		r.Ref = "refs/tags/light"
		if checkout, err = store.Fetch(t.Context(), r); err != nil || checkout.Tag != first || checkout.Commit != first {
			t.Errorf("a tag without an object of its own: %+v, %v", checkout, err)
		}
		r.Ref = "refs/tags/twice"
		if checkout, err = store.Fetch(t.Context(), r); err != nil || checkout.Tag == tag || checkout.Commit != first {
			t.Errorf("a tag of a tag: %+v, %v", checkout, err)
		}
	}
	f.git("tag", "-f", "-a", "-m", "moved", "v1")
	f.git("push", "-q", "--force", "origin", "v1")
	store, _ := open(t)
	r := remote(f.url)
	r.Ref = "refs/tags/v1"
	if checkout, err := store.Fetch(t.Context(), r); err != nil || checkout.Commit != newest {
		t.Errorf("the tag moved: %+v, %v", checkout, err)
	}
}

func TestASourceWithAPartOfItsHistoryIsNotFollowed(t *testing.T) { // row C09
	t.Parallel()
	f := newForge(t, gittest.Options{})
	f.commit("one")
	f.commit("two")
	git(t, f.server.Root, "clone", "-q", "--bare", "--depth=1", "file://"+f.server.Path("factory"), f.server.Path("part"))
	s := newSSH(t, f)
	for _, r := range []source.Remote{remote(f.server.RepoURL("part")), sshRemote(s, "part"), remote("file://" + f.server.Path("part"))} {
		store, _ := open(t)
		_, err := store.Fetch(t.Context(), r)
		if text := wantReason(t, err, source.ReasonSourceShallow); !strings.Contains(text, "1 commits") {
			t.Errorf("the message does not say what is missing: %s", text)
		}
	}
	git(t, f.server.Path("part"), "fetch", "-q", "--unshallow", "origin")
	store, _ := open(t)
	if _, err := store.Fetch(t.Context(), remote(f.server.RepoURL("part"))); err != nil {
		t.Errorf("with its whole history it is not followed either: %v", err)
	}
}

func TestAServerThatCutsTheHistoryUnaskedIsNotBelieved(t *testing.T) { // row C09
	t.Parallel()
	on := &atomic.Bool{}
	f := newForge(t, gittest.Options{Around: rewrite(http.MethodPost, on, func(b []byte, w http.ResponseWriter) {
		_, _ = w.Write(append([]byte("0035shallow "+strings.Repeat("1", 40)+"\n0000"), b...))
	})})
	tip := f.commit("one")
	store, dir := open(t)
	on.Store(true)
	_, err := store.Fetch(t.Context(), remote(f.url))
	wantReason(t, err, source.ReasonSourceUnreachable)
	wantNoRemains(t, dir)
	on.Store(false)
	if checkout, err := store.Fetch(t.Context(), remote(f.url)); err != nil || checkout.Commit != tip {
		t.Errorf("afterwards: %v, %v", checkout.Commit, err)
	}
}

func (f *forge) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// noise does not deflate.
func noise(size int) []byte {
	out := make([]byte, 0, size)
	for x := uint32(1); len(out) < size; out = append(out, byte(x>>11)) {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
	}
	return out
}
