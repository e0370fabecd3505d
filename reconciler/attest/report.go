package attest

import (
	"fmt"
	"strings"
	"time"
)

// Report is the outcome of an audit.
type Report struct {
	OK         bool      `json:"ok"`
	Factory    Factory   `json:"factory"`
	ClusterUID string    `json:"clusterUID"`
	Records    []Audited `json:"records"`
	Findings   []Finding `json:"findings"`
}

// Audited is one record as the audit saw it. What follows Digest is set only
// when the record's bundle verified.
type Audited struct {
	Sequence int64  `json:"sequence"`
	Commit   string `json:"commit"`
	Digest   string `json:"digest"`
	Verified bool   `json:"verified"`
	Signer   string `json:"signer,omitempty"`
	Result   string `json:"result,omitempty"`
	Trigger  string `json:"trigger,omitempty"`
	// SignedAt is the proven time of the signature; absent when a key signed
	// without a log.
	SignedAt *time.Time `json:"signedAt,omitempty"`
	// LogIndex in the transparency log, -1 when there is none.
	LogIndex int64 `json:"logIndex"`

	// Evidence is what was verified; empty where Verified is false.
	Evidence Verified `json:"-"`
}

func (l *Audited) fill(v Verified) {
	l.Evidence = v
	p := v.Statement.Place()
	l.Verified, l.Result, l.Trigger, l.LogIndex = true, v.Statement.Predicate.Result, p.Trigger, v.LogIndex
	if v.Statement.Enforcement != nil {
		l.Result = "Enforced"
	}
	l.Signer = v.Identity.Subject
	if l.Signer == "" {
		l.Signer = p.Reconciler.ID
	}
	if !v.SignedAt.IsZero() {
		l.SignedAt = &v.SignedAt
	}
}

// Text is the report for people: one line a record, then what is wrong.
func (r Report) Text() string {
	var b strings.Builder
	for _, l := range r.Records {
		mark := "verified"
		if !l.Verified {
			mark = "REFUSED "
		}
		fmt.Fprintf(&b, "%6d  %s  %s  %s", l.Sequence, short(l.Commit), mark, short(bare(l.Digest)))
		if l.Verified {
			fmt.Fprintf(&b, "  %-9s %-8s %s", l.Trigger, l.Result, l.Signer)
		}
		b.WriteByte('\n')
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: record %d: %s", f.Code, f.Sequence, f.Detail)
		if f.Hint != "" {
			fmt.Fprintf(&b, " (%s)", f.Hint)
		}
		b.WriteByte('\n')
	}
	verdict := "chain is whole"
	if !r.OK {
		verdict = fmt.Sprintf("chain is NOT whole: %d findings", len(r.Findings))
	}
	fmt.Fprintf(&b, "%s: %d records of factory %s in cluster %s\n", verdict, len(r.Records), r.Factory, r.ClusterUID)
	return b.String()
}

func short(s string) string { return s[:min(len(s), 12)] }
