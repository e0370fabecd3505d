package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
)

// maxGitOutput bounds what one command may answer; the names of changed files
// are the longest that is asked for.
const maxGitOutput = 16 << 20

var errTooLong = errors.New("the answer is longer than anybody could read")

// repository is where the user's own git works: signing and pushing need the
// user's configuration, which only git knows how to read. What is verified is
// never read this way.
type repository struct {
	dir string
	env []string
}

// elsewhere lists the variables that make git work in another place than --repo
// says, as they do inside a hook. Configuration in the environment stays.
func elsewhere() []string {
	return []string{
		"GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_PREFIX",
		"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE",
		"GIT_EXTERNAL_DIFF",
	}
}

func (r repository) environment() []string {
	env := slices.DeleteFunc(slices.Clone(r.env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(elsewhere(), name)
	})
	// Replace refs would show another history than the one that is judged (row C08).
	return append(env, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0", "GIT_PAGER=cat", "GIT_EDITOR=false")
}

// commandError is a program that did not do what it was asked. What it said
// may be anybody's, a server's for one, and is shown as one printable line.
type commandError struct {
	name, said string
	err        error
}

func (e *commandError) Error() string {
	if said := report.OneLine(e.said); said != "" {
		return e.name + ": " + said
	}
	return fmt.Sprintf("%s: %v", e.name, e.err)
}

func (e *commandError) Unwrap() error { return e.err }

// git runs one git command without hooks, pager, editor and prompts. The
// arguments are this program's own, or were checked to be no options.
func (r repository) git(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	fixed := []string{
		"--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false",
		"-c", "i18n.commitEncoding=UTF-8", "-c", "core.quotePath=false",
		"-c", "advice.pushUpdateRejected=false",
	}
	out, _, err := r.run(ctx, stdin, "git "+args[0], exec.CommandContext(ctx, "git", append(fixed, args...)...))
	return out, err
}

// open asks git whether it can work here at all.
func (r repository) open(ctx context.Context) error {
	format, err := r.line(ctx, "rev-parse", "--show-object-format")
	if err != nil {
		return unknown{source.ReasonSourceUnreachable, "name a directory of the repository with --repo", err}
	}
	if format != "sha1" {
		return unknown{source.ReasonSourceUnsupported, "use a SHA-1 repository", fmt.Errorf("this one names its objects by %s", shown(format))}
	}
	return nil
}

// line is the answer of a git command that gives one line.
func (r repository) line(ctx context.Context, args ...string) (string, error) {
	out, err := r.git(ctx, nil, args...)
	return strings.TrimSuffix(string(out), "\n"), err
}

// run gives a command its input and takes what it says. The command stays in
// this session, because signing may have to ask on the terminal.
func (r repository) run(ctx context.Context, stdin []byte, name string, cmd *exec.Cmd) (out, said []byte, err error) {
	var stdout, stderr capture
	cmd.Dir, cmd.Env = r.dir, r.environment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	cmd.WaitDelay = 2 * time.Second
	if err = cmd.Run(); errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; what it left running, a browser for one, still has the pipes
	}
	switch {
	case ctx.Err() != nil:
		return nil, nil, fmt.Errorf("%s: %w", name, ctx.Err())
	case stdout.over:
		return nil, nil, &commandError{name: name, err: errTooLong}
	case err != nil:
		return nil, nil, &commandError{name, stderr.String() + " " + stdout.String(), err}
	}
	return stdout.Bytes(), stderr.Bytes(), nil
}

// capture takes the first bytes of a stream and lets the rest pass.
type capture struct {
	bytes.Buffer
	over bool
}

func (c *capture) Write(p []byte) (int, error) {
	if keep := min(len(p), maxGitOutput-c.Len()); keep < len(p) {
		c.over = true
		c.Buffer.Write(p[:keep])
		return len(p), nil
	}
	return c.Buffer.Write(p)
}

// commit finds the commit that a name stands for; empty when there is none.
func (r repository) commit(ctx context.Context, name string) (string, error) {
	out, err := r.line(ctx, "rev-parse", "--verify", "--quiet", name+"^{commit}")
	if exitCode(err) == 1 {
		return "", nil
	}
	return out, err
}

// config reads one setting of the user's; empty when it is not set.
func (r repository) config(ctx context.Context, args ...string) (string, error) {
	out, err := r.line(ctx, append([]string{"config", "--get"}, args...)...)
	if exitCode(err) == 1 {
		return "", nil
	}
	return out, err
}

// plain refuses names that git would take for an option, or that are no names.
func plain(what, name string) error {
	switch {
	case strings.HasPrefix(name, "-"):
		return usageError{fmt.Errorf("%s %q begins with a dash, like an option", what, name)}
	case len(name) > 1000 || report.OneLine(name) != name || strings.ContainsAny(name, " \x00"):
		return usageError{fmt.Errorf("%s %q is no name", what, report.OneLine(name))}
	}
	return nil
}

// known lists the names under which a branch of a remote may be known here.
// Nothing is fetched: what is signed is what the user could look at.
func (r repository) known(ref, remote string) []string {
	return []string{"refs/remotes/" + cmp.Or(remote, "origin") + "/" + strings.TrimPrefix(ref, "refs/heads/"), ref}
}

func branchRef(ref string) error {
	if !strings.HasPrefix(ref, "refs/heads/") {
		return usageError{fmt.Errorf("--ref %q is not the full name of a branch, such as refs/heads/main", ref)}
	}
	return nil
}
