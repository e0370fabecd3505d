package source_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

// forge is a Git server with one repository and a clone to push from.
type forge struct {
	t      *testing.T
	server *gittest.Server
	url    string
	work   string
}

func newForge(t *testing.T, o gittest.Options) *forge {
	t.Helper()
	server, err := gittest.Start(t.Context(), t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	url, err := server.Create(t.Context(), "factory")
	if err != nil {
		t.Fatal(err)
	}
	f := &forge{t: t, server: server, url: url, work: t.TempDir()}
	f.git("init", "-q", "-b", "main")
	f.git("remote", "add", "origin", server.Path("factory"))
	return f
}

func (f *forge) git(args ...string) string {
	f.t.Helper()
	return git(f.t, f.work, args...)
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes a file, commits and pushes it, and returns the commit's id.
func (f *forge) commit(text string) gitverify.ID {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.work, "file"), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.git("add", "file")
	f.git("commit", "-q", "-m", "a change")
	f.git("push", "-q", "origin", "main")
	return gitverify.ID(f.git("rev-parse", "HEAD"))
}

func open(t *testing.T) (store *source.Store, dir string) {
	t.Helper()
	dir = t.TempDir()
	store, err := source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return store, dir
}

func remote(url string) source.Remote {
	return source.Remote{URL: url, Ref: "refs/heads/main", Timeout: 20 * time.Second}
}

func TestFetchBringsTheTipAndLaterOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	first := f.commit("one")
	store, dir := open(t)
	checkout, err := store.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Commit != first {
		t.Fatalf("first fetch: %v, %v; want %s", checkout.Commit, err, first)
	}
	before := f.server.Requests()
	if _, err := store.Fetch(t.Context(), remote(f.url)); err != nil {
		t.Fatal(err)
	}
	if asked := f.server.Requests() - before; asked != 1 {
		t.Errorf("a fetch without news made %d requests, want 1", asked)
	}
	second := f.commit("two")
	checkout, err = store.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Commit != second {
		t.Fatalf("second fetch: %v, %v; want %s", checkout.Commit, err, second)
	}
	for _, id := range []gitverify.ID{first, second} {
		kind, body, err := store.Object(t.Context(), id, 1<<20)
		if err != nil || kind != "commit" || len(body) == 0 {
			t.Errorf("object %s: %s, %d bytes, %v", id, kind, len(body), err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); !errors.Is(err, os.ErrNotExist) {
		t.Error("there is a work tree in the object store")
	}
}

func TestAReopenedStoreKnowsWhatItFetched(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	tip := f.commit("one")
	store, dir := open(t)
	if _, err := store.Fetch(t.Context(), remote(f.url)); err != nil {
		t.Fatal(err)
	}
	again, err := source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	before := f.server.Requests()
	checkout, err := again.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Commit != tip {
		t.Fatalf("%v, %v", checkout.Commit, err)
	}
	if asked := f.server.Requests() - before; asked != 1 {
		t.Errorf("%d requests after a restart, want 1", asked)
	}
}

func TestAForcePushIsFetchedAndLeftToTheVerifier(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	f.commit("one")
	old := f.commit("two")
	store, _ := open(t)
	if _, err := store.Fetch(t.Context(), remote(f.url)); err != nil {
		t.Fatal(err)
	}
	f.git("reset", "-q", "--hard", "HEAD~1")
	f.git("push", "-q", "--force", "origin", "main")
	checkout, err := store.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Commit == old {
		t.Fatalf("%v, %v", checkout.Commit, err)
	}
}

func TestAFileURLIsFetchedToo(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	tip := f.commit("one")
	store, _ := open(t)
	checkout, err := store.Fetch(t.Context(), remote("file://"+f.server.Path("factory")))
	if err != nil || checkout.Commit != tip {
		t.Fatalf("%v, %v", checkout.Commit, err)
	}
}

func TestOnlyTheFollowedRefAndTheHeartbeatAreFetched(t *testing.T) { // rows C08, C28
	t.Parallel()
	f := newForge(t, gittest.Options{})
	one := f.commit("one")
	f.git("switch", "-q", "-c", "other")
	f.git("commit", "-q", "--amend", "--allow-empty", "-m", "elsewhere")
	other := gitverify.ID(f.git("rev-parse", "HEAD"))
	f.git("tag", "-a", "-m", "a release", "v1")
	tag := gitverify.ID(f.git("rev-parse", "refs/tags/v1"))
	f.git("tag", "-a", "-m", "of the tip", "v2", string(one)) // what include-tag would bring
	beside := gitverify.ID(f.git("rev-parse", "refs/tags/v2"))
	f.git("push", "-q", "origin", "other", "v1", "v2", "HEAD:refs/replace/"+string(one), "HEAD:refs/notes/commits",
		"HEAD:refs/pull/1/head", "HEAD:refs/keep-around/x", "HEAD:refs/millwright/other")
	store, _ := open(t)
	checkout, err := store.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Commit != one || checkout.Heartbeat != "" || checkout.Tag != "" {
		t.Fatalf("%+v, %v", checkout, err)
	}
	for name, id := range map[string]gitverify.ID{"the commit of another branch": other, "a tag": tag, "a tag of the tip": beside} {
		if _, _, err := store.Object(t.Context(), id, 1<<20); !errors.Is(err, gitverify.ErrObjectMissing) {
			t.Errorf("%s is in the store (%v)", name, err)
		}
	}
	// The object that the remote replaces is the one that its name stands for.
	if _, body, err := store.Object(t.Context(), one, 1<<20); err != nil || !strings.Contains(string(body), "a change") {
		t.Errorf("the replaced commit reads %q, %v", body, err)
	}
}

func TestWhatCannotBeFetchedHasAReason(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	f.commit("one")
	locked := newForge(t, gittest.Options{User: "reader", Password: "correct horse"})
	locked.commit("one")
	away := newForge(t, gittest.Options{})
	away.commit("one")
	away.server.SetAway(true)
	gone := newForge(t, gittest.Options{})
	gone.commit("one")
	gone.server.Stop()
	wide := t.TempDir()
	git(t, wide, "init", "-q", "--bare", "--object-format=sha256", f.server.Path("wide"))
	seedSHA256(t, f.server.Path("wide"))
	cases := map[string]struct {
		remote source.Remote
		want   string
	}{
		"a branch that is not there":         {source.Remote{URL: f.url, Ref: "refs/heads/none"}, source.ReasonSourceRefMissing},
		"a repository that is not there":     {remote(f.server.URL + "/none.git"), source.ReasonSourceRefMissing},
		"no password where one is needed":    {remote(locked.url), source.ReasonSourceUnauthorized},
		"a wrong password":                   {withPassword(remote(locked.url), "battery staple"), source.ReasonSourceUnauthorized},
		"a server that answers 503":          {remote(away.url), source.ReasonSourceUnreachable},
		"a server that is not there":         {remote(gone.url), source.ReasonSourceUnreachable},
		"a repository with SHA-256 names":    {remote(f.server.RepoURL("wide")), source.ReasonSourceUnsupported},
		"a URL with another scheme":          {remote("ext::sh -c id"), source.ReasonSourceUnsupported},
		"a URL that is an option":            {remote("--upload-pack=id"), source.ReasonSourceUnsupported},
		"a ref that leaves the branches":     {source.Remote{URL: f.url, Ref: "refs/heads/../tags/v1"}, source.ReasonSourceUnsupported},
		"a URL with a password":              {remote(strings.Replace(f.url, "://", "://reader:horse@", 1)), source.ReasonSourceUnsupported},
		"a URL with a token":                 {remote("https://staple@127.0.0.1:1/x.git"), source.ReasonSourceUnsupported},
		"ssh without a key and a known host": {remote("ssh://git@127.0.0.1:1/x.git"), source.ReasonSourceUnauthorized},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, _ := open(t)
			_, err := store.Fetch(t.Context(), c.remote)
			var got *source.Error
			if !errors.As(err, &got) || got.Reason != c.want {
				t.Fatalf("got %v, want reason %s", err, c.want)
			}
			if strings.Contains(err.Error(), "horse") || strings.Contains(err.Error(), "staple") {
				t.Errorf("the message holds a password: %v", err)
			}
		})
	}
}

