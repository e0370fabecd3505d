package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/audit/audittest"
)

// exported is an export on disk, with what its auditor has to name.
type exported struct {
	*audittest.Factory

	file, trustedRoot string
}

func newExported(t *testing.T, revisions int) exported {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := audittest.New(t.TempDir(), time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	must(err)
	for i := range revisions {
		must(f.Change(t.Context(), audittest.Alice, time.Duration(i).String()))
	}
	store, err := f.Store()
	must(err)
	var out bytes.Buffer
	e := audit.Evidence{Factory: f.Place, ClusterUID: f.Target.ClusterUID, Ref: audittest.Ref, Records: f.Records}
	must(audit.Write(t.Context(), &out, e, audit.Contents{History: store}))
	root, err := f.Virtual.TrustedRootJSON()
	must(err)
	x := exported{Factory: f, file: filepath.Join(t.TempDir(), "factory.tar.gz"), trustedRoot: filepath.Join(t.TempDir(), "trusted_root.json")}
	must(os.WriteFile(x.file, out.Bytes(), 0o600))
	must(os.WriteFile(x.trustedRoot, root, 0o600))
	return x
}

// args are those of an auditor who knows who signs.
func (x exported) args(more ...string) []string {
	return append([]string{
		"audit", "--export", x.file, "--trusted-root", x.trustedRoot,
		"--certificate-identity", audittest.Reconciler, "--certificate-oidc-issuer", audittest.Workloads,
	}, more...)
}

func TestAuditAnswersWithItsExitCode(t *testing.T) {
	t.Parallel()
	x := newExported(t, 3)
	anchor, head := "--anchor="+string(x.Anchor), "--head="+x.Records[2].Digest
	for name, c := range map[string]struct {
		more []string
		code int
		want string
	}{
		"all is named":             {[]string{anchor, head}, exitYes, "yes: the chain is whole"},
		"the newest is not named":  {[]string{anchor}, exitUnknown, "could not tell: head/unknown"},
		"another newest record":    {[]string{anchor, "--head=" + x.Records[1].Digest}, exitNo, "no: chain/head record 3"},
		"another anchor":           {[]string{"--anchor=" + x.Records[1].Commit, head}, exitNo, "no: hist/rollback record 1"},
		"an anchor from elsewhere": {[]string{"--anchor=" + strings.Repeat("1", 40), head}, exitUnknown, "could not tell: source/missing"},
		"another cluster":          {[]string{anchor, head, "--cluster-uid=x"}, exitNo, "no: chain/cluster record 1"},
		"long ago":                 {[]string{anchor, head, "--max-age=1h"}, exitNo, "no: freshness/stale"},
		"nothing is rendered":      {[]string{anchor, head, "--render=false"}, exitYes, "left out: render"},
		"a repository of its own":  {[]string{anchor, head, "--repo", x.Dir}, exitYes, "yes: the chain is whole"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := answer(t, x.args(c.more...)...)
			if code != c.code || !strings.Contains(stdout, c.want) || stderr != "" {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, c.code, c.want, stdout, stderr)
			}
		})
	}
	code, stdout, _ := answer(t, x.args(anchor, head, "-o", "json")...)
	var r audit.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitYes || r.Answer != audit.Yes || len(r.Records) != 3 || strings.Contains(stdout, "null") {
		t.Errorf("exit %d, %v\n%s", code, err, stdout)
	}
}
