package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
)

// revision is what was verified again for one record of the report.
type revision struct {
	statement    attest.Statement
	verification gitverify.Verification
	// proven says that the range was accepted again.
	proven bool
}

// source verifies every range of commits again, by the policies in the history
// and from the auditor's anchor.
func (a *auditor) source(ctx context.Context) error {
	a.revisions = make([]revision, len(a.report.Records))
	if a.e.Objects == nil {
		a.open(CheckSource, CodeSourceMissing, 0, "there is no history to verify", "export with --repo, or give the audit a clone with --repo")
		a.checked(CheckSource, "no commits")
		return ctx.Err()
	}
	var err error
	if a.verifier, err = gitverify.New(a.o.Commits, gitverify.Options{}); err != nil {
		return err
	}
	w := &history{auditor: a, anchor: a.o.Anchor, anchors: map[string]bool{}}
	w.findAnchor()
	commits := 0
	for i := range a.report.Records {
		r := &a.report.Records[i]
		if !r.Verified {
			continue
		}
		if err := w.verify(ctx, r, &a.revisions[i]); err != nil {
			return err
		}
		if a.revisions[i].proven {
			commits += r.Commits
		}
	}
	a.checked(CheckSource, fmt.Sprintf("%s from anchor %s on, by the policies in force", counted(commits, "commit"), short(string(w.anchor))))
	return nil
}

// open adds a finding of something that could not be told.
func (a *auditor) open(check, code string, sequence int64, detail, hint string) {
	a.report.find(Finding{Check: check, Answer: Unknown, Code: code, Sequence: sequence, Detail: detail, Hint: hint})
}

// history walks the ranges of the records, oldest first.
type history struct {
	*auditor

	anchor gitverify.ID
	// anchors are those of records that were compared with the auditor's.
	anchors map[string]bool
}

// findAnchor takes the anchor of the first record where the auditor names none:
// then the reconciler is believed about what it started from.
func (h *history) findAnchor() {
	if h.anchor != "" {
		return
	}
	h.open(CheckSource, CodeAnchorUnknown, 0, "nobody said which commit everything has to descend from: the first record's word was taken for it",
		"name it with --anchor: spec.verify.anchor of the Factory, as whoever pinned it noted it down")
	for _, r := range h.report.Records {
		if r.Verified {
			if h.anchor = gitverify.ID(r.Evidence.Statement.Predicate.Source.Anchor); h.anchor != "" {
				return
			}
		}
	}
}