func TestAStoreThatLacksObjectsIsFilledByAWholeFetch(t *testing.T) { // row E05
	t.Parallel()
	f := newForge(t, gittest.Options{})
	first := f.commit("one")
	tip := f.commit("two")
	store, dir := open(t)
	if _, err := store.Fetch(t.Context(), remote(f.url)); err != nil {
		t.Fatal(err)
	}
	if n := looseIn(t, dir); n == 0 {
		t.Fatal("no objects in the store")
	}
	if err := os.RemoveAll(filepath.Join(dir, "objects")); err != nil {
		t.Fatal(err)
	}
	store, err := source.Open(dir) // as a process that starts finds it
	if err != nil {
		t.Fatal(err)
	}
	store.Refetch()
	if checkout, err := store.Fetch(t.Context(), remote(f.url)); err != nil || checkout.Commit != tip {
		t.Fatalf("%v, %v", checkout.Commit, err)
	}
	for _, id := range []gitverify.ID{first, tip} {
		if kind, _, err := store.Object(t.Context(), id, 1<<20); err != nil || kind != "commit" {
			t.Errorf("%s after a whole fetch: %s, %v", id, kind, err)
		}
	}
	before := f.server.Requests()
	if _, err := store.Fetch(t.Context(), remote(f.url)); err != nil || f.server.Requests()-before != 1 {
		t.Errorf("the fetch after that is a whole one too (%v)", err)
	}
}

func TestTheRightPasswordFetches(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{User: "reader", Password: "correct horse"})
	tip := f.commit("one")
	store, _ := open(t)
	checkout, err := store.Fetch(t.Context(), withPassword(remote(f.url), "correct horse"))
	if err != nil || checkout.Commit != tip {
		t.Fatalf("%v, %v", checkout.Commit, err)
	}
}

func TestAServerThatCameBackIsFetchedFrom(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	tip := f.commit("one")
	f.server.SetAway(true)
	store, _ := open(t)
	if _, err := store.Fetch(t.Context(), remote(f.url)); err == nil {
		t.Fatal("fetched from a server that is away")
	}
	f.server.SetAway(false)
	checkout, err := store.Fetch(t.Context(), remote(f.url))
	if err != nil || checkout.Commit != tip {
		t.Fatalf("%v, %v", checkout.Commit, err)
	}
}

func TestTheTreeStaysLockedWithoutItsVerification(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	f.commit("one")
	store, _ := open(t)
	checkout, err := store.Fetch(t.Context(), remote(f.url))
	if err != nil {
		t.Fatal(err)
	}
	if tree, err := checkout.Tree(t.Context(), gitverify.Verification{}); err == nil {
		t.Fatalf("the zero verification opened %v", tree)
	}
}

func withPassword(r source.Remote, password string) source.Remote {
	r.Credentials = map[string][]byte{"username": []byte("reader"), "password": []byte(password)}
	return r
}

// seedSHA256 puts a commit into a bare repository with SHA-256 names.
func seedSHA256(t *testing.T, bare string) {
	t.Helper()
	work := t.TempDir()
	git(t, work, "init", "-q", "-b", "main", "--object-format=sha256")
	git(t, work, "commit", "-q", "--allow-empty", "-m", "wide")
	git(t, work, "push", "-q", bare, "main")
}
