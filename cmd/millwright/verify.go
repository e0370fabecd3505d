package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/rekorlog"
	"millwright.dev/millwright/reconciler/source"
)

const verifyLong = `verify judges the commits of a local repository as the controller would, and
explains its answer: for every step of the first-parent line after BASE who signed
which commit and when, which rules of the trust policy asked for how many people,
and who vouched; and for a step that is not accepted, who is missing.

BASE is the anchor: it and its policy are trusted by its full id alone. Nothing is
asked over the network, unless --log names a log and the policy has log: online.
To ask before merging whether a branch would be accepted, give the tip of main as
BASE and the branch as HEAD.

With --signatures no trust policy is asked, so that any repository has an answer:
who provably signed each commit that HEAD has and BASE has not, and what the others
lack. With --trusted-root public-good that holds for public repositories, as far as
the proofs embedded in their commits go.

-o markdown is for a comment on a pull request; docs/verify.md names the fields of
-o json.`

const verifyExample = `  millwright verify --trusted-root trusted_root.json 4b825dc642cb6eb9a060e54bf8d69288fbee4904..HEAD
  millwright verify --trusted-root trusted_root.json -o markdown main..feature
  millwright verify --trusted-root trusted_root.json ANCHOR..refs/tags/v1.2.0
  millwright verify --trusted-root public-good --signatures v1.0.0..HEAD`

type verify struct {
	repo, trustedRoot, ref, mainline, floor, log string
	justSignatures                               bool
	out                                          output
}

