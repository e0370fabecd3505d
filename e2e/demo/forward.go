package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"millwright.dev/millwright/e2e/localfactory"
)

// goForward mends the refused commit the only way there is, and brings in a
// branch of alice by a merge that bob signs.
func (d *demo) goForward(ctx context.Context) error {
	d.screen.act("The way back is forward: bob reverts, and merges a branch of alice")
	for _, args := range [][]string{
		words("git revert --no-edit -S HEAD"),
		words("git checkout --quiet -b keep-pods"),
	} {
		if err := d.do(ctx, d.bob, args, "] Revert"); err != nil {
			return err
		}
	}
	if err := d.edit("overlays/local/tekton-pipelines/feature-flags.yaml", "\ndata:\n", "\ndata:\n  keep-pod-on-cancel: \"true\"\n"); err != nil {
		return err
	}
	if _, err := d.commit(ctx, d.alice, "keep pods of cancelled runs"); err != nil {
		return err
	}
	for _, args := range [][]string{
		words("git checkout --quiet main"),
		words("git merge --quiet --no-ff --no-edit -S keep-pods"),
	} {
		if err := d.do(ctx, d.bob, args); err != nil {
			return err
		}
	}
	return d.secondRevision(ctx)
}

func (d *demo) secondRevision(ctx context.Context) error {
	commit, err := d.site.Head(ctx, d.bob)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := d.push(ctx, d.bob); err != nil {
		return err
	}
	f, err := localfactory.Await(ctx, d.api, patience, localfactory.Applied(commit))
	took := time.Since(began)
	d.times.took("second revision", took)
	if err := d.screen.claim(err, "commit %s is applied and attested, %.1f s after the push", commit[:12], took.Seconds()); err != nil {
		return err
	}
	flags, err := d.flags(ctx)
	if err != nil {
		return err
	}
	if got := flags.Data["keep-pod-on-cancel"]; got != "true" {
		err = fmt.Errorf("keep-pod-on-cancel is %q", got)
	}
	if f.Status.Applied.Sequence != 2 {
		err = fmt.Errorf("it has number %d", f.Status.Applied.Sequence)
	}
	if err := d.screen.claim(err, "alice's change is live, and its record is number 2 of the chain"); err != nil {
		return err
	}
	return d.do(ctx, d.operator, append(words("millwright verify --repo factory --trusted-root trusted_root.json"), d.anchor+"..refs/heads/main"))
}

// commit signs all changes as somebody.
func (d *demo) commit(ctx context.Context, who localfactory.Person, message string) (string, error) {
	for _, args := range [][]string{
		words("git add --all"),
		{"git", "commit", "--quiet", "-S", "-m", message},
	} {
		if err := d.do(ctx, who, args); err != nil {
			return "", err
		}
	}
	return d.site.Head(ctx, who)
}

// edit replaces text in a file of the work tree, which must be there once.
func (d *demo) edit(name, from, to string) error {
	path := d.site.Path("factory", name)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := bytes.Count(data, []byte(from)); n != 1 {
		return fmt.Errorf("%s holds %q %d times", name, from, n)
	}
	return d.site.Write(name, string(bytes.Replace(data, []byte(from), []byte(to), 1)))
}
