package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/gitverify/tufroot/tuftest"
)

// folder is a TUF repository with the folder that follows it.
type folder struct {
	*testing.T
	repo      *tuftest.Repository
	dir, root string
	now       time.Time
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	virtual, err := sigstoretest.NewVirtual(now)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := virtual.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	repo, err := tuftest.Start(now, trusted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(repo.Stop)
	f := &folder{T: t, repo: repo, dir: filepath.Join(t.TempDir(), "trust"), root: filepath.Join(t.TempDir(), "root.json"), now: now}
	if err := os.WriteFile(f.root, repo.InitialRoot(), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// wants runs the command at the folder's time.
func (f *folder) wants(code int, text string, args ...string) string {
	f.Helper()
	var out, err bytes.Buffer
	a := &app{out: &out, err: &err, now: func() time.Time { return f.now }}
	got := a.run(f.Context(), args)
	if all := out.String() + err.String(); got != code || !strings.Contains(all, text) {
		f.Errorf("%s: exit %d, want %d and %q\n%s", strings.Join(args, " "), got, code, text, all)
	}
	return out.String()
}

func TestAFetchedTrustedRootIsUsedUntilItIsTooOld(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	refresh := []string{"trust", "root", "refresh", "--url", f.repo.URL(), "--dir", f.dir}
	show := []string{"trust", "root", "show", "--dir", f.dir, "-o", "json"}
	audit := []string{"audit", "--trusted-root", "tuf:" + f.dir, "--certificate-identity", "x", "--certificate-oidc-issuer", "x", "--export", filepath.Join(f.dir, "nothing")}

	f.wants(exitUnknown, "root.json", show...)
	f.wants(exitUsage, "--root", refresh...)
	f.wants(exitYes, "Good until", append(refresh, "--root", f.root)...)
	f.wants(exitYes, "Good until", refresh...)
	var s trustedRootStatus
	if err := json.Unmarshal([]byte(f.wants(exitYes, "sha256:", show...)), &s); err != nil || s.Root != 1 || s.State != tufroot.Good || !s.Expires.Equal(f.now.Add(tuftest.Lifetime)) {
		t.Errorf("%v, %+v", err, s)
	}
	f.wants(exitUnknown, "nothing", audit...) // the trusted root was read, the export is not there

	f.now = f.now.Add(tuftest.Lifetime + time.Hour)
	f.wants(exitYes, "Stale", show...)
	f.wants(exitUnknown, "warning: the trusted root", audit...)
	f.wants(exitUnknown, "trust/expired", refresh...)
	f.now = f.now.Add(grace)
	f.wants(exitUnknown, "TrustedRootExpired", show...)
	f.wants(exitUnknown, "TrustedRootExpired", audit...)
}

func TestARefreshKeepsToTheInitialRootItBeganWith(t *testing.T) {
	t.Parallel()
	f, other := newFolder(t), newFolder(t)
	refresh := func(repo *folder, more ...string) []string {
		return append([]string{"trust", "root", "refresh", "--url", repo.repo.URL(), "--dir", f.dir}, more...)
	}
	f.wants(exitUnknown, "trust/signature", refresh(f, "--root", other.root)...)
	if _, err := os.Stat(filepath.Join(f.dir, anchorFile)); err == nil {
		t.Error("an initial root that nothing follows from was kept")
	}
	f.wants(exitYes, "Good", refresh(f, "--root", f.root)...)
	f.wants(exitUsage, "another initial root", refresh(other, "--root", other.root)...)
	f.wants(exitUnknown, "trust/signature", refresh(other)...)
	f.wants(exitUsage, "https", "trust", "root", "refresh", "--url", "http://tuf.factory.example", "--dir", f.dir)
	f.wants(exitYes, "Good", "trust", "root", "show", "--dir", f.dir)
}
