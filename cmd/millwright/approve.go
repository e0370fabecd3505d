package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify"
)

const approveLong = `approve says yes to a branch in Git itself: it puts an empty commit on top of it,
signed by you with gitsign, which names the repository and the branch that the
change is meant for. A later change of the approved files makes it void.

First it shows which paths are changed and what the trust policy asks about
them. Neither index nor work tree is looked at: staged changes stay staged, and
are not part of the approval. The branch moves only when the signature is one
that a verifier can accept, by somebody whom the policy lists.`

const approveExample = `  git fetch && git switch feature && git diff origin/main...
  millwright approve --push origin
  millwright approve feature --base 4b825dc642cb6eb9a060e54bf8d69288fbee4904 --yes`

// trailerKey begins the line that says what an approval is for (rule T7).
const trailerKey = "Millwright-Approve: "

type approve struct {
	repository
	branch, ref, base, id, remote string
	yes                           bool
}

func newApproveCommand(a *app) *cobra.Command {
	var v approve
	cmd := &cobra.Command{
		Use: "approve [BRANCH]", Short: "Approve a branch with a signed, empty commit", Long: approveLong, Example: approveExample,
		Args: atMostOne("the BRANCH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if v.env = a.env; len(args) == 1 {
				v.branch = args[0]
			}
			if err := v.checkNames(); err != nil {
				return err
			}
			return v.run(cmd.Context(), a)
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.dir, "repo", ".", "`directory` of the repository")
	f.StringVar(&v.ref, "ref", "refs/heads/main", "full name of the `branch` that the change is to be merged into")
	f.StringVar(&v.base, "base", "", "`commit` to measure the change against (default: --ref as it was last fetched)")
	f.StringVar(&v.id, "repository", "", "repository `id` to approve for (default: the one in the trust policy)")
	f.StringVar(&v.remote, "push", "", "push the branch to this `remote` afterwards")
	f.BoolVarP(&v.yes, "yes", "y", false, "do not ask; needed where there is no terminal")
	return cmd
}

func (v *approve) checkNames() error {
	for what, name := range map[string]string{"the branch": v.branch, "--ref": v.ref, "--base": v.base, "--repository": v.id, "--push": v.remote} {
		if err := plain(what, name); err != nil {
			return err
		}
	}
	return branchRef(v.ref)
}

func (v *approve) run(ctx context.Context, a *app) error {
	if err := v.open(ctx); err != nil {
		return err
	}
	p, err := v.examine(ctx)
	if err != nil {
		return err
	}
	program, err := v.requireGitsign(ctx)
	if err != nil {
		return err
	}
	fmt.Fprint(a.out, p.text())
	if err := v.confirm(ctx, a); err != nil {
		return err
	}
	id, claim, err := v.commitTo(ctx, program, p)
	if err != nil {
		return err
	}
	who, warnings, err := p.accept(claim, a.now())
	if err != nil {
		return err
	}
	for _, w := range warnings {
		a.say("warning: %s\n", w)
	}
	// The old value: somebody who moved the branch meanwhile is not overwritten.
	if _, err := v.git(ctx, nil, "update-ref", "-m", "millwright approve", p.fullBranch(), id, p.tip); err != nil {
		return unknown{reasonNotSigned, "look at what was added to " + p.branch + " meanwhile, then approve again", err}
	}
	fmt.Fprintf(a.out, "approved by %s: %s is now at %s\n", who, shown(p.branch), id)
	if v.remote == "" {
		fmt.Fprintf(a.out, "to publish it: git push REMOTE %s\n", shown(p.branch))
		return nil
	}
	hint := fmt.Sprintf("git push %[1]s %[2]s when it answers; or, if the branch has moved on there, drop this approval (git fetch %[1]s %[2]s, git reset --keep FETCH_HEAD), read what was added, and approve again", shown(v.remote), shown(p.branch))
	if err := v.push(ctx, v.remote, id+":"+p.fullBranch(), hint); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "pushed to %s\n", shown(v.remote))
	return nil
}

