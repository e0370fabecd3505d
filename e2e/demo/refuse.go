package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"millwright.dev/millwright/e2e/localfactory"
)

// refuseUnsigned brings the whole factory into the repository, in a commit that
// nobody signed.
func (d *demo) refuseUnsigned(ctx context.Context) error {
	d.screen.act("A commit without signature is refused")
	if err := d.site.CopyFactory(nil); err != nil {
		return err
	}
	settings, err := d.site.GoEnvironment(ctx)
	if err != nil {
		return err
	}
	if err := d.do(ctx, d.alice.With(settings...), words("millwright vendor")); err != nil {
		return err
	}
	for _, args := range [][]string{
		words("git add --all"),
		{"git", "commit", "--quiet", "-m", "the whole factory"},
	} {
		if err := d.do(ctx, d.alice, args); err != nil {
			return err
		}
	}
	commit, err := d.site.Head(ctx, d.alice)
	if err != nil {
		return err
	}
	if d.before, err = d.site.Snapshot(ctx); err != nil {
		return err
	}
	if err := d.do(ctx, d.alice, words("git push --quiet --force origin main")); err != nil {
		return err
	}
	if err := d.do(ctx, d.operator, words("kubectl apply -f factory.yaml")); err != nil {
		return err
	}
	return d.refused(ctx, commit, "Unsigned")
}

// refuseStranger has somebody sign the same content whom Sigstore knows and the
// trust policy does not.
func (d *demo) refuseStranger(ctx context.Context) error {
	d.screen.act("The same content, signed by a stranger: a valid signature, but not by anybody whom the policy lists")
	if err := d.do(ctx, d.mallory, words("git commit --quiet --amend --no-edit --reset-author -S")); err != nil {
		return err
	}
	commit, err := d.site.Head(ctx, d.mallory)
	if err != nil {
		return err
	}
	if err := d.push(ctx, d.mallory); err != nil {
		return err
	}
	return d.refused(ctx, commit, "UntrustedIdentity")
}

// shownOfRefusal are the lines of the status that tell of a refusal.
func shownOfRefusal(detail string) []string {
	return []string{"  applied   ", "  refused   ", "            " + detail, "            to mend it"}
}

// refused waits for the refusal of the commit, shows it as an operator sees it,
// and proves that nothing was applied.
func (d *demo) refused(ctx context.Context, commit, reason string) error {
	f, err := localfactory.Await(ctx, d.api, patience, localfactory.Refused(commit, reason))
	if err := d.screen.claim(err, "commit %s is refused: %s", commit[:12], reason); err != nil {
		return err
	}
	if err := d.doExit(ctx, d.operator, 3, words("millwright status"), shownOfRefusal(f.Status.Refused.Detail)...); err != nil {
		return err
	}
	if err := d.do(ctx, d.operator, words("kubectl get factory -n millwright-system")); err != nil {
		return err
	}
	after, err := d.applied(ctx)
	if err != nil {
		return err
	}
	if n := after.ManagedBy("millwright/"); n != 0 {
		err = fmt.Errorf("%d objects were written by the controller", n)
	}
	if changes := after.Changes(d.before); len(changes) > 0 {
		err = errors.Join(err, fmt.Errorf("%d objects are not as they were; first %s", len(changes), changes[0]))
	}
	return d.screen.claim(err, "nothing was applied: all %d objects of the cluster have the resource version they had before; new are records of refusals only", len(after))
}

// applied is all that is in the cluster but for records of refusals, which are
// evidence and not part of the factory.
func (d *demo) applied(ctx context.Context) (localfactory.Snapshot, error) {
	all, err := d.site.Snapshot(ctx)
	for o := range all {
		if o.Resource == "appliedrevisions.millwright.dev" && strings.HasPrefix(o.Name, "factory-refused-") {
			delete(all, o)
		}
	}
	return all, err
}
