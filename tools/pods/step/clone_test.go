package main

import (
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// origin is a repository behind git's own HTTP server.
type origin struct {
	t        *testing.T
	dir, url string
}

func newOrigin(t *testing.T) origin {
	t.Helper()
	base := t.TempDir()
	o := origin{t: t, dir: filepath.Join(base, "sample.git")}
	o.git("init", "--quiet", "--initial-branch=main", o.dir)
	backend := filepath.Join(strings.TrimSpace(o.git("--exec-path")), "git-http-backend")
	srv := httptest.NewServer(&cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + base, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=/nonexistent"}, Stderr: io.Discard})
	t.Cleanup(srv.Close)
	o.url = srv.URL + "/sample.git/.git"
	return o
}

func (o origin) git(args ...string) string {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), "git", args...)
	if _, err := os.Stat(o.dir); err == nil {
		cmd.Dir = o.dir
	}
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@factory.test", "GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@factory.test",
		"GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000001 +0000",
	}
	b, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("git %v: %v\n%s", args, err, b)
	}
	return string(b)
}

func (o origin) commit(message string) string {
	o.t.Helper()
	o.git("add", "--all")
	o.git("commit", "--quiet", "-m", message)
	return strings.TrimSpace(o.git("rev-parse", "HEAD"))
}

func TestOneCommitIsWrittenAndNothingElse(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	write(t, filepath.Join(o.dir, "main.go"), "package main\n", 0o600)
	write(t, filepath.Join(o.dir, "cmd", "run"), "run", 0o700)
	first := o.commit("first")
	write(t, filepath.Join(o.dir, "main.go"), "package other\n", 0o600)
	second := o.commit("second")
	for name, c := range map[string]struct{ commit, allow, content string }{
		"tip":                     {second, "false", "package other\n"},
		"older, by all branches":  {first, "false", "package main\n"},
		"older, given out by id":  {first, "true", "package main\n"},
		"tip, all are given out":  {second, "true", "package other\n"},
		"once more, as it was":    {first, "false", "package main\n"},
		"once more, the same tip": {second, "false", "package other\n"},
	} {
		o.git("config", "uploadpack.allowReachableSHA1InWant", c.allow)
		base := t.TempDir()
		dir, result := filepath.Join(base, "src"), func(s string) string { return filepath.Join(base, s) }
		args := []string{
			"clone", "-url", o.url, "-commit", c.commit, "-dir", dir,
			"-result-url", result("url"), "-result-commit", result("commit"), "-result-digest", result("digest"), "-result-time", result("time"),
		}
		if err := run(t.Context(), args, io.Discard); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := read(t, filepath.Join(dir, "main.go")); got != c.content {
			t.Errorf("%s: %q", name, got)
		}
		if info, err := os.Stat(filepath.Join(dir, "cmd", "run")); err != nil || info.Mode()&0o100 == 0 {
			t.Errorf("%s: %v %v", name, info, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 2 {
			t.Errorf("%s: %v", name, entries)
		}
		if read(t, result("url")) != o.url || read(t, result("commit")) != c.commit || read(t, result("digest")) != digestTree(t, dir) || read(t, result("time")) != "1700000001" {
			t.Errorf("%s: results", name)
		}
	}
}

func TestWhatIsNoPlainTreeIsRefused(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	write(t, filepath.Join(o.dir, "big"), strings.Repeat("x", 10), 0o600)
	plain := o.commit("plain")
	if err := os.Symlink("/etc/passwd", filepath.Join(o.dir, "link")); err != nil {
		t.Fatal(err)
	}
	linked := o.commit("a link")
	o.git("rm", "--quiet", "link")
	o.git("update-index", "--add", "--cacheinfo", "160000,"+plain+",module")
	o.git("commit", "--quiet", "-m", "a submodule")
	submodule := strings.TrimSpace(o.git("rev-parse", "HEAD"))
	full := t.TempDir()
	write(t, filepath.Join(full, "x"), "", 0o600)
	for name, c := range map[string]struct{ url, commit, dir, max, want string }{
		"plain":             {o.url, plain, "", "1000000", ""},
		"link":              {o.url, linked, "", "1000000", reasonEntry},
		"submodule":         {o.url, submodule, "", "1000000", reasonEntry},
		"not there":         {o.url, strings.Repeat("a", 40), "", "1000000", reasonNoCommit},
		"too much":          {o.url, plain, "", "500", reasonSize},
		"short id":          {o.url, plain[:7], "", "1000000", reasonCommit},
		"branch":            {o.url, "main", "", "1000000", reasonCommit},
		"capitals":          {o.url, strings.ToUpper(plain), "", "1000000", reasonCommit},
		"line break":        {o.url, plain + "\n", "", "1000000", reasonCommit},
		"file":              {"file://" + o.dir, plain, "", "1000000", reasonURL},
		"folder":            {o.dir, plain, "", "1000000", reasonURL},
		"password":          {strings.Replace(o.url, "//", "//user:secret@", 1), plain, "", "1000000", reasonURL},
		"query":             {o.url + "?a=b", plain, "", "1000000", reasonURL},
		"fragment":          {o.url + "#main", plain, "", "1000000", reasonURL},
		"dots":              {o.url + "/../.git", plain, "", "1000000", reasonURL},
		"flag":              {"--upload-pack=x", plain, "", "1000000", reasonURL},
		"no host":           {"http:///x", plain, "", "1000000", reasonURL},
		"folder is in use":  {o.url, plain, full, "1000000", reasonTarget},
		"id of a blob":      {o.url, strings.TrimSpace(o.git("rev-parse", plain+":big")), "", "1000000", reasonNoCommit},
		"id of nothing yet": {o.url, strings.Repeat("0", 40), "", "1000000", reasonCommit},
	} {
		if c.dir == "" {
			c.dir = filepath.Join(t.TempDir(), "src")
		}
		result := filepath.Join(t.TempDir(), "result")
		err := run(t.Context(), []string{"clone", "-url", c.url, "-commit", c.commit, "-dir", c.dir, "-max-bytes", c.max, "-result-digest", result}, io.Discard)
		if refusal.ReasonOf(err) != c.want || (err != nil) != (c.want != "") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") && name != "password" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(result); c.want != "" && err == nil {
			t.Errorf("%s: refused, and yet there is a result", name)
		}
	}
}

func TestAServerThatSendsUsElsewhereIsNotFollowed(t *testing.T) {
	t.Parallel()
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/x.git", http.StatusFound))
	defer srv.Close()
	err := run(t.Context(), []string{"clone", "-url", srv.URL + "/x.git", "-commit", strings.Repeat("a", 40), "-dir", filepath.Join(t.TempDir(), "src")}, io.Discard)
	if err == nil || asked {
		t.Errorf("followed: %v, %v", err, asked)
	}
}

func TestNamesThatGitObeysAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "..", ".git", ".GIT", "a/b", "a\\b", "a\x00", "\xff"} {
		if refusal.ReasonOf(checkEntryName(name)) != reasonEntry {
			t.Errorf("%q is accepted", name)
		}
	}
	for _, name := range []string{"a", ".gitignore", "a b", "ä"} {
		if err := checkEntryName(name); err != nil {
			t.Error(err)
		}
	}
}
