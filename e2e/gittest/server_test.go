package gittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPushedCommitsCanBeCloned(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Push: true})
	url, err := s.Create(t.Context(), "factory")
	if err != nil {
		t.Fatal(err)
	}
	work := commit(t)
	git(t, work, true, "push", "--quiet", url, "HEAD:refs/heads/main")
	copied := filepath.Join(t.TempDir(), "copy")
	git(t, t.TempDir(), true, "clone", "--quiet", url, copied)
	if b, err := os.ReadFile(filepath.Join(copied, "file")); err != nil || string(b) != "content\n" {
		t.Errorf("the clone holds %q: %v", b, err)
	}
	if s.Requests() == 0 {
		t.Error("no request was counted")
	}
}

func TestAPushIsRefusedUnlessAllowed(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	url, err := s.Create(t.Context(), "factory")
	if err != nil {
		t.Fatal(err)
	}
	git(t, commit(t), false, "push", "--quiet", url, "HEAD:refs/heads/main")
}

func TestAPasswordIsDemanded(t *testing.T) {
	t.Parallel()
	s := start(t, Options{User: "reader", Password: "secret"})
	url, err := s.Create(t.Context(), "factory")
	if err != nil {
		t.Fatal(err)
	}
	git(t, t.TempDir(), false, "ls-remote", url)
	git(t, t.TempDir(), false, "ls-remote", strings.Replace(url, "://", "://reader:wrong@", 1))
	git(t, t.TempDir(), true, "ls-remote", strings.Replace(url, "://", "://reader:secret@", 1))
}

func TestAServerThatIsAwayComesBack(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	url, err := s.Create(t.Context(), "factory")
	if err != nil {
		t.Fatal(err)
	}
	s.SetAway(true)
	git(t, t.TempDir(), false, "ls-remote", url)
	s.SetAway(false)
	git(t, t.TempDir(), true, "ls-remote", url)
}

func TestNamesThatLeaveTheFolderAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, name := range []string{"", "..", "../x", "a/b", ".hidden"} {
		if _, err := s.Create(t.Context(), name); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
}

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func commit(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, true, "init", "--quiet")
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, dir, true, "add", "file")
	git(t, dir, true, "-c", "user.name=A", "-c", "user.email=a@factory.test", "commit", "--quiet", "--message", "a change")
	return dir
}

func git(t *testing.T, dir string, good bool, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0"}
	if out, err := cmd.CombinedOutput(); (err == nil) != good {
		t.Errorf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
