package attest

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// MaxRecords bounds a chain that is audited in one go.
const MaxRecords = 100_000

// Record is one link of the chain as it is stored: what the store says beside
// the bundle is checked against what the bundle's statement says.
type Record struct {
	Sequence int64  `json:"sequence"`
	Commit   string `json:"commit"`
	// Digest is "sha256:<hex>" of the bundle, Previous that of the record before.
	Digest   string `json:"digest"`
	Previous string `json:"previous,omitempty"`
	// Bundle is the bundle's JSON, byte for byte as it was signed and stored.
	Bundle string `json:"bundle"`
}

// Options of an audit.
type Options struct {
	TrustedRoot root.TrustedMaterial
	// Policies say who may have signed: every record must satisfy one of them.
	// Two are needed for a chain that a key file began, before the factory's
	// own Sigstore was there to continue it.
	Policies []Policy
	// Factory and ClusterUID, when set, must be those of every record; when
	// not, all records must agree with the first.
	Factory    Factory
	ClusterUID string
	// Head, when set, is the digest that the newest record must have: without
	// it nobody can tell that the newest records were cut off.
	Head string
}

// Finding is one thing that is wrong with the chain.
type Finding struct {
	// Code is stable, for example chain/gap.
	Code string `json:"code"`
	// Sequence of the record; 0 when it is about the whole chain.
	Sequence int64  `json:"sequence"`
	Detail   string `json:"detail"`
	Hint     string `json:"hint,omitempty"`
}

// Audit checks a chain from its first record to its last, offline: every
// bundle, every link, one factory, one cluster. Records may come in any order.
// An error means that the audit could not be made; what is wrong with the
// records is in the report.
func Audit(records []Record, opts Options) (Report, error) {
	if len(records) > MaxRecords {
		return Report{}, fmt.Errorf("more than %d records", MaxRecords)
	}
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b Record) int { return cmp.Compare(a.Sequence, b.Sequence) })
	a := auditor{opts: opts, report: Report{Factory: opts.Factory, ClusterUID: opts.ClusterUID, Findings: []Finding{}, Records: []Audited{}}}
	if len(records) == 0 {
		a.find(0, CodeChainEmpty, "ask the factory's cluster or registry for its records", "there are no records")
	}
	for i, answer := range a.verifyAll(records) {
		if err := a.record(records[i], answer); err != nil {
			return Report{}, err
		}
	}
	a.head()
	a.report.OK = len(a.report.Findings) == 0
	return a.report, nil
}

// auditor walks the chain; last is the record before, as stored and as verified.
type auditor struct {
	opts     Options
	report   Report
	last     Record
	verified *Statement
	seen     bool
}

func (a *auditor) find(sequence int64, code, hint, format string, args ...any) {
	a.report.Findings = append(a.report.Findings, Finding{
		Code: code, Sequence: sequence, Detail: clean(fmt.Sprintf(format, args...), 500), Hint: hint,
	})
}

// answer is what came of verifying one bundle.
type answer struct {
	verified Verified
	err      error
}

// verifyAll verifies the bundles side by side: what a signature proves does not
// depend on the other records. What follows from it is judged in their order.
func (a *auditor) verifyAll(records []Record) []answer {
	answers := make([]answer, len(records))
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(records)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(records); i = int(next.Add(1)) - 1 {
				answers[i].verified, answers[i].err = a.verify(records[i])
			}
		})
	}
	group.Wait()
	return answers
}

func (a *auditor) record(r Record, answer answer) error {
	a.link(r)
	line := Audited{Sequence: r.Sequence, Commit: clean(r.Commit, 64), Digest: Digest([]byte(r.Bundle)), LogIndex: -1}
	v, err := answer.verified, answer.err
	var no *Refusal
	switch {
	case errors.As(err, &no):
		a.find(r.Sequence, no.Code, no.Hint, "%s", no.Detail)
		a.verified = nil
	case err != nil:
		return fmt.Errorf("verifying record %d: %w", r.Sequence, err)
	default:
		a.statement(r, v.Statement)
		line.fill(v)
		a.verified = &v.Statement
	}
	a.report.Records = append(a.report.Records, line)
	a.last, a.seen = r, true
	return nil
}