// verify judges the range of one record.
func (h *history) verify(ctx context.Context, r *Record, rev *revision) error {
	s := r.Evidence.Statement
	rev.statement = s
	if s.Enforcement != nil {
		r.Source = h.enforced(r, rev)
		return nil
	}
	p := s.Predicate
	floor := gitverify.ID("")
	switch {
	case p.Previous != nil:
		floor = gitverify.ID(p.Previous.GitCommit)
	case p.Source.Anchor != string(h.anchor):
		floor = gitverify.ID(p.Source.Anchor)
	}
	v, err := h.verifier.Verify(ctx, h.e.Objects, gitverify.Request{
		Ref: branchOf(p.Source.Ref, h.e.Mainline), Candidate: gitverify.ID(s.Commit()), Anchor: h.anchor, Floor: floor,
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.Source = h.failed(r.Sequence, err)
		return nil
	}
	rev.verification, rev.proven = v, true
	r.Source = h.same(ctx, r.Sequence, p, v)
	return ctx.Err()
}

// enforced looks for the revision that a record of enforcement is about: what
// was kept is what an earlier record says was applied.
func (h *history) enforced(r *Record, rev *revision) Answer {
	e := rev.statement.Enforcement.Revision
	for i, before := range slices.Backward(h.report.Records) { // it is seldom far
		if before.Sequence != e.Sequence || before.Sequence >= r.Sequence || !before.Verified || h.revisions[i].statement.Enforcement != nil {
			continue
		}
		p := h.revisions[i].statement.Place()
		if p.Commit != e.Commit || p.Rendered != e.Rendered || p.Artifact != e.Artifact {
			h.report.find(Finding{
				Check: CheckSource, Answer: No, Code: CodeSourceEnforced, Sequence: r.Sequence, Commit: e.Commit,
				Detail: fmt.Sprintf("it says that revision %d was kept, and names another commit or other manifests than that record", e.Sequence),
				Hint:   "the reconciler signed for something else than what was applied: find out what it was given",
			})
			return No
		}
		rev.verification, rev.proven = h.revisions[i].verification, h.revisions[i].proven
		return before.Source
	}
	h.open(CheckSource, CodeSourceEnforced, r.Sequence, fmt.Sprintf("it says that revision %d was kept, and there is no verified record of it", e.Sequence),
		"see what the check of the chain says about that record")
	return Unknown
}

// failed tells a refusal from an inability.
func (h *history) failed(sequence int64, err error) Answer {
	var no *gitverify.Refusal
	if errors.As(err, &no) {
		h.report.find(Finding{
			Check: CheckSource, Answer: No, Code: no.Code, Sequence: sequence, Commit: string(no.Commit),
			Detail: strings.TrimSpace(no.Path + " " + no.Detail), Hint: no.Hint,
		})
		return No
	}
	code, hint := CodeSourceUnproven, "try again with a repository that can be read"
	if errors.Is(err, gitverify.ErrObjectMissing) {
		code, hint = CodeSourceMissing, "give the audit a repository that has the whole history"
	}
	h.open(CheckSource, code, sequence, err.Error(), hint)
	return Unknown
}

// same compares what was verified now with what the record says was verified.
func (h *history) same(ctx context.Context, sequence int64, p attest.Predicate, v gitverify.Verification) Answer {
	answer := Yes
	differs := func(code string, as Answer, format string, args ...any) {
		answer = worse(answer, as)
		h.report.find(Finding{
			Check: CheckSource, Answer: as, Code: code, Sequence: sequence, Commit: p.Source.Commit, Detail: fmt.Sprintf(format, args...),
			Hint: "the reconciler signed for something else than what the history says: find out what it was given",
		})
	}
	if p.Source.Repository != v.Repository() {
		differs(CodeSourceOrigin, No, "signed repository is %q, the policy in the tree is of %q", p.Source.Repository, v.Repository())
	}
	if p.Source.PolicyDigest != v.PolicyDigest() || p.Source.PolicyVersion != v.PolicyVersion() {
		differs(CodeSourcePolicy, No, "signed policy is version %d (%s), the one in the tree is version %d (%s)",
			p.Source.PolicyVersion, p.Source.PolicyDigest, v.PolicyVersion(), v.PolicyDigest())
	}
	if as, detail := sameRange(p.Source.Range, v); as != Yes {
		differs(CodeSourceRange, as, "%s", detail)
	}
	if !sameStepRulings(p.Source.Rulings, v) {
		differs(CodeSourceRulings, No, "the rules and people that were signed for are not those of the history")
	}
	if p.Source.Anchor != string(h.anchor) && !h.anchors[p.Source.Anchor] {
		h.anchors[p.Source.Anchor] = true
		answer = worse(answer, h.sameAnchor(ctx, sequence, p, v))
	}
	return answer
}

// sameAnchor accepts an anchor that the reconciler was given later, if it lies
// on the line that was verified from the auditor's.
func (h *history) sameAnchor(ctx context.Context, sequence int64, p attest.Predicate, v gitverify.Verification) Answer {
	_, err := h.verifier.Verify(ctx, h.e.Objects, gitverify.Request{Ref: v.Ref(), Candidate: gitverify.ID(p.Source.Anchor), Anchor: h.anchor})
	if err == nil {
		return Yes
	}
	// The line was read from end to end: what is not there at all is not on it.
	as := Unknown
	if no := (*gitverify.Refusal)(nil); errors.As(err, &no) || errors.Is(err, gitverify.ErrObjectMissing) {
		as = No
	}
	h.report.find(Finding{
		Check: CheckSource, Answer: as, Code: CodeAnchor, Sequence: sequence, Commit: p.Source.Anchor,
		Detail: fmt.Sprintf("the reconciler started from another anchor, which does not follow from %s: %v", short(string(h.anchor)), err),
		Hint:   "find out who changed spec.verify.anchor, and why",
	})
	return as
}

// rangeOf is the verified range in the words of a record.
func rangeOf(v gitverify.Verification) (attest.Range, error) {
	var commits []attest.Commit
	for _, c := range v.Checked() {
		commits = append(commits, attest.Commit{
			Commit: string(c.Commit), Kind: string(c.Kind), Forge: c.Forge, SignedAt: c.SignedAt, LogIndex: c.LogIndex,
			Signer: attest.Signed{Name: c.Signer.Name, Issuer: c.Signer.Issuer, Subject: c.Signer.Subject},
		})
	}
	return attest.NewRange(commits)
}

// sameRange compares ranges. Times and places in the log come from the trusted
// root, and another one may prove others of the same commits: then it is open
// whether the record was right.
func sameRange(signed attest.Range, v gitverify.Verification) (Answer, string) {
	found, err := rangeOf(v)
	if err != nil {
		return Unknown, err.Error()
	}
	if found.Digest == signed.Digest && found.Total == signed.Total {
		return Yes, ""
	}
	who := func(c attest.Commit) attest.Commit {
		return attest.Commit{Commit: c.Commit, Kind: c.Kind, Forge: c.Forge, Signer: c.Signer}
	}
	alike := slices.EqualFunc(found.Commits, signed.Commits, func(a, b attest.Commit) bool { return who(a) == who(b) })
	if found.Total == signed.Total && alike {
		return Unknown, "the same commits by the same people, but this trusted root proves other times than were signed for"
	}
	return No, fmt.Sprintf("%d commits were signed for, and the history has %d, or they are others", signed.Total, found.Total)
}

// sameStepRulings compares the rules that each step met. Those about what is
// rendered come after them, where there are any, and are another check's.
func sameStepRulings(signed attest.Rulings, v gitverify.Verification) bool {
	found := rulingsOf(v)
	if signed.Total < len(found) || signed.Total > len(found) && !v.NeedsImpact() {
		return false
	}
	return sameRulings(signed, found)
}

// sameRulings compares those of a record, which lists the newest, with as many as
// were found.
func sameRulings(signed attest.Rulings, found []attest.Ruling) bool {
	first := signed.Total - len(signed.Entries)
	for i, e := range signed.Entries {
		if at := first + i; at < len(found) && !sameRuling(e, found[at]) {
			return false
		}
	}
	return true
}

func sameRuling(a, b attest.Ruling) bool {
	return a.Commit == b.Commit && a.Rule == b.Rule && a.Role == b.Role && a.Threshold == b.Threshold && slices.Equal(a.Vouchers, b.Vouchers)
}

func short(id string) string { return id[:min(12, len(id))] }
