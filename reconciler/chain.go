package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// revision is the sequence of the record of the revision in force, until when
	// the newest record reaches, and state what it left.
	revision int64
	until    time.Time
	state    string
	// unstored are the records that the registry has not, the oldest first.
	unstored []int64
	// oldest is the first record that is in the cluster.
	oldest int64
}

// headFrom is what a record and its statement make the newest.
func headFrom(r v1alpha1.AppliedRevisionSpec, s attest.Statement) head {
	place := s.Place()
	h := head{
		sequence: r.Sequence, commit: r.Commit, digest: r.Digest, rendered: r.Rendered,
		revision: r.Sequence, until: place.Until, state: place.State,
	}
	if s.Enforcement != nil {
		h.revision = s.Enforcement.Revision.Sequence
	}
	return h
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
	records := slices.DeleteFunc(list.Items, func(r v1alpha1.AppliedRevision) bool { return r.Spec.Factory != factory.Name || !r.Spec.InChain() })
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

// readHead reads the newest record, and of the others what their names say: there may be
// many, and each has its bundle in it.
func (p *pass) readHead(ctx context.Context) (head, error) {
	places, err := p.places(ctx)
	if err != nil {
		return head{}, at(v1alpha1.ConditionAttested, report.ReasonClusterUnreachable, err)
	}
	newest, err := p.newestOf(ctx, places)
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
	if known > newest.Spec.Sequence {
		if err := p.stillThere(ctx); err != nil {
			return head{}, err // the records of another cluster say nothing about this one's
		}
		gone := fmt.Errorf("%w: record %d was there and is gone", errChain, known)
		return head{}, at(v1alpha1.ConditionAttested, report.ReasonChainBroken, gone)
	}
	if newest.Name == "" {
		return head{}, nil
	}
	// Trust is in the whole record: the same bundle under another sequence
	// number is a forgery.
	// Another signer in the spec may not have signed it.
	signers := p.signers()
	if newest.Spec != p.plant.trustedHead || signers != p.plant.signers {
		statement, err := p.verifyRecord(newest.Spec)
		if err != nil {
			return head{}, at(v1alpha1.ConditionAttested, chainReason(err), err)
		}
		p.plant.trustedHead, p.plant.trusted, p.plant.signers = newest.Spec, headFrom(newest.Spec, statement), signers
	}
	h := p.plant.trusted
	h.oldest = places[0]
	if h.unstored, err = p.unstored(ctx, places, newest); err != nil {
		return head{}, at(v1alpha1.ConditionAttested, report.ReasonClusterUnreachable, err)
	}
	return h, nil
}

// places are the sequence numbers of a factory's records in ascending order, by the
// one name that each may have.
func (p *pass) places(ctx context.Context) ([]int64, error) {
	records, err := p.recordHeads(ctx, p.plant.setup.Reader)
	if err != nil {
		return nil, fmt.Errorf("listing the applied revisions: %w", err)
	}
	var out []int64
	for _, o := range records {
		number, ours := strings.CutPrefix(o.Name, p.factory.Name+"-")
		n, err := strconv.ParseInt(number, 10, 64)
		if ours && err == nil && n > 0 && o.Name == v1alpha1.AppliedRevisionName(p.factory.Name, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// recordHeads are the metadata of all records in the namespace of the factory, those
// beside the chain too.
func (p *pass) recordHeads(ctx context.Context, from client.Reader) ([]metav1.PartialObjectMetadata, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind("AppliedRevisionList"))
	err := from.List(ctx, &list, client.InNamespace(p.factory.Namespace))
	return list.Items, err
}

// recordAt reads the record of a place. One of another factory, kind or place is no
// record of the chain, whatever its name says.
func (p *pass) recordAt(ctx context.Context, place int64) (record v1alpha1.AppliedRevision, is bool, err error) {
	key := client.ObjectKey{Namespace: p.factory.Namespace, Name: v1alpha1.AppliedRevisionName(p.factory.Name, place)}
	if err := p.plant.setup.Reader.Get(ctx, key, &record); err != nil {
		return record, false, fmt.Errorf("reading record %d: %w", place, err)
	}
	return record, p.inChain(record.Spec, place), nil
}

func (p *pass) inChain(r v1alpha1.AppliedRevisionSpec, place int64) bool {
	return r.Factory == p.factory.Name && r.Sequence == place && r.InChain()
}

// newestOf is the newest of some records, or none.
func (p *pass) newestOf(ctx context.Context, places []int64) (v1alpha1.AppliedRevision, error) {
	for _, place := range slices.Backward(places) {
		if record, is, err := p.recordAt(ctx, place); is || err != nil {
			return record, err
		}
	}
	return v1alpha1.AppliedRevision{}, nil
}

// unstored are the records that the registry has not, the oldest first. It gets them
// in their order, so these are the newest ones; where they are many, all are read. The
// oldest of all is looked at, too: it is the next that is removed once it is stored.
func (p *pass) unstored(ctx context.Context, places []int64, newest v1alpha1.AppliedRevision) ([]int64, error) {
	if p.factory.Spec.Attest.Repository == "" {
		return p.allUnstored(ctx) // until there is a registry
	}
	var out []int64
	look := func(place int64) (waits, is bool, err error) {
		record, is := newest, true
		if place != newest.Spec.Sequence {
			record, is, err = p.recordAt(ctx, place)
		}
		return is && !record.Status.Stored, is, err
	}
	stored := false
	for _, place := range slices.Backward(places) {
		if stored && place != places[0] {
			continue
		}
		waits, is, err := look(place)
		switch {
		case err != nil:
			return nil, err
		case waits && len(out) == maxBatch:
			return p.allUnstored(ctx)
		case waits:
			out = append(out, place)
		case is:
			stored = true
		}
	}
	slices.Reverse(out)
	return out, nil
}

func (p *pass) allUnstored(ctx context.Context) ([]int64, error) {
	chain, err := Chain(ctx, p.plant.setup.Reader, client.ObjectKeyFromObject(p.factory))
	var out []int64
	for _, r := range chain {
		if !r.Status.Stored && r.Name == v1alpha1.AppliedRevisionName(p.factory.Name, r.Spec.Sequence) {
			out = append(out, r.Spec.Sequence)
		}
	}
	return out, err
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
	p.head = p.plant.trusted
	p.head.unstored = nil
	p.converge(ctx, *last)
}

func (p *pass) verifyRecord(r v1alpha1.AppliedRevisionSpec) (attest.Statement, error) {
	if attest.Digest([]byte(r.Bundle)) != r.Digest {
		return attest.Statement{}, fmt.Errorf("%w: record %d has another digest than its bundle", errChain, r.Sequence)
	}
	verified, err := p.plant.verifyRecord(p.factory, []byte(r.Bundle), r.Sequence)
	var refusal *attest.Refusal
	if errors.Is(err, errNoKey) {
		return attest.Statement{}, err
	}
	if errors.As(err, &refusal) {
		return attest.Statement{}, fmt.Errorf("%w: record %d: %w", errChain, r.Sequence, err)
	}
	if err != nil {
		return attest.Statement{}, fmt.Errorf("verifying record %d: %w", r.Sequence, err)
	}
	place := verified.Statement.Place()
	if place.Sequence != r.Sequence || place.Commit != r.Commit || place.Rendered != r.Rendered || place.Factory != p.factoryName() ||
		place.Target.ClusterUID != p.plant.cluster.uid || previousOf(place) != r.Previous || typeOf(verified.Statement) != r.Type {
		return attest.Statement{}, fmt.Errorf("%w: record %d is signed, but for another place in the chain, commit, factory or cluster", errChain, r.Sequence)
	}
	return verified.Statement, nil
}

func typeOf(s attest.Statement) string {
	if s.Enforcement != nil {
		return v1alpha1.RecordEnforced
	}
	return v1alpha1.RecordApplied
}

func previousOf(p attest.Place) string {
	if p.Previous == nil {
		return ""
	}
	return p.Previous.Attestation
}
