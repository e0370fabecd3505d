package audit_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/audit/audittest"
	"millwright.dev/millwright/tools/assets"
)

// stock is an auditor who has cosign, jq, git and a shell, and nothing of ours.
type stock struct {
	w      *floor
	path   string
	script string
}

func newStock(t *testing.T, w *floor, cosign string) stock {
	t.Helper()
	page, err := os.ReadFile("../../docs/auditing.md")
	w.must(err)
	s := stock{w: w, path: t.TempDir()}
	for _, m := range regexp.MustCompile("(?s)\n```sh\n(.*?)```\n").FindAllStringSubmatch(string(page), -1) {
		s.script += m[1]
	}
	if strings.Count(s.script, "cosign ") == 0 || strings.Contains(s.script, "millwright ") {
		t.Fatalf("the page has no commands, or some of ours:\n%s", s.script)
	}
	bin, err := assets.Ensure(t.Context(), os.Stderr, cosign)
	w.must(err)
	programs := map[string]string{"cosign": bin.Path(cosign)}
	for _, name := range []string{"jq", "git", "sh", "tar", "gzip", "mkdir", "sha256sum", "cut", "sort", "comm", "wc", "cat"} {
		found, err := exec.LookPath(name)
		if name == "jq" && err != nil {
			t.Skip("SKIPPED: there is no jq on this machine, so the commands of docs/auditing.md were not run")
		}
		w.must(err)
		programs[name] = found
	}
	for name, target := range programs {
		w.must(os.Symlink(target, filepath.Join(s.path, name)))
	}
	return s
}

// run runs the page's commands on an export, as whoever knows this.
func (s stock) run(t *testing.T, export []byte, change ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	root, err := s.w.Virtual.TrustedRootJSON()
	s.w.must(err)
	s.w.must(os.WriteFile(filepath.Join(dir, "factory.tar.gz"), export, 0o600))
	s.w.must(os.WriteFile(filepath.Join(dir, "trusted_root.json"), root, 0o600))
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.path, "sh"), "-eu", "-c", s.script)
	cmd.Dir = dir
	cmd.Env = append([]string{
		"PATH=" + s.path, "HOME=" + dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "TUF_ROOT=" + filepath.Join(dir, "tuf"),
		"TRUSTED_ROOT=trusted_root.json", "SUBJECT=" + audittest.Reconciler, "ISSUER=" + audittest.Workloads,
		"ANCHOR=" + string(s.w.Anchor), "HEAD=" + s.w.newest(),
	}, change...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestAnAuditorWithoutUsComesToTheSameAnswer(t *testing.T) {
	t.Parallel()
	w, _ := keptFloor(t)
	made := map[string]string{}
	decide := func(result string) {
		w.Edit = func(p *attest.Predicate) {
			p.Inputs = nil
			for _, o := range []sigstoretest.SignOptions{{}, {NoLogEntry: true, Stamp: true}} { // with and without a timestamp authority
				bundle := w.verdict(p.Source.Commit, result, o)
				made[attest.Digest([]byte(bundle))] = bundle
				p.Inputs = append(p.Inputs, attest.Input{PredicateType: attest.VerdictType, Attestation: attest.Digest([]byte(bundle))})
			}
		}
		w.change(audittest.Alice, "decided "+result)
	}
	decide("PASSED")
	evidence := func() audit.Evidence {
		e := w.evidence()
		e.Companions = maps.Clone(made)
		return e
	}
	s := newStock(t, w, "cosign")
	good := w.export(evidence())
	out, err := s.run(t, good)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"Verified OK", "rule everything: 1 of maintainer: alice", "ConfigMap default/settings .data.key by kubectl-edit: corrected", "nothing is known from", w.Target.ClusterUID} {
		if !strings.Contains(out, want) {
			t.Errorf("the page does not show %q\n%s", want, out)
		}
	}
	if n := strings.Count(out, "Verified OK"); n != len(w.Records)+2 {
		t.Errorf("%d records and two verdicts were verified %d times\n%s", len(w.Records), n, out)
	}
	if out, err := newStock(t, w, "cosign3").run(t, good); err != nil || strings.Count(out, "Verified OK") != len(w.Records)+2 {
		t.Errorf("with cosign 3: %v\n%s", err, out)
	}
	undecided := evidence()
	undecided.Companions = nil
	lost := evidence()
	lost.Records = append(lost.Records[:2:2], lost.Records[3:]...)
	cut := evidence()
	cut.Records = cut.Records[:5]
	for name, c := range map[string]struct {
		export []byte
		change []string
	}{
		"another subject":      {good, []string{"SUBJECT=" + audittest.Reconciler + "x"}},
		"another issuer":       {good, []string{"ISSUER=" + audittest.Issuer}},
		"another anchor":       {good, []string{"ANCHOR=" + w.Records[4].Commit}},
		"another head":         {good, []string{"HEAD=" + attest.Digest(nil)}},
		"a record is missing":  {w.export(lost), nil},
		"the newest cut off":   {w.export(cut), nil},
		"a verdict is missing": {w.export(undecided), nil},
		"a record was edited":  {remake(t, good, at(second, func(m *member) { m.data = append(m.data, ' ') })), nil},
		"a record was swapped": {remake(t, good, at(second, func(m *member) { m.data = []byte(w.Records[3].Bundle) })), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := s.run(t, c.export, c.change...)
			refuses(t, out, err)
			if r := w.audit(c.export, w.options()); c.change == nil && r.Answer == audit.Yes {
				t.Errorf("and millwright says %q", r.Answer)
			}
		})
	}
}