func newVerifyCommand(a *app) *cobra.Command {
	var v verify
	cmd := &cobra.Command{
		Use: "verify BASE..HEAD", Short: "Say who changed what, whether they may, and who is missing", Long: verifyLong, Example: verifyExample,
		Args: exactly("the range BASE..HEAD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			base, head, ok := strings.Cut(args[0], "..")
			if !ok || base == "" || head == "" || strings.HasPrefix(head, ".") {
				return usageError{fmt.Errorf("%q is not of the form BASE..HEAD", args[0])}
			}
			if strings.HasPrefix(head, "refs/tags/") && !cmd.Flags().Changed("ref") {
				v.ref = head
			}
			return v.run(cmd.Context(), a, base, head)
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.repo, "repo", ".", "`directory` of the repository, bare or not")
	f.StringVar(&v.trustedRoot, "trusted-root", "", trustedRootUsage)
	f.StringVar(&v.ref, "ref", "refs/heads/main", "full name of the followed `ref`, which approvals must name; HEAD itself if that is a full tag name")
	f.StringVar(&v.mainline, "mainline", "", "where --ref is a tag, the `branch` that must have its commit (default refs/heads/main)")
	f.StringVar(&v.floor, "floor", "", "last applied `commit`, which HEAD must descend from; what comes before it is not listed")
	f.StringVar(&v.log, "log", "", "`URL` of a Rekor v1 server that is asked for the log entry of a signature that carries none, where the policy has log: online; empty means never")
	f.BoolVar(&v.justSignatures, "signatures", false, "prove signatures only, of any repository: no trust policy is asked, and nothing is permitted")
	f.StringVarP((*string)(&v.out), "output", "o", string(outputText), "text, json or markdown")
	_ = cmd.MarkFlagRequired("trusted-root")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(outputText), string(outputJSON), string(outputMarkdown)}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (v *verify) run(ctx context.Context, a *app, base, head string) error {
	if v.out != outputText && v.out != outputJSON && v.out != outputMarkdown {
		return usageError{fmt.Errorf("-o must be text, json or markdown, not %q", string(v.out))}
	}
	store, request, err := v.request(base, head)
	if err != nil {
		return local(err)
	}
	trusted, err := a.parseTrustedRoot(v.trustedRoot)
	if err != nil {
		return err
	}
	options := gitverify.Options{}
	if v.log != "" {
		if options.Log, err = rekorlog.New(v.log, &http.Client{}); err != nil {
			return usageError{fmt.Errorf("--log: %w", err)}
		}
	}
	verifier, err := gitverify.New(trusted, options)
	if err != nil {
		return err
	}
	if v.justSignatures {
		return v.signatures(ctx, a, verifier, store, request.Anchor, request.Candidate)
	}
	answer, err := verifier.Explain(ctx, store, request)
	if err != nil {
		return err
	}
	e := explain(request, answer)
	if v.out == outputMarkdown {
		_, err = fmt.Fprint(a.out, e.markdown())
	} else {
		err = a.print(v.out, e, e.text)
	}
	if err == nil && answer.Refusal != nil {
		return errNo
	}
	return err
}

func (v *verify) request(base, head string) (*source.Store, gitverify.Request, error) {
	request := gitverify.Request{Ref: v.ref, Mainline: v.mainline}
	store, err := source.OpenLocal(v.repo)
	if err != nil {
		return nil, request, err
	}
	if request.Anchor, err = store.Resolve(base); err != nil {
		return nil, request, err
	}
	if request.Candidate, err = store.Resolve(head); err != nil {
		return nil, request, err
	}
	if v.floor != "" {
		request.Floor, err = store.Resolve(v.floor)
	}
	return store, request, err
}

// local keeps the reason; its usual hint is about the remote of a Factory.
func local(err error) error {
	var known *source.Error
	if !errors.As(err, &known) {
		return err
	}
	return unknown{known.Reason, "name a repository with --repo, and commits that it has", err}
}

// explain puts the verifier's answer into the words of JSON.
func explain(request gitverify.Request, x gitverify.Explanation) explanation {
	e := explanation{
		Answer: answerYes, Ref: request.Ref, Anchor: string(request.Anchor), Floor: string(request.Floor),
		Commit: string(request.Candidate), Accepted: string(x.Accepted), Steps: []explainedStep{},
	}
	for _, s := range x.Steps {
		e.Steps = append(e.Steps, explainStep(s))
	}
	if x.Pending != nil {
		pending := explainStep(*x.Pending)
		pending.Void = pending.voidApprovals()
		e.Pending = &pending
	}
	if r := x.Refusal; r != nil {
		e.Answer = answerNo
		e.Refusal = &explainedNo{
			Reason: r.Reason, Code: r.Code, Commit: string(r.Commit), Path: r.Path, Detail: r.Detail, Hint: r.Hint, Needs: explainRulings(r.Needs),
		}
		return e
	}
	proof := x.Verification
	e.Commit, e.PolicyVersion, e.PolicyDigest = string(proof.Commit()), proof.PolicyVersion(), proof.PolicyDigest()
	if t, ok := proof.Tag(); ok {
		e.Tag = &explainedTag{t.Name, t.Signer.Subject, t.Signer.Issuer, t.SignedAt.UTC()}
	}
	if proof.NeedsImpact() {
		e.AfterRendering = &afterRendering{list(proof.Overlays())}
	}
	for _, r := range proof.Revoked() {
		e.Revoked = append(e.Revoked, explainedRevoked{string(r.Commit), r.Why})
	}
	return e
}

func explainStep(s gitverify.Step) explainedStep {
	step := explainedStep{Commit: string(s.Commit), PolicyVersion: s.PolicyVersion, Commits: []explainedCommit{}, Rulings: explainRulings(s.Rulings)}
	for _, c := range s.Commits {
		commit := explainedCommit{
			Commit: string(c.Commit), Kind: string(c.Kind), Name: c.Signer.Name, Person: c.Signer.Person,
			Subject: c.Signer.Subject, Issuer: c.Signer.Issuer, Forge: c.Forge, LogIndex: c.LogIndex, Payload: c.Payload, Warnings: c.Warnings,
		}
		if !c.SignedAt.IsZero() {
			at := c.SignedAt.UTC()
			commit.SignedAt = &at
		}
		step.Commits = append(step.Commits, commit)
	}
	return step
}

func explainRulings(rulings []gitverify.Ruling) []explainedRuling {
	all := make([]explainedRuling, 0, len(rulings))
	for _, r := range rulings {
		all = append(all, explainedRuling{
			Rule: r.Rule, Role: r.Role, Threshold: r.Threshold, Paths: list(r.Paths), PathCount: r.PathCount,
			Vouchers: list(r.Vouchers), Missing: r.Missing, Candidates: list(r.Candidates),
		})
	}
	return all
}

// list is never null in JSON.
func list(s []string) []string { return append([]string{}, s...) }
