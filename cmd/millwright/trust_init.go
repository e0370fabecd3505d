package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

const trustInitLong = `init writes a first policy. Every person gets the roles maintainer and security.
One maintainer is enough for a change; the policy itself and the guards of the
factory (admission policies, webhooks, RBAC, trust roots and the like) take two
people of role security, or one if there is only one.

An existing file is never overwritten: a policy is changed by editing it and
raising spec.version.`

const trustInitExample = `  millwright trust init --repository git.example.org/factory \
    --person alice=https://accounts.example.org=alice@factory.example \
    --person bob=https://accounts.example.org=bob@factory.example \
    --heartbeat beat=https://spire.example.org=spiffe://factory.example/ns/ops/sa/beat`

// firstPolicy is the text that init writes; quoting is YAML's, which takes all
// that Go's quoting gives for printable text.
const firstPolicy = `# Who may change this factory, and how many of them it takes. Check a change with
# millwright trust lint, and raise spec.version with it. Every field is described in
# docs/trust-policy.md of Millwright.
apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: factory}
spec:
  version: 1
  repository: {{quote .Repository}}
  identities:
{{- range .People}}
  - name: {{quote .Name}}
    person: {{quote .Name}}
    issuer: {{quote .Issuer}}
    subject: {{quote .Subject}}
    roles: [maintainer, security]
{{- end}}
{{- range .Machines}}
  - name: {{quote .Name}} # a machine: no person
    issuer: {{quote .Issuer}}
    subject: {{quote .Subject}}
    roles: [heartbeat]
{{- end}}
  rules: # all that match must be met; a path without a rule cannot be changed
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
  - {name: trust, paths: [{{quote .Folder}}], role: security, threshold: {{.Threshold}}}
  - {name: guards, objects: [{set: guards}], role: security, threshold: {{.Threshold}}}
{{- if .MaxAge}}
  freshness: {maxAge: {{.MaxAge}}}
{{- end}}
`

type policyDraft struct {
	Repository, Folder, MaxAge string
	People, Machines           []draftSigner
	Threshold                  int
}

type draftSigner struct{ Name, Issuer, Subject string }

func newTrustInitCommand(a *app) *cobra.Command {
	var (
		from             policySource
		draft            policyDraft
		people, machines []string
		maxAge           time.Duration
	)
	cmd := &cobra.Command{
		Use: "init", Short: "Write a first policy", Long: trustInitLong, Example: trustInitExample, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var err error
			if draft.People, err = signersOf("--person", people); err != nil {
				return err
			}
			if draft.Machines, err = signersOf("--heartbeat", machines); err != nil {
				return err
			}
			draft.Threshold, draft.MaxAge = min(2, len(draft.People)), span(maxAge)
			return a.initPolicy(from, draft)
		},
	}
	from.add(cmd)
	f := cmd.Flags()
	f.StringVar(&draft.Repository, "repository", "", "`id` that approvals will name, such as git.example.org/factory")
	f.StringArrayVar(&people, "person", nil, "`name=issuer=subject` of somebody who may sign; may be given several times")
	f.StringArrayVar(&machines, "heartbeat", nil, "`name=issuer=subject` of a machine that signs heartbeats")
	f.DurationVar(&maxAge, "max-age", 7*24*time.Hour, "how long without a commit or a heartbeat the factory is fresh; 0: for ever")
	_ = cmd.MarkFlagRequired("repository")
	_ = cmd.MarkFlagRequired("person")
	return cmd
}

func signersOf(flag string, values []string) ([]draftSigner, error) {
	var signers []draftSigner
	for _, v := range values {
		name, rest, _ := strings.Cut(v, "=")
		issuer, subject, ok := strings.Cut(rest, "=")
		if !ok || name == "" || issuer == "" || subject == "" {
			return nil, usageError{fmt.Errorf("%s %q is not of the form name=issuer=subject", flag, v)}
		}
		signers = append(signers, draftSigner{name, issuer, subject})
	}
	return signers, nil
}

func (a *app) initPolicy(to policySource, draft policyDraft) error {
	folder, _, nested := cutLast(to.path, "/")
	draft.Folder = to.path
	if nested {
		draft.Folder = folder + "/**"
	}
	var text bytes.Buffer
	t := template.Must(template.New("").Funcs(template.FuncMap{"quote": func(s string) string { return fmt.Sprintf("%q", s) }}).Parse(firstPolicy))
	if err := t.Execute(&text, draft); err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	p, err := decodePolicy(text.Bytes(), to.path)
	var bad *policyError
	if errors.As(err, &bad) {
		return usageError{fmt.Errorf("this would be no policy: %s", bad.Detail)}
	}
	if err != nil {
		return err
	}
	name := filepath.Join(to.repo, filepath.FromSlash(to.path))
	if err := writeNew(name, text.Bytes()); err != nil {
		return err
	}
	for _, w := range p.Lint(trustpolicy.Surroundings{Path: to.path, Now: a.now()}) {
		a.say("warning: %s\n", w)
	}
	_, err = fmt.Fprintf(a.out, "wrote %s: version 1, %d people\n", name, len(draft.People))
	return err
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// writeNew writes a file that is not there yet, not even as a link.
func writeNew(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return fmt.Errorf("making the folder of the policy: %w", err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // it is committed, and as public as the rest
	if errors.Is(err, os.ErrExist) {
		return usageError{fmt.Errorf("%s is there already: edit it, and raise spec.version", name)}
	}
	if err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return fmt.Errorf("writing the policy: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	return nil
}
