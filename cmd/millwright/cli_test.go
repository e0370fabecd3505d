package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(withSigstore{m})) }

type withSigstore struct{ m *testing.M }

func (w withSigstore) Run() int { return sigstoretest.Main(w.m) }

// answer runs the command as a shell would.
func answer(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &err, now: time.Now}
	code = a.run(t.Context(), args)
	return code, out.String(), err.String()
}

func TestExitCodesAndMessagesSayWhatToDo(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	cases := map[string]struct {
		args []string
		code int
		want string
	}{
		"no arguments show the verbs":       {nil, exitYes, "audit"},
		"an unknown verb":                   {[]string{"bogus"}, exitUsage, `unknown command "bogus"`},
		"an unknown flag":                   {[]string{"render", "--bogus"}, exitUsage, "See 'millwright render --help'"},
		"a range is missing":                {[]string{"verify", "--trusted-root", "x"}, exitUsage, "name the range BASE..HEAD"},
		"a range without dots":              {[]string{"verify", "--trusted-root", "x", "HEAD"}, exitUsage, "BASE..HEAD"},
		"a trusted root is not named":       {[]string{"verify", "a..b"}, exitUsage, "trusted-root"},
		"a directory that is no repository": {[]string{"verify", "--repo", tree, "--trusted-root", "x", "a..b"}, exitUnknown, "SourceUnreachable"},
		"a tree without a factory":          {[]string{"render", "--root", tree}, exitNo, "factory/missing"},
		"an output format that is none":     {[]string{"render", "--root", "testdata/tree", "-o", "xml"}, exitUsage, "must be yaml, json or digest"},
		"an environment that is none":       {[]string{"render", "--root", "testdata/tree", "--environment", "mars"}, exitNo, "factory/environment"},
		"a cluster that is away":            {[]string{"status", "--kubeconfig", "/nonexistent"}, exitUnknown, "kubeconfig"},
		"an audit of nothing":               {[]string{"audit", "--trusted-root", "x"}, exitUsage, "--export"},
		"an audit that names nobody":        {[]string{"audit", "f", "--trusted-root", "x"}, exitUsage, "--certificate-identity"},
		"an export that is none":            {[]string{"audit", "--export", "testdata/tree/factory-config/factory.yaml", "--trusted-root", "public-good", "--certificate-identity", "x", "--certificate-oidc-issuer", "y"}, exitNo, "export/invalid"},
		"an anchor that is cut short":       {[]string{"audit", "f", "--trusted-root", "x", "--key", "k", "--anchor", "4b825dc"}, exitUsage, "40 digits"},
		"an export to nowhere":              {[]string{"export", "f"}, exitUsage, "to"},
		"a lock that pins nothing":          {[]string{"vendor", "--root", tree, "nope"}, exitUnknown, "bases"},
		"a shell completion":                {[]string{"completion", "bash"}, exitYes, "bash completion"},
		"the version":                       {[]string{"version"}, exitYes, "dev"},
		"a rendered tree":                   {[]string{"render", "--root", "testdata/tree", "-o", "digest"}, exitYes, "all 2 objects"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := answer(t, c.args...)
			if code != c.code || !strings.Contains(stdout+stderr, c.want) {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, c.code, c.want, stdout, stderr)
			}
			if lines := strings.Count(strings.TrimSpace(stderr), "\n"); lines > 2 {
				t.Errorf("the message has %d lines:\n%s", lines+1, stderr)
			}
		})
	}
}

// What the verbs that people use by hand promise is read before it is changed.
func TestHelpIsWhatWasAgreed(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"approve", "audit", "export", "heartbeat", "verify"} {
		code, stdout, stderr := answer(t, verb, "--help")
		if code != exitYes || stderr != "" {
			t.Errorf("exit %d\n%s", code, stderr)
		}
		golden(t, "help/"+verb+".txt", stdout)
	}
}

func TestShellsCompleteTheForms(t *testing.T) {
	t.Parallel()
	code, stdout, _ := answer(t, "__complete", "verify", "--output", "")
	if code != exitYes || !strings.HasPrefix(stdout, "text\njson\nmarkdown\n") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
}
