package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
)

const auditLong = `audit goes again over all that a factory left behind: the chain of its records
from the first to the newest, every signature, every range of commits from the
anchor on by the policies that were in force, and every revision, which it renders
again and compares bit by bit. With --live it compares the newest with the
cluster, too.

It reads the records from the cluster and the commits from --repo (or from where
the Factory has them), or everything, offline, from a file of 'millwright export'.

Nothing is believed but signatures and what you name: the trusted root, who signs
records, the --anchor that everything has to descend from, and the --head, the
newest record. Where you name neither, the answer is "could not tell": whoever
cuts the newest records off leaves a chain that looks whole.

docs/auditing.md has the same with cosign, jq and git alone.`

const auditExample = `  millwright audit factory --trusted-root trusted_root.json --repo ../factory \
      --certificate-identity spiffe://factory.test/factory/reconciler \
      --certificate-oidc-issuer https://oidc.factory.test --live
  millwright audit --export factory.tar.gz --trusted-root trusted_root.json --key attest.pub \
      --anchor 4b825dc642cb6eb9a060e54bf8d69288fbee4904 --head sha256:… --html report.html`

// auditing are the flags of the verb.
type auditing struct {
	gathering
	signedBy

	out                      output
	export, html             string
	head, anchor, clusterUID string
	claim                    string
	render, live             bool
	maxAge                   time.Duration
}

func newAuditCommand(a *app) *cobra.Command {
	var v auditing
	cmd := &cobra.Command{
		Use: "audit [FACTORY]", Short: "Go again over all evidence: records, commits, renderings", Long: auditLong, Example: auditExample, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := v.check(args); err != nil {
				return usageError{err}
			}
			return v.run(cmd.Context(), a, args)
		},
	}
	v.gathering.add(cmd)
	v.signedBy.add(cmd)
	v.out.add(cmd)
	f := cmd.Flags()
	f.StringVar(&v.export, "export", "", "audit this `file` of 'millwright export' instead of a cluster")
	f.StringVar(&v.anchor, "anchor", "", "full id of the `commit` that everything has to descend from")
	f.StringVar(&v.head, "head", "", "`digest` of the newest record: shows that none was cut off")
	f.StringVar(&v.clusterUID, "cluster-uid", "", "UID of the cluster's namespace kube-system, if you know it")
	f.BoolVar(&v.render, "render", true, "render every revision again")
	f.BoolVar(&v.live, "live", false, "compare the newest revision with the cluster")
	f.DurationVar(&v.maxAge, "max-age", 0, "how long ago the newest record may have been signed; 0: any time")
	f.StringVar(&v.claim, "claim", "", "answer from the records whether a `claim` holds: 'no-drift ENVIRONMENT FROM..TO', days or RFC 3339 times")
	f.StringVar(&v.html, "html", "", "write the report to this `file`, too, to be read and filed")
	_ = cmd.MarkFlagRequired("trusted-root")
	return cmd
}

func (v *auditing) check(args []string) error {
	switch {
	case (len(args) == 1) == (v.export != ""):
		return errors.New("name a FACTORY in a cluster, or a file with --export")
	case v.signedBy.valid() != nil:
		return v.signedBy.valid()
	case v.anchor != "" && !fullID(v.anchor):
		return errors.New("--anchor is the full id of a commit, 40 digits")
	}
	return nil
}

func fullID(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 40
}

func (v *auditing) run(ctx context.Context, a *app, args []string) error {
	opts, err := v.options(a)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "millwright-audit-*")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)
	evidence, err := v.evidence(ctx, dir, args, &opts)
	if err != nil {
		return err
	}
	if v.live {
		opts.Live = v.compare(evidence.Objects)
	}
	report, err := audit.Run(ctx, evidence, opts)
	if err != nil {
		return err
	}
	if v.html != "" {
		if err := replaceFile(v.html, report.HTML); err != nil {
			return err
		}
	}
	if err := a.print(v.out, report, report.Text); err != nil {
		return err
	}
	switch report.Answer {
	case audit.Yes:
		return nil
	case audit.No:
		return errNo
	default:
		return errUnknown
	}
}

func (v *auditing) options(a *app) (audit.Options, error) {
	data, err := a.loadTrustedRoot(v.trustedRoot)
	if err != nil {
		return audit.Options{}, noTrustedRoot(err)
	}
	o := audit.Options{
		TrustedRootDigest: attest.Digest(data), Anchor: gitverify.ID(v.anchor), Head: v.head, ClusterUID: v.clusterUID,
		SkipRender: !v.render, MaxAge: v.maxAge, Release: version, Clock: a.now,
	}
	if o.TrustedRoot, err = attest.ParseTrustedRoot(data); err != nil {
		return audit.Options{}, noTrustedRoot(err)
	}
	if o.Commits, err = gitverify.ParseTrustedRoot(data); err != nil {
		return audit.Options{}, noTrustedRoot(err)
	}
	if v.claim != "" {
		claim, err := audit.ParseClaim(v.claim)
		if err != nil {
			return audit.Options{}, usageError{fmt.Errorf("--claim: %w", err)}
		}
		o.Claim = &claim
	}
	o.Signers, err = v.policies()
	return o, err
}

// evidence comes from an export, or from where the Factory has it: then the
// cluster's word for anchor and head counts, unless the auditor has another.
func (v *auditing) evidence(ctx context.Context, dir string, args []string, o *audit.Options) (audit.Evidence, error) {
	if v.export == "" {
		e, err := v.gather(ctx, dir, args[0])
		if o.Anchor == "" {
			o.Anchor = e.Anchor
		}
		if o.Head == "" {
			o.Head = e.Head
		}
		if o.ClusterUID == "" {
			o.ClusterUID = e.ClusterUID
		}
		o.Factory = e.Factory
		return e, err
	}
	file, err := os.Open(v.export)
	if err != nil {
		return audit.Evidence{}, fmt.Errorf("opening the export: %w", err)
	}
	defer file.Close()
	e, err := audit.Open(ctx, file, dir)
	if err != nil {
		return e, err
	}
	if v.repo != "" {
		e.Objects, err = v.local()
	}
	o.Factory = e.Factory
	if o.ClusterUID == "" {
		o.ClusterUID = e.ClusterUID
	}
	return e, err
}

// compare looks at the live cluster, if it is the one that the record is of.
func (v *auditing) compare(objects gitverify.Objects) func(context.Context, attest.Statement, gitverify.Verification) (audit.Comparison, error) {
	return func(ctx context.Context, s attest.Statement, verification gitverify.Verification) (audit.Comparison, error) {
		cfg, k, err := v.connect()
		if err != nil {
			return audit.Comparison{}, err
		}
		place := s.Place()
		uid, err := clusterUID(ctx, k)
		if err != nil {
			return audit.Comparison{}, err
		}
		if uid != place.Target.ClusterUID {
			return audit.Comparison{}, fmt.Errorf("the record is of cluster %s, and %s answers", place.Target.ClusterUID, uid)
		}
		tree, err := gitverify.OpenTree(ctx, objects, verification)
		if err != nil {
			return audit.Comparison{}, err
		}
		key := client.ObjectKey{Namespace: place.Factory.Namespace, Name: place.Factory.Name}
		different, declared, err := reconciler.Live(ctx, cfg, key, tree, place.Target.Environment)
		return audit.Comparison{Different: different, Looked: declared}, err
	}
}

// readPublicKey returns nil where no file is named.
func readPublicKey(path string) (crypto.PublicKey, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no key is an answer
	}
	data, err := readBounded(path, 64<<10)
	if err != nil {
		return nil, err
	}
	return attest.ParsePublicKey(data)
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}
