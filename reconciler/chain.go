package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
)

// head is the newest record of the chain of applied revisions.
type head struct {
	sequence int64
	commit   string
	digest   string
	rendered string
	stored   bool
}

// errChain is a chain that does not hold: a definite no.
var errChain = errors.New("the chain of applied revisions does not hold")

// Chain reads the records of a factory, oldest first. The label is for people:
// anybody who may take it away could hide a record.
func Chain(ctx context.Context, reader client.Reader, factory client.ObjectKey) ([]v1alpha1.AppliedRevision, error) {
	var list v1alpha1.AppliedRevisionList
	err := reader.List(ctx, &list, client.InNamespace(factory.Namespace))
	if err != nil {
		return nil, fmt.Errorf("listing the applied revisions: %w", err)
	}
	records := slices.DeleteFunc(list.Items, func(r v1alpha1.AppliedRevision) bool { return r.Spec.Factory != factory.Name })
	slices.SortFunc(records, func(a, b v1alpha1.AppliedRevision) int { return cmp.Compare(a.Spec.Sequence, b.Spec.Sequence) })
	return records, nil
}

// Records turns the objects into what an audit reads.
func Records(chain []v1alpha1.AppliedRevision) []attest.Record {
	out := make([]attest.Record, 0, len(chain))
	for _, r := range chain {
		out = append(out, attest.Record{
			Sequence: r.Spec.Sequence, Commit: r.Spec.Commit, Digest: r.Spec.Digest, Previous: r.Spec.Previous, Bundle: r.Spec.Bundle,
		})
	}
	return out
}

// headOf takes the newest record and believes it only as far as its signature
// goes: the floor of descent (T10) comes from evidence, not from a status.
func (p *pass) headOf(ctx context.Context) (head, error) {
	// What the cache had before the records are read is never newer than these.
	seen := p.recordVersions(ctx)
	if p.sameRecords(seen) {
		return p.plant.head, nil
	}
	h, err := p.readHead(ctx)
	if err == nil {
		p.plant.records, p.plant.head = seen, h
	}
	return h, err
}

func (p *pass) readHead(ctx context.Context) (head, error) {
	chain, err := Chain(ctx, p.plant.setup.Reader, client.ObjectKeyFromObject(p.factory))
	if err != nil {
		return head{}, at(v1alpha1.ConditionAttested, report.ReasonClusterUnreachable, err)
	}
	// The number of a record must not be given out again: two would bear it. After
	// a restore of etcd the status is as old as the records, so that only who was
	// there knows (row G18).
	known := p.plant.trustedHead.Sequence
	if applied := p.factory.Status.Applied; applied != nil {
		known = max(known, applied.Sequence)
	}
	if known > lastSequence(chain) {
		if err := p.stillThere(ctx); err != nil {
			return head{}, err // the records of another cluster say nothing about this one's
		}
		gone := fmt.Errorf("%w: record %d was there and is gone", errChain, known)
		return head{}, at(v1alpha1.ConditionAttested, report.ReasonChainBroken, gone)
	}
	if len(chain) == 0 {
		return head{}, nil
	}
	newest := chain[len(chain)-1].Spec
	// Trust is in the whole record: the same bundle under another sequence
	// number is a forgery.
	if newest != p.plant.trustedHead {
		if err := p.verifyRecord(newest); err != nil {
			return head{}, at(v1alpha1.ConditionAttested, chainReason(err), err)
		}
		p.plant.trustedHead = newest
	}
	return head{sequence: newest.Sequence, commit: newest.Commit, digest: newest.Digest, rendered: newest.Rendered, stored: chain[len(chain)-1].Status.Stored}, nil
}

func lastSequence(chain []v1alpha1.AppliedRevision) int64 {
	if len(chain) == 0 {
		return 0
	}
	return chain[len(chain)-1].Spec.Sequence
}

func chainReason(err error) string {
	switch {
	case errors.Is(err, errChain):
		return report.ReasonChainBroken
	case errors.Is(err, errNoKey):
		return report.ReasonControllerIncomplete
	}
	return report.ReasonVerifyUnknown
}

// keep goes on putting drift back while the chain does not hold: a record that
// somebody forged must not end the enforcement of what this process saw
// attested. Nothing new is accepted or attested meanwhile.
func (p *pass) keep(ctx context.Context, err error) {
	known, last := p.plant.trustedHead, p.plant.last
	if !errors.Is(err, errChain) || last == nil || known.Commit != string(last.commit()) || known.Rendered != last.manifests.Digest() {
		return
	}
	p.head = head{sequence: known.Sequence, commit: known.Commit, digest: known.Digest, rendered: known.Rendered, stored: true}
	p.enforce(ctx, *last)
}

func (p *pass) verifyRecord(r v1alpha1.AppliedRevisionSpec) error {
	if attest.Digest([]byte(r.Bundle)) != r.Digest {
		return fmt.Errorf("%w: record %d has another digest than its bundle", errChain, r.Sequence)
	}
	if p.factory.Spec.Attest.Signer == signerKey && p.plant.setup.public() == nil {
		return errNoKey
	}
	verified, err := attest.VerifyBundle([]byte(r.Bundle), p.plant.material, p.plant.signedBy(p.factory))
	var refusal *attest.Refusal
	if errors.As(err, &refusal) {
		return fmt.Errorf("%w: record %d: %w", errChain, r.Sequence, err)
	}
	if err != nil {
		return fmt.Errorf("verifying record %d: %w", r.Sequence, err)
	}
	predicate := verified.Statement.Predicate
	if predicate.Sequence != r.Sequence || predicate.Source.Commit != r.Commit || predicate.Rendered.Digest != r.Rendered ||
		predicate.Factory.Name != p.factory.Name || predicate.Factory.Namespace != p.factory.Namespace ||
		predicate.Target.ClusterUID != p.plant.cluster.uid || previousOf(predicate) != r.Previous {
		return fmt.Errorf("%w: record %d is signed, but for another place in the chain, commit, factory or cluster", errChain, r.Sequence)
	}
	return nil
}

func previousOf(p attest.Predicate) string {
	if p.Previous == nil {
		return ""
	}
	return p.Previous.Attestation
}
