package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify/trustpolicy"
	"millwright.dev/millwright/reconciler/report"
)

const trustExplainLong = `explain says which rules a change of a path must meet, how many people each of
them takes, and who they are now. The path need not exist. What a change alters
once it is rendered can bring further rules; they are listed after the paths.

The exit code is 3 if no rule is about a path, so that nobody may change it.`

// explained is the answer in JSON.
type explained struct {
	Paths []explainedPath `json:"paths"`
	// Rendered are the rules that depend on what rendering finds.
	Rendered []shownRule `json:"rendered"`
}

type explainedPath struct {
	Path  string      `json:"path"`
	Rules []shownRule `json:"rules"`
}

func newTrustExplainCommand(a *app) *cobra.Command {
	var (
		from policySource
		out  output
		rev  string
	)
	cmd := &cobra.Command{
		Use: "explain PATH...", Short: "Say who may change a path, and how many of them it takes", Long: trustExplainLong,
		Example: "  millwright trust explain bases/spire/server.yaml\n  millwright trust explain --rev main factory-config/trust/policy.yaml -o json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("name at least one PATH")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, path := range args {
				if err := checkTreePath(path); err != nil {
					return err
				}
			}
			p, err := from.load(cmd.Context(), rev)
			if err != nil {
				return err
			}
			e := explainPaths(p, args, a)
			if err := a.print(out, e, e.text); err != nil {
				return err
			}
			for _, path := range e.Paths {
				if len(path.Rules) == 0 {
					return errNo
				}
			}
			return nil
		},
	}
	from.add(cmd)
	out.add(cmd)
	cmd.Flags().StringVar(&rev, "rev", "", "the policy of this `commit`; default: of the work tree")
	return cmd
}

// checkTreePath refuses what no tree has, since the answer would be about
// another path than was meant.
func checkTreePath(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return usageError{fmt.Errorf("%q is not a path of a file from the repository's root, such as bases/spire/server.yaml", path)}
		}
	}
	return nil
}

func explainPaths(p *trustpolicy.Policy, paths []string, a *app) explained {
	e := explained{Rendered: []shownRule{}}
	for _, path := range paths {
		shown := explainedPath{Path: path, Rules: []shownRule{}}
		for _, r := range p.RulesFor(path) {
			shown.Rules = append(shown.Rules, describeRule(p, r, a.now()))
		}
		e.Paths = append(e.Paths, shown)
	}
	for i := range p.Rules {
		if r := &p.Rules[i]; len(r.Affects)+len(r.Objects) > 0 {
			e.Rendered = append(e.Rendered, describeRule(p, r, a.now()))
		}
	}
	return e
}

func (e explained) text() string {
	var b strings.Builder
	for _, path := range e.Paths {
		fmt.Fprintf(&b, "%s\n", report.OneLine(path.Path))
		if len(path.Rules) == 0 {
			fmt.Fprintf(&b, "  no rule is about it: nobody may change it\n")
		}
		for _, r := range path.Rules {
			fmt.Fprintf(&b, "  %s needs %s%s\n", r.Name, r.needs(), r.lack())
		}
	}
	if len(e.Rendered) > 0 {
		fmt.Fprintf(&b, "and once it is rendered\n")
	}
	for _, r := range e.Rendered {
		fmt.Fprintf(&b, "  %s needs %s%s, if it changes %s\n", r.Name, r.needs(), r.lack(), strings.Join(r.About, ", or "))
	}
	return b.String()
}

// lack says that a rule cannot be met now.
func (r shownRule) lack() string {
	if missing := r.Threshold - len(r.People); missing > 0 {
		return fmt.Sprintf(" (%d too few in force now)", missing)
	}
	return ""
}
