package audit

import (
	"context"
	"errors"
	"fmt"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
)

// rendering is what came of rendering one tree for one environment.
type rendering struct {
	digest, manifests string
	objects           int
	err               error
}

// render renders every revision again and compares it with what was signed for.
// Records of the same tree share one rendering.
func (a *auditor) render(ctx context.Context) error {
	if a.o.SkipRender {
		a.answered(CheckRender, LeftOut, "no revision was rendered again")
		return nil
	}
	known := map[[2]string]rendering{}
	compared, locked := 0, []int64(nil)
	for i := range a.revisions {
		rev, r := &a.revisions[i], &a.report.Records[i]
		if !r.Verified {
			continue
		}
		if !rev.proven { // its tree stays locked
			r.Rendered, locked = Unknown, append(locked, r.Sequence)
			continue
		}
		key := [2]string{string(rev.verification.Tree()), rev.statement.Place().Target.Environment}
		out, ok := known[key]
		if !ok {
			out = a.renderAgain(ctx, rev)
			known[key] = out
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.Rendered = a.sameRendering(r.Sequence, rev.statement, out)
		compared++
	}
	if len(locked) > 0 {
		a.open(CheckRender, CodeRenderMissing, locked[0], fmt.Sprintf("%s whose tree is not opened, since its commits were not verified", counted(len(locked), "record")),
			"see what the check of the source says about them")
	}
	a.checked(CheckRender, fmt.Sprintf("%s compared bit by bit, %s rendered", counted(compared, "record"), counted(len(known), "tree")))
	return nil
}

func (a *auditor) renderAgain(ctx context.Context, rev *revision) (out rendering) {
	made, err := a.side(ctx, rev.verification, rev.statement.Place().Target.Environment)
	if err != nil {
		return rendering{err: err}
	}
	documents := make([][]byte, 0, len(made.Rendering.Manifests.Objects()))
	for _, o := range made.Rendering.Manifests.Objects() {
		documents = append(documents, o.JSON())
	}
	out = rendering{digest: made.Rendering.Manifests.Digest(), objects: len(documents)}
	out.manifests, out.err = attest.ManifestsDigest(documents)
	return out
}

// sameRendering compares one record. What another release rendered may differ
// because of that, and nobody can tell without it.
func (a *auditor) sameRendering(sequence int64, s attest.Statement, out rendering) Answer {
	p := s.Place()
	f := Finding{Check: CheckRender, Answer: No, Code: CodeRenderDiffers, Sequence: sequence, Commit: s.Commit()}
	switch {
	case out.err != nil:
		f.Code, f.Detail, f.Hint = CodeRenderFailed, out.err.Error(), "what was applied cannot be rendered from the commit that was signed for"
		f.Answer = failedAs(out.err)
	case out.digest == p.Rendered && out.manifests == s.Manifests() && (s.Enforcement != nil || out.objects == s.Predicate.Rendered.Objects):
		return Yes
	default:
		f.Detail = fmt.Sprintf("manifests with digest %s were signed for, the commit renders to %d objects with %s", p.Rendered, out.objects, out.digest)
		f.Hint = "what was applied is not what the commit says: treat it as an incident"
	}
	if f.Answer == No && p.Reconciler.Version != a.o.Release {
		f.Answer, f.Code = Unknown, CodeRenderRelease
		f.Hint = fmt.Sprintf("release %s rendered it, this is %s: audit this record with that release", line(p.Reconciler.Version), a.o.Release)
	}
	a.report.find(f)
	return f.Answer
}

// failedAs tells a tree that has to change from one that could not be read.
func failedAs(err error) Answer {
	var (
		byRender  *render.Refusal
		byFactory *factory.Refusal
		byTree    *gitverify.Refusal
		byAttest  *attest.Refusal
	)
	if errors.As(err, &byRender) || errors.As(err, &byFactory) || errors.As(err, &byTree) || errors.As(err, &byAttest) {
		return No
	}
	return Unknown
}
