package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

const trustLintLong = `lint decodes a policy as a verifier does, and warns of what is seldom meant: one
person who alone can change it, a rule that cannot be met today, a bare dot in a
pattern, a rule about no file, files that no rule is about. Rules are held against
the files of HEAD, or of the directory if it has no commit.

The exit code is 0 if a verifier would take the policy, and 3 if not; with
--strict also if there is a warning.`

// linted is the answer in JSON.
type linted struct {
	Valid    bool            `json:"valid"`
	Lockout  bool            `json:"lockout,omitempty"`
	Line     int             `json:"line,omitempty"`
	Detail   string          `json:"detail,omitempty"`
	Warnings []lintedWarning `json:"warnings"`
}

type lintedWarning struct {
	Code   string `json:"code"`
	Line   int    `json:"line,omitempty"`
	Detail string `json:"detail"`
}

func newTrustLintCommand(a *app) *cobra.Command {
	var (
		from   policySource
		out    output
		strict bool
	)
	cmd := &cobra.Command{
		Use: "lint [FILE]", Short: "Say what is wrong with a policy, or seldom meant", Long: trustLintLong, Args: atMostOne("a FILE"),
		Example: "  millwright trust lint\n  millwright trust lint draft.yaml --strict",
		RunE: func(cmd *cobra.Command, args []string) error {
			name := filepath.Join(from.repo, filepath.FromSlash(from.path))
			if len(args) == 1 {
				name = args[0]
			}
			data, err := readPolicyFile(name)
			if err != nil {
				return err
			}
			p, err := decodePolicy(data, from.path)
			if err == nil {
				err = locked(p, from.path, a.now())
			}
			var bad *policyError
			if errors.As(err, &bad) {
				bad.path = name
			}
			if bad != nil && out == outputJSON {
				return errors.Join(a.print(out, linted{Lockout: bad.Lockout, Line: bad.Line, Detail: bad.Detail, Warnings: []lintedWarning{}}, nil), errNo)
			}
			if err != nil {
				return err
			}
			files, err := listFiles(cmd.Context(), from.repo)
			if err != nil {
				return fmt.Errorf("listing the files in %s: %w", from.repo, err)
			}
			if !slices.Contains(files, from.path) {
				files = append(files, from.path) // it is about to be committed
			}
			warnings := p.Lint(trustpolicy.Surroundings{Path: from.path, Now: a.now(), Files: files})
			if err := a.print(out, describeLint(warnings), func() string { return lintText(p, warnings) }); err != nil {
				return err
			}
			if strict && len(warnings) > 0 {
				return errNo
			}
			return nil
		},
	}
	from.add(cmd)
	out.add(cmd)
	cmd.Flags().BoolVar(&strict, "strict", false, "take a warning for a no")
	return cmd
}

// locked refuses what a verifier refuses once somebody signs it now.
func locked(p *trustpolicy.Policy, path string, now time.Time) error {
	if bad := p.Locked(path, now); bad != nil {
		return &policyError{path, bad}
	}
	return nil
}

func describeLint(warnings []trustpolicy.Warning) linted {
	l := linted{Valid: true, Warnings: []lintedWarning{}}
	for _, w := range warnings {
		l.Warnings = append(l.Warnings, lintedWarning{w.Code, w.Line, w.Detail})
	}
	return l
}

func lintText(p *trustpolicy.Policy, warnings []trustpolicy.Warning) string {
	var b strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	fmt.Fprintf(&b, "yes: a verifier takes version %d with %d identities and %d rules; warnings: %d\n",
		p.Version, len(p.Identities), len(p.Rules), len(warnings))
	return b.String()
}
