package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render/upstream"
)

// Exit codes.
const (
	exitYes = iota
	exitUnknown
	exitUsage
	exitNo
)

const rootLong = `millwright checks and explains what millwright-controller does in a cluster.

  fetch → verify → render → permit → test → observe → plan → intend → apply → attest → report

Every verb answers with its exit code: 0 yes, 1 could not tell, 2 wrong usage,
3 no. Most of them print JSON with -o json.`

// errNo is a no that was printed already.
var errNo = errors.New("no")

// errUnknown is a could-not-tell that was printed already.
var errUnknown = errors.New("could not tell")

// usageError is a mistake on the command line.
type usageError struct{ err error }

func (u usageError) Error() string { return u.err.Error() }

// unknown is an error whose reason and hint only the verb can tell.
type unknown struct {
	reason, hint string
	err          error
}

func (u unknown) Error() string { return u.err.Error() }
func (u unknown) Unwrap() error { return u.err }

func noTrustedRoot(err error) error {
	var known *tufroot.Error
	if errors.As(err, &known) {
		return err // it says more precisely what would mend it
	}
	return unknown{report.ReasonTrustedRoot, "name a readable Sigstore trusted_root.json with --trusted-root", err}
}

func (a *app) run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use: "millwright", Short: "A GitOps reconciler for a secure software factory",
		Long: rootLong, SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newVendorCommand(a), newVerifyCommand(a), newRenderCommand(a), newRBACCommand(a), newPlanCommand(a),
		newStatusCommand(a), newExportCommand(a), newAuditCommand(a), newProveCommand(a), newTrustCommand(a), newApproveCommand(a), newHeartbeatCommand(a), newVersionCommand(a),
	)
	cmd, err := root.ExecuteContextC(ctx)
	return a.conclude(cmd, err)
}

// conclude prints what an error means and turns it into an exit code.
func (a *app) conclude(cmd *cobra.Command, err error) int {
	var (
		usage     usageError
		upstreem  *upstream.Refusal
		evidence  *attest.Refusal
		worthless refused
	)
	switch {
	case err == nil:
		return exitYes
	case errors.Is(err, errNo):
		return exitNo
	case errors.Is(err, errUnknown):
		return exitUnknown
	case errors.As(err, &usage), isCobraUsage(err):
		a.say("%s\n\nSee '%s --help'.\n", report.OneLine(err.Error()), cmd.CommandPath())
		return exitUsage
	case errors.As(err, &upstreem), errors.As(err, &evidence), errors.As(err, &worthless):
		a.say("no: %s\n", report.OneLine(err.Error()))
		return exitNo
	}
	var open unknown
	if errors.As(err, &open) {
		a.say("could not tell: %s: %s; to mend it: %s\n", open.reason, report.OneLine(err.Error()), open.hint)
		return exitUnknown
	}
	const unnamed = "CouldNotTell"
	problem := reconciler.Explain(err, unnamed)
	if problem.Class == report.No {
		a.say("no: %s\n", problem.Text())
		return exitNo
	}
	if problem.Reason == unnamed {
		a.say("could not tell: %s\n", problem.Detail)
		return exitUnknown
	}
	a.say("could not tell: %s\n", problem.Text())
	return exitUnknown
}

// isCobraUsage recognises cobra's own errors, which have no type.
func isCobraUsage(err error) bool {
	for _, prefix := range []string{"unknown command", "accepts ", "requires ", "required flag", "invalid argument", "if any flags in the group"} {
		if len(err.Error()) >= len(prefix) && err.Error()[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

func (a *app) say(format string, args ...any) { _, _ = fmt.Fprintf(a.err, format, args...) }

// exactly asks for one argument by its name, not by a count.
func exactly(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return usageError{fmt.Errorf("name %s; %d arguments were given", what, len(args))}
	}
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) <= 1 {
			return nil
		}
		return usageError{fmt.Errorf("name %s, or nothing; %d arguments were given", what, len(args))}
	}
}

// output is the -o flag.
type output string

const (
	outputText     output = "text"
	outputJSON     output = "json"
	outputMarkdown output = "markdown"
)

func (o *output) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP((*string)(o), "output", "o", string(outputText), "text or json")
}

// print writes v as JSON, or the text that text makes.
func (a *app) print(o output, v any, text func() string) error {
	switch o {
	case outputJSON:
		encoder := json.NewEncoder(a.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	case outputText:
		_, err := fmt.Fprint(a.out, text())
		return err
	case outputMarkdown: // only some verbs have it, and print it themselves
	}
	return usageError{fmt.Errorf("-o must be text or json, not %q", string(o))}
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, version)
			return err
		},
	}
}
