package main

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"os"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
)

const auditLong = `audit walks the chain of applied revisions from its first record to its last:
every signature, every link, one factory, one cluster. It reads the records from
the cluster, or offline from a file that --write-export made before.

Nothing but the signatures is believed: they are checked against the trusted
root and the exact identity (or key) that you name.`

const auditExample = `  millwright audit factory --trusted-root trusted_root.json \
      --certificate-identity spiffe://factory.test/factory/reconciler \
      --certificate-oidc-issuer https://oidc.factory.test
  millwright audit --export factory.json --trusted-root trusted_root.json --key attest.pub`

type audit struct {
	cluster
	out                              output
	trustedRoot, export, writeExport string
	subject, issuer, key, head       string
	unsafeWithoutLog                 bool
}

func newAuditCommand(a *app) *cobra.Command {
	var v audit
	cmd := &cobra.Command{
		Use: "audit [FACTORY]", Short: "Check the chain of applied revisions", Long: auditLong, Example: auditExample, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (v.export != "") {
				return usageError{fmt.Errorf("name a FACTORY in a cluster, or a file with --export")}
			}
			if (v.key == "") == (v.subject == "" || v.issuer == "") {
				return usageError{fmt.Errorf("name who must have signed: --certificate-identity with --certificate-oidc-issuer, or --key")}
			}
			return v.run(cmd.Context(), a, args)
		},
	}
	v.add(cmd)
	v.out.add(cmd)
	f := cmd.Flags()
	f.StringVar(&v.trustedRoot, "trusted-root", "", trustedRootUsage)
	f.StringVar(&v.subject, "certificate-identity", "", "exact `subject` of the controller's identity")
	f.StringVar(&v.issuer, "certificate-oidc-issuer", "", "exact `issuer` of the controller's identity")
	f.StringVar(&v.key, "key", "", "PEM `file` with the public key that signed instead")
	f.BoolVar(&v.unsafeWithoutLog, "unsafe-without-log", false, "accept signatures by a key that are in no transparency log")
	f.StringVar(&v.export, "export", "", "read the records from this `file` instead of a cluster")
	f.StringVar(&v.writeExport, "write-export", "", "write the records of the cluster to this `file`")
	f.StringVar(&v.head, "head", "", "`digest` of the newest record, if you know it: shows that none was cut off")
	_ = cmd.MarkFlagRequired("trusted-root")
	return cmd
}

func (v *audit) run(ctx context.Context, a *app, args []string) error {
	opts, err := v.options(a)
	if err != nil {
		return err
	}
	var records []attest.Record
	if v.export != "" {
		records, err = v.offline(&opts)
	} else {
		records, err = v.online(ctx, args[0], &opts)
	}
	if err != nil {
		return err
	}
	result, err := attest.Audit(records, opts)
	if err != nil {
		return err
	}
	if err := a.print(v.out, result, result.Text); err != nil {
		return err
	}
	if !result.OK {
		return errNo
	}
	return nil
}

func (v *audit) options(a *app) (attest.Options, error) {
	data, err := a.loadTrustedRoot(v.trustedRoot)
	if err != nil {
		return attest.Options{}, noTrustedRoot(err)
	}
	var material root.TrustedMaterial
	if material, err = attest.ParseTrustedRoot(data); err != nil {
		return attest.Options{}, noTrustedRoot(err)
	}
	policy := attest.Policy{Identity: attest.Identity{Issuer: v.issuer, Subject: v.subject}}
	if v.key != "" {
		key, err := readPublicKey(v.key)
		if err != nil {
			return attest.Options{}, err
		}
		policy = attest.Policy{Key: key, UnsafeWithoutLog: v.unsafeWithoutLog}
	}
	return attest.Options{TrustedRoot: material, Policies: []attest.Policy{policy}, Head: v.head}, nil
}

func (v *audit) offline(opts *attest.Options) ([]attest.Record, error) {
	data, err := readBounded(v.export, attest.MaxExport)
	if err != nil {
		return nil, err
	}
	export, err := attest.DecodeExport(data)
	if err != nil {
		return nil, err
	}
	opts.Factory, opts.ClusterUID = export.Factory, export.ClusterUID
	return export.Records, nil
}

func (v *audit) online(ctx context.Context, name string, opts *attest.Options) ([]attest.Record, error) {
	_, k, err := v.connect()
	if err != nil {
		return nil, err
	}
	key := client.ObjectKey{Namespace: v.namespace, Name: name}
	var factory v1alpha1.Factory
	if err := k.Get(ctx, key, &factory); err != nil {
		return nil, fmt.Errorf("reading the Factory: %w", err)
	}
	var system corev1.Namespace
	if err := k.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return nil, fmt.Errorf("asking which cluster this is: %w", err)
	}
	chain, err := reconciler.Chain(ctx, k, key)
	if err != nil {
		return nil, err
	}
	opts.Factory = attest.Factory{Namespace: v.namespace, Name: name}
	opts.ClusterUID = string(system.UID)
	if opts.Head == "" && factory.Status.Applied != nil {
		opts.Head = factory.Status.Applied.Attestation
	}
	records := reconciler.Records(chain)
	if v.writeExport == "" {
		return records, nil
	}
	data, err := attest.NewExport(opts.Factory, opts.ClusterUID, records).Encode()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(v.writeExport, data, 0o600); err != nil {
		return nil, fmt.Errorf("writing the export: %w", err)
	}
	return records, nil
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
