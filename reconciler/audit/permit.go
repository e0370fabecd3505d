package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/render/factory"
)

// permit judges the rules about what a change affects (rule T12) again: they can
// be asked only where both the revision and the one before it are rendered.
func (a *auditor) permit(ctx context.Context) error {
	asked, judged := 0, 0
	for i := range a.revisions {
		rev, r := &a.revisions[i], &a.report.Records[i]
		if !rev.proven || rev.statement.Enforcement != nil || !rev.verification.NeedsImpact() {
			continue
		}
		asked++
		if a.o.SkipRender {
			continue
		}
		rulings, err := a.permitted(ctx, rev)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if answer := a.samePermission(r.Sequence, rev, rulings, err); answer != Yes {
			r.Source = worse(r.Source, answer)
			continue
		}
		judged++
	}
	switch {
	case asked == 0:
		a.answered(CheckPermit, LeftOut, "no policy has rules about what a change affects")
		return nil
	case a.o.SkipRender:
		a.open(CheckPermit, CodePermitUnasked, 0, fmt.Sprintf("%s under rules about what a change affects, which can be asked only if it is rendered", counted(asked, "revision")),
			"audit without --render=false")
	}
	a.checked(CheckPermit, fmt.Sprintf("%d of %s permitted by rules about what a change affects", judged, counted(asked, "revision")))
	return nil
}

// permitted asks the verifier as the loop did.
func (a *auditor) permitted(ctx context.Context, rev *revision) ([]gitverify.Ruling, error) {
	p, v := rev.statement.Predicate, rev.verification
	request := gitverify.Request{Ref: v.Ref(), Candidate: v.Anchor(), Anchor: v.Anchor()}
	if p.Previous != nil {
		request.Candidate, request.Floor = gitverify.ID(p.Previous.GitCommit), gitverify.ID(p.Previous.GitCommit)
	}
	since, err := a.verifier.Verify(ctx, a.e.Objects, request)
	if err != nil {
		return nil, err
	}
	now, err := a.side(ctx, v, p.Target.Environment)
	if err != nil {
		return nil, err
	}
	before, err := a.side(ctx, since, p.Target.Environment)
	incomparable := err != nil
	if incomparable && failedAs(err) != No {
		return nil, err
	}
	impact, err := factory.Impact(&a.renderer, since.Commit(), v.Overlays(), before, now)
	if err != nil {
		return nil, err
	}
	impact.Incomparable = incomparable
	return a.verifier.Permit(ctx, a.e.Objects, v, impact)
}

// side renders the tree of a verified commit; the tree is there also when it
// does not render.
func (a *auditor) side(ctx context.Context, v gitverify.Verification, environment string) (factory.Side, error) {
	var tree fs.FS
	tree, err := gitverify.OpenTree(ctx, a.e.Objects, v)
	if err != nil {
		return factory.Side{}, err
	}
	made, err := factory.Render(&a.renderer, tree, environment)
	return factory.Side{Tree: tree, Rendering: made}, err
}

// samePermission compares who had to stand behind a revision with what its record
// says.
func (a *auditor) samePermission(sequence int64, rev *revision, rulings []gitverify.Ruling, err error) Answer {
	p := rev.statement.Predicate
	f := Finding{Check: CheckPermit, Answer: No, Sequence: sequence, Commit: p.Source.Commit}
	var no *gitverify.Refusal
	switch {
	case errors.As(err, &no):
		f.Code, f.Detail, f.Hint = no.Code, no.Detail, no.Hint
	case err != nil:
		f.Answer, f.Code, f.Detail, f.Hint = Unknown, CodePermitUnasked, err.Error(), "see what the check of the rendering says about this record"
	default:
		found := rulingsOf(rev.verification)
		for _, r := range rulings {
			found = append(found, ruling(p.Source.Commit, r))
		}
		if p.Source.Rulings.Total == len(found) && sameRulings(p.Source.Rulings, found) {
			return Yes
		}
		f.Code, f.Detail = CodeSourceRulings, "the rules and people that were signed for are not those that what is rendered asks for"
		f.Hint = "the reconciler signed for something else than what the history says: find out what it was given"
	}
	a.report.find(f)
	return f.Answer
}

// rulingsOf are the rules that the steps of a range met, in the words of a record.
func rulingsOf(v gitverify.Verification) []attest.Ruling {
	var found []attest.Ruling
	for _, step := range v.Steps() {
		for _, r := range step.Rulings {
			found = append(found, ruling(string(step.Commit), r))
		}
	}
	return found
}

func ruling(commit string, r gitverify.Ruling) attest.Ruling {
	return attest.Ruling{Commit: commit, Rule: r.Rule, Role: r.Role, Threshold: r.Threshold, Vouchers: r.Vouchers[:min(len(r.Vouchers), attest.MaxVouchers)]}
}