func TestAnAuditorWithoutUsFindsARefusalThatWasAppliedNevertheless(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		result string
		sign   sigstoretest.SignOptions
	}{
		"a no":                {"FAILED", sigstoretest.SignOptions{}},
		"without any time":    {"PASSED", sigstoretest.SignOptions{NoLogEntry: true}},
		"by somebody else":    {"PASSED", sigstoretest.SignOptions{Subject: "spiffe://factory.test/other", Issuer: audittest.Workloads}},
		"a foreign timestamp": {"PASSED", sigstoretest.SignOptions{NoLogEntry: true, Stamp: true, ForeignStamp: true}},
	} {
		w := newFloor(t, 1)
		made := map[string]string{}
		w.Edit = func(p *attest.Predicate) {
			bundle := w.verdict(p.Source.Commit, c.result, c.sign)
			made[attest.Digest([]byte(bundle))] = bundle
			p.Inputs = []attest.Input{{PredicateType: attest.VerdictType, Attestation: attest.Digest([]byte(bundle))}}
		}
		w.change(audittest.Alice, "applied")
		e := w.evidence()
		e.Companions = made
		export := w.export(e)
		out, err := newStock(t, w, "cosign").run(t, export)
		t.Log(name)
		refuses(t, out, err)
		if r := w.audit(export, w.options()); r.Answer == audit.Yes {
			t.Errorf("%s: and millwright says %q", name, r.Answer)
		}
	}
}

// refuses wants the page to end with an answer, and not for want of a program.
func refuses(t *testing.T, out string, err error) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() == 127 {
		t.Errorf("the page does not refuse it: %v\n%s", err, out)
	}
}

func TestAnAuditorWithoutUsFindsARecordOfAnotherCluster(t *testing.T) { // row F10
	t.Parallel()
	for name, edit := range map[string]func(*attest.Predicate){
		"another cluster":      func(p *attest.Predicate) { p.Target.ClusterUID = "99999999-2a52-4c57-9a55-54d3c1a0f1d2" },
		"another factory":      func(p *attest.Predicate) { p.Factory.Name = "other" },
		"another trust policy": func(p *attest.Predicate) { p.Source.PolicyDigest = attest.Digest(nil) },
	} {
		w := newFloor(t, 1)
		w.Edit = edit
		w.change(audittest.Bob, "elsewhere")
		out, err := newStock(t, w, "cosign").run(t, w.export(w.evidence()))
		t.Log(name)
		refuses(t, out, err)
	}
}
