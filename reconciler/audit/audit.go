package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/render"
)

// Options are what the auditor names and wants.
type Options struct {
	// TrustedRoot verifies records, Commits commits; both are read from the one
	// file whose digest is TrustedRootDigest.
	TrustedRoot       root.TrustedMaterial
	Commits           gitverify.TrustedRoot
	TrustedRootDigest string
	// Signers are who may have signed records.
	Signers []attest.Policy
	// Factory and ClusterUID must be those of every record, where they are set.
	Factory    attest.Factory
	ClusterUID string
	// Anchor is the commit that everything has to descend from, Head the digest
	// of the newest record. Without them the answer stays open.
	Anchor gitverify.ID
	Head   string
	// SkipRender leaves out the rendering.
	SkipRender bool
	// MaxAge is how old the newest proven time may be; 0 asks nothing.
	MaxAge time.Duration
	// Live compares the cluster with the newest verified record; nil leaves it out.
	Live func(context.Context, attest.Statement, gitverify.Verification) (Comparison, error)
	// Claim is answered from the records, where it is set.
	Claim *Claim
	// Release is this program's version, Clock the time of day.
	Release string
	Clock   func() time.Time
}

// Comparison is what came of looking at a live cluster.
type Comparison struct {
	// Different names what a pass would write now.
	Different []string
	// Looked is how many objects were looked at.
	Looked int
}

// Run makes the audit. An error says that it could not be made, for example for
// want of a usable trusted root; whatever is wrong with the evidence is in the
// report.
func Run(ctx context.Context, e Evidence, o Options) (Report, error) {
	began := o.Clock()
	a := &auditor{e: e, o: o, began: began, lap: began}
	a.report = Report{Asked: o.asked(a.began), Checks: []Check{}, Findings: []Finding{}, Records: []Record{}}
	for _, f := range e.Damage {
		a.report.find(f)
	}
	if len(e.Damage) > 0 || e.Files != nil {
		a.checked(CheckExport, fmt.Sprintf("%s, %s", counted(len(e.Records), "record"), counted(len(e.Files), "other file")))
	}
	for _, check := range []func(context.Context) error{a.chain, a.source, a.render, a.permit, a.companions, a.files, a.freshness, a.live} {
		if err := check(ctx); err != nil {
			return Report{}, err
		}
	}
	a.claim()
	a.report.conclude()
	return a.report, nil
}

// auditor is one audit while it is made.
type auditor struct {
	e      Evidence
	o      Options
	report Report
	began  time.Time
	// lap is when the check began that is being made.
	lap time.Time
	// revisions are what was verified for each record; see source.
	revisions []revision
	// verifier and renderer remember what they have seen of the history.
	verifier *gitverify.Verifier
	renderer render.Renderer
}

// checked concludes a check whose findings are all in.
func (a *auditor) checked(name, detail string) { a.answered(name, a.report.answerOf(name), detail) }

// answered concludes a check, and begins to count the time of the next.
func (a *auditor) answered(name string, answer Answer, detail string) {
	now := a.o.Clock()
	a.report.Checks = append(a.report.Checks, Check{Name: name, Answer: answer, Detail: line(detail), Seconds: now.Sub(a.lap).Seconds()})
	a.lap = now
}

func (o Options) asked(at time.Time) Asked {
	asked := Asked{
		TrustedRoot: o.TrustedRootDigest, Signers: []string{}, Anchor: string(o.Anchor), Head: o.Head,
		At: at.UTC().Format(time.RFC3339), Release: o.Release,
	}
	for _, p := range o.Signers {
		asked.Signers = append(asked.Signers, p.String())
	}
	return asked
}

// chain checks numbers, links and signatures, which attest does in one walk, and
// tells their findings apart.
func (a *auditor) chain(context.Context) error {
	report, err := attest.Audit(a.e.Records, attest.Options{
		TrustedRoot: a.o.TrustedRoot, Policies: a.o.Signers, Factory: a.o.Factory, ClusterUID: a.o.ClusterUID, Head: a.o.Head,
	})
	if err != nil {
		return err
	}
	a.report.Factory, a.report.ClusterUID = report.Factory, report.ClusterUID
	for _, f := range report.Findings {
		a.report.find(Finding{Check: checkOf(f.Code), Answer: No, Code: f.Code, Sequence: f.Sequence, Detail: f.Detail, Hint: f.Hint})
	}
	verified := 0
	for _, r := range report.Records {
		record := Record{Audited: r, Source: LeftOut, Rendered: LeftOut}
		if r.Verified {
			verified++
			record.describe(r.Evidence.Statement)
		}
		a.report.Records = append(a.report.Records, record)
	}
	n := len(report.Records)
	a.checked(CheckChain, fmt.Sprintf("%s of factory %s in cluster %s", a.span(), a.report.Factory, a.report.ClusterUID))
	a.checked(CheckSignatures, fmt.Sprintf("%d of %d bundles verify", verified, n))
	a.head()
	return nil
}

// head asks whether anything was cut off at the end: only somebody who knows the
// newest record can tell.
func (a *auditor) head() {
	if a.o.Head == "" {
		a.report.find(Finding{
			Check: CheckHead, Answer: Unknown, Code: CodeHeadUnknown,
			Detail: "nobody said which record is the newest, so that those after the last one here may be missing",
			Hint:   "name its digest with --head: from status.applied.attestation of the Factory, or as somebody noted it down",
		})
	}
	what := "nothing to compare the newest record with"
	if n := len(a.report.Records); n > 0 && a.o.Head != "" {
		what = fmt.Sprintf("record %d compared with the one that is expected", a.report.Records[n-1].Sequence)
	}
	a.checked(CheckHead, what)
}

// span says which records there are.
func (a *auditor) span() string {
	n := len(a.report.Records)
	if n == 0 {
		return "no records"
	}
	return fmt.Sprintf("%s, %d to %d,", counted(n, "record"), a.report.Records[0].Sequence, a.report.Records[n-1].Sequence)
}

func checkOf(code string) string {
	switch code {
	case attest.CodeChainHead:
		return CheckHead
	case attest.CodeBundleInvalid, attest.CodeBundleIdentity, attest.CodeBundlePredicate, attest.CodeStatementInvalid:
		return CheckSignatures
	}
	return CheckChain
}

// describe takes over what a verified record says of itself.
func (r *Record) describe(s attest.Statement) {
	if e := s.Enforcement; e != nil {
		r.Kind, r.Ref, r.Drifted, r.Until = KindEnforcement, e.Revision.Ref, e.Enforced.Drift.Total, e.Enforced.To
		return
	}
	p := s.Predicate
	c := p.Changes
	r.Kind, r.Commits, r.Objects, r.Ref, r.Until = KindRevision, p.Source.Range.Total, p.Rendered.Objects, p.Source.Ref, p.FinishedOn
	r.Changed, r.Drifted = c.Created+c.Updated+c.Corrected+c.Pruned, p.Drift.Total
	if p.Enforced != nil {
		r.Drifted += p.Enforced.Drift.Total
	}
}