// confirm asks where somebody can answer, and takes silence for a no.
func (v *approve) confirm(ctx context.Context, a *app) error {
	if v.yes {
		return nil
	}
	if !a.terminal {
		return usageError{errors.New("there is no terminal to ask on: read what is above, then give --yes")}
	}
	who, err := v.ident(ctx, "GIT_COMMITTER_IDENT")
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\napprove this as %s? [y/N] ", shown(who.name()))
	answer, err := bufio.NewReader(io.LimitReader(a.in, 100)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		a.say("not approved\n")
		return errNo
	}
	return nil
}

// commitTo writes the commit, with the tip's own tree: what is in the index or in
// the work tree cannot get into it. It belongs to no branch yet.
func (v *approve) commitTo(ctx context.Context, program string, p proposal) (string, gitverify.Claim, error) {
	author, err := v.ident(ctx, "GIT_AUTHOR_IDENT")
	if err != nil {
		return "", gitverify.Claim{}, err
	}
	committer, err := v.ident(ctx, "GIT_COMMITTER_IDENT")
	if err != nil {
		return "", gitverify.Claim{}, err
	}
	message := fmt.Sprintf("Approve %s for %s\n\nThe policy of %s (version %d) is asked about %s.\n\n%s%s %s\n",
		p.tip[:12], strings.TrimPrefix(p.ref, "refs/heads/"), p.target[:12], p.policy.Version, counted(len(p.changes), "changed path"),
		trailerKey, p.repository, p.ref)
	head := fmt.Sprintf("tree %s\nparent %s\nauthor %s\ncommitter %s\n", p.tree, p.tip, author, committer)
	armored, err := v.sign(ctx, program, committer, []byte(head+"\n"+message))
	if err != nil {
		return "", gitverify.Claim{}, err
	}
	signature := strings.ReplaceAll(strings.TrimRight(string(armored), "\n"), "\n", "\n ")
	id, err := v.git(ctx, []byte(head+"gpgsig "+signature+"\n\n"+message), "hash-object", "-t", "commit", "-w", "--stdin")
	if err != nil {
		return "", gitverify.Claim{}, err
	}
	made := strings.TrimSpace(string(id))
	claim, err := v.check(ctx, made, p, message)
	return made, claim, err
}

// check reads back what git has, with the eyes of a verifier: exactly an
// approval, or the branch does not move.
func (v *approve) check(ctx context.Context, id string, p proposal, message string) (gitverify.Claim, error) {
	body, err := v.git(ctx, nil, "cat-file", "commit", id)
	if err != nil {
		return gitverify.Claim{}, err
	}
	claim, err := gitverify.ClaimOfCommit(body)
	if err != nil {
		return gitverify.Claim{}, err
	}
	if string(claim.Tree) != p.tree || !slices.Equal(claim.Parents, []gitverify.ID{gitverify.ID(p.tip)}) || string(claim.Message) != message {
		return gitverify.Claim{}, fmt.Errorf("git has another commit than it was given: %s; the branch was not moved", id)
	}
	return claim, nil
}

// accept looks at who signed with the eyes of the policy. A signature by
// somebody unknown would refuse the branch for good (rule T2), and one without
// the role counts for nothing (rule T5).
func (p proposal) accept(c gitverify.Claim, now time.Time) (who string, warnings []string, err error) {
	identity, err := listed(p.policy, c, now)
	if err != nil {
		return "", nil, err
	}
	who = shown(c.Subject)
	var wanted []string
	counts, several := false, false
	for _, d := range p.demands {
		wanted = append(wanted, d.rule.Role)
		if identity.HasRole(d.rule.Role) {
			counts, several = true, several || d.rule.Threshold > 1
		}
	}
	slices.Sort(wanted)
	switch {
	case identity.Person == "":
		warnings = append(warnings, fmt.Sprintf("%s is a machine in the policy; it may sign, and counts for no rule", identity.Name))
	case !counts:
		warnings = append(warnings, fmt.Sprintf("%s has none of the roles that are asked for (%s); the approval counts for nothing", identity.Name, strings.Join(slices.Compact(wanted), ", ")))
	case several && p.own[who]:
		warnings = append(warnings, "you signed commits of this branch yourself: where more than one person is asked for, somebody else has to approve as well")
	}
	if p.repository != p.policy.Repository {
		warnings = append(warnings, fmt.Sprintf("the policy calls the repository %s; the approval names %s and counts only there", p.policy.Repository, p.repository))
	}
	return who, warnings, nil
}
