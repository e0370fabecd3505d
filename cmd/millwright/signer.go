package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

const (
	reasonNotSigned = "NotSigned"
	reasonNotPushed = "NotPushed"
)

// requireGitsign says early what would otherwise be a riddle after signing.
func (r repository) requireGitsign(ctx context.Context) (program string, err error) {
	format, err := r.config(ctx, "gpg.format")
	if err != nil {
		return "", err
	}
	if program, err = r.config(ctx, "--type=path", "gpg.x509.program"); err != nil {
		return "", err
	}
	if format != "x509" || program == "" {
		return "", unknown{
			reasonNotSigned, "git config --global gpg.format x509; git config --global gpg.x509.program gitsign; git config --global gitsign.rekorMode offline",
			errors.New("git is not set up to sign with gitsign"),
		}
	}
	return program, nil
}

// ident is who makes a commit or a tag, as git writes it: a name, an address
// in brackets, and when.
type ident string

func (i ident) name() string {
	name, _, _ := strings.Cut(string(i), "> ")
	return name + ">"
}

func (i ident) address() string {
	_, address, _ := strings.Cut(string(i), "<")
	address, _, _ = strings.Cut(address, ">")
	return address
}

func (r repository) ident(ctx context.Context, variable string) (ident, error) {
	who, err := r.line(ctx, "var", variable)
	if err != nil {
		return "", unknown{reasonNotSigned, "git config --global user.name NAME; git config --global user.email ADDRESS", err}
	}
	return ident(who), nil
}

// sign asks the signing program in the way git does (git-config, gpg.program):
// the content on its standard input. git itself cannot: git commit takes what is
// staged, git tag writes under refs/tags, and neither passes on what went wrong.
func (r repository) sign(ctx context.Context, program string, who ident, payload []byte) ([]byte, error) {
	armored, said, err := r.run(ctx, payload, "gitsign", exec.CommandContext(ctx, program, "--status-fd=2", "-bsau", who.name()))
	if failed := new(commandError); errors.As(err, &failed) {
		// Progress comes before the error, and the manual after it.
		if _, why, ok := strings.Cut("\n"+failed.said, "\nError: "); ok {
			failed.said, _, _ = strings.Cut(why, "\nUsage:")
		}
	}
	if err == nil && !strings.Contains("\n"+string(said), "\n[GNUPG:] SIG_CREATED ") {
		err = errors.New("gitsign did not say that it signed")
	}
	if err != nil {
		return nil, unknown{reasonNotSigned, "see that gitsign signs an ordinary commit (git commit -S); nothing was changed", err}
	}
	return armored, nil
}

// listed finds who signed, and refuses a signature that would do harm: one by
// somebody who is unknown, or not in force, refuses every commit after it (T2).
func listed(policy *trustpolicy.Policy, c gitverify.Claim, now time.Time) (*trustpolicy.Identity, error) {
	const hint = "sign as somebody whom the policy lists; nothing was changed"
	identity, err := policy.Identify(c.Issuer, c.Subject, c.URI)
	if err != nil {
		return nil, refused{shown(err.Error()) + ": such a signature would refuse all that it stands on", hint}
	}
	if !identity.InForce(now) {
		return nil, refused{fmt.Sprintf("%s is listed in the policy for another time than now", identity.Name), hint}
	}
	if r, ok := policy.RevokedIdentity(identity.Name, now); ok {
		return nil, refused{fmt.Sprintf("%s is revoked in the policy since %s", identity.Name, r.From.UTC().Format(time.RFC3339)), hint}
	}
	if policy.History.Committer != trustpolicy.CommitterAny && len(identity.Emails) > 0 && !slices.Contains(identity.Emails, c.Committer) {
		return nil, refused{
			fmt.Sprintf("signed by %s, but git has the committer address %s", shown(c.Subject), shown(c.Committer)),
			"git config user.email " + identity.Emails[0] + "; nothing was changed",
		}
	}
	return identity, nil
}

// push sends one object to one ref of the remote, never by force unless the
// refspec says so.
func (r repository) push(ctx context.Context, remote, refspec, hint string) error {
	if _, err := r.git(ctx, nil, "push", "--porcelain", "--no-follow-tags", "--recurse-submodules=no", remote, refspec); err != nil {
		return unknown{reasonNotPushed, hint, err}
	}
	return nil
}

// exitCode is that of a program that ran and said no; -1 for anything else.
func exitCode(err error) int {
	if exited := new(exec.ExitError); errors.As(err, &exited) {
		return exited.ExitCode()
	}
	return -1
}
