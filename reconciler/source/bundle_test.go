package source_test

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

// localHistory is a repository that git made, and its newest commit.
func localHistory(t *testing.T) (dir string, tip gitverify.ID) {
	t.Helper()
	dir = t.TempDir()
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=A", "-c", "user.email=a@factory.test"}, args...)...)
		cmd.Env = append(cmd.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "-q", "-b", "main")
	for _, message := range []string{"one", "two", "three"} {
		run("commit", "-q", "--allow-empty", "-m", message)
	}
	return dir, gitverify.ID(run("rev-parse", "HEAD"))
}

func TestABundleCarriesAHistory(t *testing.T) {
	t.Parallel()
	dir, tip := localHistory(t)
	store, err := source.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	var bundle bytes.Buffer
	if err := store.WriteBundle(t.Context(), &bundle, map[string]gitverify.ID{"refs/heads/main": tip, "HEAD": tip}); err != nil {
		t.Fatal(err)
	}
	got, err := source.OpenBundle(t.Context(), bytes.NewReader(bundle.Bytes()), filepath.Join(t.TempDir(), "x.git"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := got.Resolve("main"); err != nil || id != tip {
		t.Errorf("main is %s: %v", id, err)
	}
	if kind, body, err := got.Object(t.Context(), tip, 1<<20); err != nil || kind != "commit" || !bytes.Contains(body, []byte("three")) {
		t.Errorf("the tip is a %s: %v", kind, err)
	}
	err = store.WriteBundle(t.Context(), &bundle, map[string]gitverify.ID{"refs/heads/main": gitverify.ID(strings.Repeat("1", 40))})
	if !errors.Is(err, gitverify.ErrObjectMissing) {
		t.Errorf("a commit that is not there: %v", err)
	}
}

func TestADamagedBundleIsRefusedWithinItsBounds(t *testing.T) {
	t.Parallel()
	dir, tip := localHistory(t)
	store, err := source.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	var good bytes.Buffer
	if err := store.WriteBundle(t.Context(), &good, map[string]gitverify.ID{"refs/heads/main": tip}); err != nil {
		t.Fatal(err)
	}
	with := func(old, now string) []byte { return bytes.Replace(good.Bytes(), []byte(old), []byte(now), 1) }
	flipped := bytes.Clone(good.Bytes())
	flipped[len(flipped)-40] ^= 1
	for name, c := range map[string]struct {
		data []byte
		max  int64
		want string
	}{
		"nothing":                         {nil, 0, "does not begin as a git bundle"},
		"another version":                 {with("v2", "v9"), 0, "does not begin as a git bundle"},
		"it builds on other commits":      {with("git bundle\n", "git bundle\n-"+string(tip)+" x\n"), 0, "history that it does not have"},
		"a ref that is none":              {with("refs/heads/main", "refs/heads/../x"), 0, "it has a ref"},
		"a ref that would be an option":   {with("refs/heads/main", "--upload-pack=x"), 0, "it has a ref"},
		"a ref without an end":            {append([]byte("# v2 git bundle\n"), bytes.Repeat([]byte("a"), 1<<20)...), 0, "list of refs is damaged"},
		"an id that is none":              {with(string(tip), strings.Repeat("z", 40)), 0, "list of refs is damaged"},
		"half of it":                      {good.Bytes()[:good.Len()-30], 0, "not whole"},
		"a byte of it":                    {flipped, 0, "not whole"},
		"more than it may be":             {good.Bytes(), 100, "larger than the limit"},
		"something after its end":         {append(bytes.Clone(good.Bytes()), "more"...), 0, "after its end"},
		"a header and no pack whatsoever": {[]byte("# v2 git bundle\n\n"), 0, "not whole"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := source.OpenBundle(t.Context(), bytes.NewReader(c.data), filepath.Join(t.TempDir(), "x.git"), c.max)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q, got %v", c.want, err)
			}
		})
	}
}
