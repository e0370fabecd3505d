package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

const verifyLong = `verify judges the commits of a local repository as the controller would: every
commit after BASE up to HEAD, on all sides of merges, must be signed (gitsign,
rekorMode=offline) by somebody whom the trust policy in force before it lists.

BASE is the anchor: it is trusted by its full id alone. The trusted root is a
Sigstore trusted_root.json. Nothing is asked over the network.`

const verifyExample = `  millwright verify --trusted-root trusted_root.json 4b825dc642cb6eb9a060e54bf8d69288fbee4904..HEAD
  millwright verify --trusted-root trusted_root.json -o json ANCHOR..refs/heads/main`

// verified is the answer in JSON.
type verified struct {
	Commit        string          `json:"commit"`
	Anchor        string          `json:"anchor"`
	Ref           string          `json:"ref"`
	PolicyVersion int64           `json:"policyVersion"`
	PolicyDigest  string          `json:"policyDigest"`
	Commits       []verifiedEntry `json:"commits"`
}

type verifiedEntry struct {
	Commit   string    `json:"commit"`
	Name     string    `json:"name"`
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	SignedAt time.Time `json:"signedAt"`
	LogIndex int64     `json:"logIndex"`
}

func newVerifyCommand(a *app) *cobra.Command {
	var (
		repo, trustedRoot, ref, floor string
		out                           output
	)
	cmd := &cobra.Command{
		Use: "verify BASE..HEAD", Short: "Say who signed each commit, and whether they may", Long: verifyLong, Example: verifyExample,
		Args: exactly("the range BASE..HEAD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			base, head, ok := strings.Cut(args[0], "..")
			if !ok || base == "" || head == "" {
				return usageError{fmt.Errorf("%q is not of the form BASE..HEAD", args[0])}
			}
			store, err := source.OpenLocal(repo)
			if err != nil {
				return local(err)
			}
			request := gitverify.Request{Ref: ref, Floor: gitverify.ID(floor)}
			if request.Anchor, err = store.Resolve(base); err != nil {
				return local(err)
			}
			if request.Candidate, err = store.Resolve(head); err != nil {
				return local(err)
			}
			trusted, err := gitverify.LoadTrustedRootFile(trustedRoot)
			if err != nil {
				return noTrustedRoot(err)
			}
			verifier, err := gitverify.New(trusted, gitverify.Options{})
			if err != nil {
				return err
			}
			verification, err := verifier.Verify(cmd.Context(), store, request)
			if err != nil {
				return err
			}
			v := describeVerification(verification)
			return a.print(out, v, v.text)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "`directory` of the repository, bare or not")
	cmd.Flags().StringVar(&trustedRoot, "trusted-root", "", "Sigstore trusted_root.json `file`")
	cmd.Flags().StringVar(&ref, "ref", "refs/heads/main", "full name of the followed ref")
	cmd.Flags().StringVar(&floor, "floor", "", "last applied `commit`, which HEAD must descend from")
	_ = cmd.MarkFlagRequired("trusted-root")
	out.add(cmd)
	return cmd
}

// local keeps the reason; its usual hint is about the remote of a Factory.
func local(err error) error {
	var known *source.Error
	if !errors.As(err, &known) {
		return err
	}
	return unknown{known.Reason, "name a repository with --repo, and commits that it has", err}
}

func describeVerification(v gitverify.Verification) verified {
	out := verified{
		Commit: string(v.Commit()), Anchor: string(v.Anchor()), Ref: v.Ref(),
		PolicyVersion: v.PolicyVersion(), PolicyDigest: v.PolicyDigest(), Commits: []verifiedEntry{},
	}
	for _, c := range v.Checked() {
		out.Commits = append(out.Commits, verifiedEntry{
			Commit: string(c.Commit), Name: c.Signer.Name, Subject: c.Signer.Subject, Issuer: c.Signer.Issuer,
			SignedAt: c.SignedAt.UTC(), LogIndex: c.LogIndex,
		})
	}
	return out
}

func (v verified) text() string {
	var b strings.Builder
	for _, c := range v.Commits {
		fmt.Fprintf(&b, "%s  %s  %-30s log %d\n", c.Commit[:12], c.SignedAt.Format(time.RFC3339), c.Subject, c.LogIndex)
	}
	fmt.Fprintf(&b, "yes: %d commits from %s to %s are signed as policy version %d asks\n",
		len(v.Commits), v.Anchor[:12], v.Commit[:12], v.PolicyVersion)
	return b.String()
}
