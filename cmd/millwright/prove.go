package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
)

const proveLong = `prove shows what became of one object in an applied revision, without showing the
other objects: a file with the object's line in the list of changes, its way to the
root of the list (a Merkle tree, RFC 6962), and the signed record that names the
root. 'millwright prove --check' verifies such a file, offline.

A list has the objects that a revision made, changed or took away. Of one that it
left as it was there is no line.`

const proveExample = `  millwright prove factory --object ConfigMap/tekton-pipelines/feature-flags --to proof.json
  millwright prove factory --object ClusterRole.rbac.authorization.k8s.io/tekton-chains --sequence 4 --to proof.json
  millwright prove --check proof.json --trusted-root trusted_root.json \
      --certificate-identity spiffe://factory.test/factory/reconciler \
      --certificate-oidc-issuer https://oidc.factory.test`

type proving struct {
	gathering
	signedBy

	out        output
	object, to string
	check      string
	sequence   int64
}

func newProveCommand(a *app) *cobra.Command {
	var v proving
	cmd := &cobra.Command{
		Use: "prove [FACTORY]", Short: "Show what became of one object, and check what was shown", Long: proveLong, Example: proveExample, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := v.valid(args); err != nil {
				return usageError{err}
			}
			if v.check != "" {
				return v.verify(a)
			}
			return v.prove(cmd.Context(), a, args[0])
		},
	}
	v.gathering.add(cmd)
	v.signedBy.add(cmd)
	v.out.add(cmd)
	f := cmd.Flags()
	f.StringVar(&v.object, "object", "", "the `object`, KIND[.GROUP]/[NAMESPACE/]NAME")
	f.Int64Var(&v.sequence, "sequence", 0, "`number` of the record; 0: the newest of an applied revision")
	f.StringVar(&v.to, "to", "", "`file` to write")
	f.StringVar(&v.check, "check", "", "check this `file` instead")
	return cmd
}

func (v *proving) valid(args []string) error {
	switch {
	case (len(args) == 1) == (v.check != ""):
		return errors.New("name a FACTORY, or a file with --check")
	case v.check == "" && (v.object == "" || v.to == ""):
		return errors.New("name the --object, and the file to write with --to")
	case v.check != "":
		return v.signedBy.valid()
	}
	return nil
}

func (v *proving) prove(ctx context.Context, a *app, name string) error {
	object, err := attest.ParseObject(v.object)
	if err != nil {
		return usageError{fmt.Errorf("--object: %w", err)}
	}
	e, err := v.records(ctx, name)
	if err != nil {
		return err
	}
	bundle, sequence, err := v.record(e)
	if err != nil {
		return err
	}
	s, err := attest.UnsafeStatement(bundle)
	if err != nil {
		return fmt.Errorf("reading record %d: %w", sequence, err)
	}
	if v.store == nil {
		return errors.New("the Factory has no registry, and lists are nowhere else: name it with --registry")
	}
	changes, err := v.store.List(ctx, s.Predicate.Changes.Objects)
	if err != nil {
		return err
	}
	proof, err := attest.NewProof(bundle, changes, object)
	if errors.Is(err, attest.ErrNotListed) {
		a.say("%v\n", err)
		return errNo
	}
	if err != nil {
		return err
	}
	data, err := proof.Encode()
	if err != nil {
		return err
	}
	if err := replaceFile(v.to, func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s in record %d: line %d of %d\n", object, sequence, proof.Inclusion.Index+1, proof.Inclusion.Size)
	return err
}

// record finds the record that is asked for.
func (v *proving) record(e audit.Evidence) (bundle []byte, sequence int64, err error) {
	for _, r := range slices.Backward(e.Records) {
		s, err := attest.UnsafeStatement([]byte(r.Bundle))
		if v.sequence == 0 && err == nil && s.Enforcement == nil || v.sequence != 0 && r.Sequence == v.sequence {
			return []byte(r.Bundle), r.Sequence, err
		}
	}
	if len(e.Damage) > 0 {
		f := e.Damage[0]
		return nil, 0, fmt.Errorf("record %d and those before could not be read: %s; %s", f.Sequence, f.Detail, f.Hint)
	}
	return nil, 0, errors.New("there is no such record: see the numbers with kubectl get appliedrevisions")
}

// proved is what a proof shows, as it is printed.
type proved struct {
	Answer   string           `json:"answer"`
	Object   attest.ListEntry `json:"object"`
	Factory  attest.Factory   `json:"factory"`
	Cluster  string           `json:"clusterUID"`
	Sequence int64            `json:"sequence"`
	Commit   string           `json:"commit"`
	SignedAt time.Time        `json:"signedAt"`
}

func (v *proving) verify(a *app) error {
	data, err := readBounded(v.check, 4<<20)
	if err != nil {
		return err
	}
	root, err := a.loadTrustedRoot(v.trustedRoot)
	if err != nil {
		return noTrustedRoot(err)
	}
	trusted, err := attest.ParseTrustedRoot(root)
	if err != nil {
		return noTrustedRoot(err)
	}
	policies, err := v.policies()
	if err != nil {
		return err
	}
	proof, err := attest.ParseProof(data)
	var shown attest.Proved
	if err == nil {
		shown, err = verifiedByOne(proof, trusted, policies)
	}
	var no *attest.Refusal
	if errors.As(err, &no) {
		a.say("no: %s: %s; %s\n", no.Code, no.Detail, no.Hint)
		return errNo
	}
	if err != nil {
		return err
	}
	place := shown.Record.Statement.Place()
	p := proved{answerYes, shown.Object, place.Factory, place.Target.ClusterUID, place.Sequence, place.Commit, shown.Record.SignedAt}
	return a.print(v.out, p, p.text)
}

func (p proved) text() string {
	o := p.Object
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	return fmt.Sprintf("yes: %s of %s %s, declared as %s\nby record %d of factory %s in cluster %s, commit %s, signed at %s\n",
		o.Op, o.Kind, name, o.Declared, p.Sequence, p.Factory, p.Cluster, p.Commit, p.SignedAt.Format(time.RFC3339))
}
