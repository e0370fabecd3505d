package audit_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
)

func TestAWholeFactoryIsAuditedOfflineFromItsExport(t *testing.T) {
	t.Parallel()
	w := newFloor(t, 4)
	r := w.audit(w.export(w.evidence()), w.options())
	want(t, r, audit.Yes)
	for _, c := range r.Checks {
		if c.Answer != audit.Yes && c.Answer != audit.LeftOut {
			t.Errorf("%+v", c)
		}
	}
	for _, l := range r.Records {
		if l.Source != audit.Yes || l.Rendered != audit.Yes || !l.Verified || l.SignedAt == nil {
			t.Errorf("record %+v", l)
		}
	}
	if !strings.HasPrefix(lastLine(r.Text()), "yes: the chain is whole") {
		t.Errorf("the text ends otherwise:\n%s", r.Text())
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// Whoever knows less gets fewer answers, and never a yes for want of a question.
func TestWhatNobodyNamedStaysOpen(t *testing.T) {
	t.Parallel()
	w := newFloor(t, 2)
	for name, c := range map[string]struct {
		change func(*audit.Options, *audit.Evidence)
		codes  []string
	}{
		"the newest record":            {func(o *audit.Options, _ *audit.Evidence) { o.Head = "" }, []string{audit.CodeHeadUnknown}},
		"the anchor":                   {func(o *audit.Options, _ *audit.Evidence) { o.Anchor = "" }, []string{audit.CodeAnchorUnknown}},
		"the history":                  {func(_ *audit.Options, e *audit.Evidence) { e.Objects = nil }, []string{audit.CodeRenderMissing, audit.CodeSourceMissing}},
		"the release that rendered it": {func(o *audit.Options, _ *audit.Evidence) { o.Release = "v9" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, e := w.options(), w.evidence()
			c.change(&o, &e)
			answer := audit.Unknown
			if c.codes == nil { // it renders alike: the release does not matter
				answer = audit.Yes
			}
			want(t, w.run(e, o), answer, c.codes...)
		})
	}
}

// Stock git takes what is in an export.
func TestTheHistoryInAnExportIsOneThatGitClones(t *testing.T) {
	t.Parallel()
	w := newFloor(t, 3)
	dir := t.TempDir()
	export := unpack(t, w.export(w.evidence()), dir)
	for _, args := range [][]string{
		{"bundle", "verify", "-q", export("source.bundle")},
		{"clone", "-q", export("source.bundle"), filepath.Join(dir, "clone")},
		{"-C", filepath.Join(dir, "clone"), "fsck", "--strict", "--full"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Env = []string{"HOME=" + dir, "PATH=" + t.TempDir() + ":/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM=1"}
		cmd.Dir = w.Dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	cmd := exec.CommandContext(t.Context(), "git", "-C", filepath.Join(dir, "clone"), "rev-parse", "HEAD")
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != string(w.Head()) {
		t.Errorf("the clone is at %s: %v", out, err)
	}
}

func TestTheSameEvidenceMakesTheSameExport(t *testing.T) {
	t.Parallel()
	w := newFloor(t, 2)
	a, b := w.export(w.evidence()), w.export(w.evidence())
	if attest.Digest(a) != attest.Digest(b) {
		t.Error("two exports of the same evidence differ")
	}
}
