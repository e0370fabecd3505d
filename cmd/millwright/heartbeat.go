package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

const heartbeatLong = `heartbeat says, signed, which commit is the tip of the followed branch now. It makes
a signed tag object named heartbeat under refs/millwright/heartbeat, and with --push
replaces the one on the remote.

A factory whose trust policy has spec.freshness.maxAge becomes Stale, an alarm, when
neither a new commit nor a heartbeat came for that long: a server that withholds
commits can hold back the heartbeat too, but it cannot make one. Run it from a
scheduled job, which fetched just before, with an identity of role heartbeat.`

const heartbeatExample = `  git fetch origin && millwright heartbeat --push origin
  millwright heartbeat --ref refs/heads/release origin/release`

// Where the heartbeat is, and what its tag is called (rule T11).
const (
	heartbeatRef  = "refs/millwright/heartbeat"
	heartbeatName = "heartbeat"
)

type heartbeat struct {
	repository
	name, ref, remote string
}

func newHeartbeatCommand(a *app) *cobra.Command {
	var v heartbeat
	cmd := &cobra.Command{
		Use: "heartbeat [COMMIT]", Short: "Sign which commit is the tip now", Long: heartbeatLong, Example: heartbeatExample,
		Args: atMostOne("the COMMIT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if v.env = a.env; len(args) == 1 {
				v.name = args[0]
			}
			if err := v.checkNames(); err != nil {
				return err
			}
			return v.run(cmd.Context(), a)
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.dir, "repo", ".", "`directory` of the repository")
	f.StringVar(&v.ref, "ref", "refs/heads/main", "full name of the followed `branch`; without COMMIT, its tip as it was last fetched")
	f.StringVar(&v.remote, "push", "", "push the heartbeat to this `remote`")
	return cmd
}

func (v *heartbeat) checkNames() error {
	for what, name := range map[string]string{"the commit": v.name, "--ref": v.ref, "--push": v.remote} {
		if err := plain(what, name); err != nil {
			return err
		}
	}
	return branchRef(v.ref)
}

func (v *heartbeat) run(ctx context.Context, a *app) error {
	if err := v.open(ctx); err != nil {
		return err
	}
	tip, err := v.tip(ctx)
	if err != nil {
		return err
	}
	policy, err := v.policyAt(ctx, tip)
	if err != nil {
		return err
	}
	program, err := v.requireGitsign(ctx)
	if err != nil {
		return err
	}
	who, err := v.ident(ctx, "GIT_COMMITTER_IDENT")
	if err != nil {
		return err
	}
	payload := fmt.Appendf(nil, "object %s\ntype commit\ntag %s\ntagger %s\n\nTip of %s of %s\n", tip, heartbeatName, who, v.ref, policy.Repository)
	armored, err := v.sign(ctx, program, who, payload)
	if err != nil {
		return err
	}
	claim, err := gitverify.ClaimOfSignature(armored, payload)
	if err != nil {
		return err
	}
	claim.Committer = who.address()
	identity, err := listed(policy, claim, a.now())
	if err != nil {
		return err
	}
	if !identity.HasRole(trustpolicy.RoleHeartbeat) {
		return refused{fmt.Sprintf("%s does not have the role %s in the policy", identity.Name, trustpolicy.RoleHeartbeat), "sign as somebody who has it; nothing was changed"}
	}
	id, err := v.git(ctx, append(payload, armored...), "mktag")
	if err != nil {
		return err
	}
	object := strings.TrimSpace(string(id))
	if _, err := v.git(ctx, nil, "update-ref", "-m", "millwright heartbeat", heartbeatRef, object); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "heartbeat %s by %s: the tip of %s is %s\n", object, shown(claim.Subject), v.ref, tip)
	// There is one heartbeat, and the new one takes the place of the old.
	refspec := "+" + heartbeatRef + ":" + heartbeatRef
	if v.remote == "" {
		fmt.Fprintf(a.out, "to publish it: git push REMOTE %s\n", refspec)
		return nil
	}
	if err := v.push(ctx, v.remote, refspec, "git push "+shown(v.remote)+" "+refspec+", when it answers and takes it"); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "pushed to %s\n", shown(v.remote))
	return nil
}

func (v *heartbeat) tip(ctx context.Context) (string, error) {
	names := []string{v.name}
	if v.name == "" {
		names = v.known(v.ref, v.remote)
	}
	for _, name := range names {
		if id, err := v.commit(ctx, name); err != nil || id != "" {
			return id, err
		}
	}
	return "", refused{cmp.Or(v.name, v.ref) + " is no commit that is known here", "git fetch, or name the commit"}
}