// verify tries the policies in their order; when none is satisfied, the
// refusal that says whose signature it was is the one worth reading.
func (a *auditor) verify(r Record) (Verified, error) {
	if len(a.opts.Policies) == 0 {
		return Verified{}, errors.New("an audit needs a policy")
	}
	var worth *Refusal
	for _, p := range a.opts.Policies {
		v, err := VerifyBundle([]byte(r.Bundle), a.opts.TrustedRoot, p)
		var no *Refusal
		if !errors.As(err, &no) {
			return v, err
		}
		if worth == nil || no.Code == CodeBundleIdentity {
			worth = no
		}
	}
	return Verified{}, worth
}

// link checks what needs no signature: numbers and digests.
func (a *auditor) link(r Record) {
	if got := Digest([]byte(r.Bundle)); got != r.Digest {
		a.find(r.Sequence, CodeRecordDigest, "the record or its bundle was edited", "bundle has digest %s and the record says %s", got, r.Digest)
	}
	want, previous := int64(1), ""
	if a.seen {
		want, previous = a.last.Sequence+1, Digest([]byte(a.last.Bundle))
	}
	switch {
	case r.Sequence < want:
		a.find(r.Sequence, CodeChainGap, "a sequence number is given once", "sequence %d occurs again or is below 1", r.Sequence)
	case r.Sequence > want:
		a.find(r.Sequence, CodeChainGap, "fetch the missing records from the cluster or the registry", "records %d to %d are missing", want, r.Sequence-1)
	case r.Previous != previous:
		a.find(r.Sequence, CodeChainPrevious, "a record was exchanged or left out", "previous is %q and the record before has %q", r.Previous, previous)
	}
}

// statement checks what was signed against the record and its neighbours.
func (a *auditor) statement(r Record, s Statement) {
	p := s.Place()
	if p.Sequence != r.Sequence {
		a.find(r.Sequence, CodeRecordSequence, "the bundle belongs to another record", "signed sequence is %d", p.Sequence)
	}
	if s.Commit() != r.Commit {
		a.find(r.Sequence, CodeChainCommit, "the bundle belongs to another record", "signed commit is %s and the record says %s", s.Commit(), r.Commit)
	}
	a.place(r.Sequence, p)
	if p.Previous == nil {
		return
	}
	if p.Previous.Attestation != r.Previous {
		a.find(r.Sequence, CodeChainPrevious, "a record was exchanged or left out", "signed previous is %s and the record says %q", p.Previous.Attestation, r.Previous)
	}
	if a.verified != nil && a.verified.Place().Sequence == p.Previous.Sequence && a.verified.Commit() != p.Previous.GitCommit {
		a.find(r.Sequence, CodeChainCommit, "the chain is not of one history", "signed previous commit is %s and the record before is about %s", p.Previous.GitCommit, a.verified.Commit())
	}
}

// place checks that all records are of one factory in one cluster. Without
// expectations from outside, the first verified record sets them.
func (a *auditor) place(sequence int64, p Place) {
	if a.report.ClusterUID == "" {
		a.report.ClusterUID = p.Target.ClusterUID
	}
	if a.report.Factory == (Factory{}) {
		a.report.Factory = p.Factory
	}
	if p.Target.ClusterUID != a.report.ClusterUID {
		a.find(sequence, CodeChainCluster, "the record was made for another cluster", "signed cluster is %s and not %s", p.Target.ClusterUID, a.report.ClusterUID)
	}
	if p.Factory != a.report.Factory {
		a.find(sequence, CodeChainFactory, "the record was made for another factory", "signed factory is %s and not %s", p.Factory, a.report.Factory)
	}
}

func (a *auditor) head() {
	if a.opts.Head == "" || !a.seen {
		return
	}
	if got := Digest([]byte(a.last.Bundle)); got != a.opts.Head {
		a.find(a.last.Sequence, CodeChainHead, "the newest records are missing", "newest record has digest %s and not %s", got, a.opts.Head)
	}
}

// String is namespace/name.
func (f Factory) String() string { return f.Namespace + "/" + f.Name }
