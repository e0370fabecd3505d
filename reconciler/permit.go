package reconciler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render/factory"
)

// permit asks whether those who vouch for a change may make it, going by what
// it affects and not only by where it is written (rule T12). It compares the
// rendered revision with the newest attested one, or with the anchor.
func (p *pass) permit(ctx context.Context, v gitverify.Verification, now rendered, tree fs.FS) ([]gitverify.Ruling, error) {
	if p.permitted || !v.NeedsImpact() {
		return nil, nil
	}
	defer p.plant.time("permit")()
	impact, err := p.impact(ctx, v, now, tree)
	if err != nil {
		return nil, at(v1alpha1.ConditionSourceVerified, report.ReasonVerifyUnknown, err)
	}
	rulings, err := p.plant.verifier.Permit(ctx, p.plant.store, v, impact)
	if err != nil {
		return nil, at(v1alpha1.ConditionSourceVerified, report.ReasonVerifyUnknown, err)
	}
	return rulings, nil
}

// impact works out what a revision changes beyond the files that it touches.
func (p *pass) impact(ctx context.Context, v gitverify.Verification, now rendered, tree fs.FS) (gitverify.Impact, error) {
	since, treeBefore, err := p.before(ctx)
	if err != nil {
		return gitverify.Impact{}, err
	}
	before, err := Render(&p.plant.renderer, treeBefore, p.factory.Spec.Environment)
	if err != nil && report.Describe(err, report.ReasonRenderUnknown).Class != report.No {
		return gitverify.Impact{}, fmt.Errorf("rendering %s, which the revision is compared with: %w", since, err)
	}
	incomparable := err != nil
	impact, err := factory.Impact(&p.plant.renderer, since, v.Overlays(),
		factory.Side{Tree: treeBefore, Rendering: before.rendering()}, factory.Side{Tree: tree, Rendering: now.rendering()})
	impact.Incomparable = incomparable
	return impact, err
}

// before is what a revision is compared with: what is attested, or the anchor.
// The status does not count, since whoever may edit it could have a change
// taken for one that was permitted already.
func (p *pass) before(ctx context.Context) (gitverify.ID, fs.FS, error) {
	anchor := gitverify.ID(p.factory.Spec.Verify.Anchor)
	since := anchor
	if p.head.commit != "" {
		since = gitverify.ID(p.head.commit)
	}
	checkout := p.plant.store.Checkout(since, p.mainline())
	// It was applied, and is its own floor: merges of a forge's key that was revoked
	// since are facts there.
	verification, err := p.plant.verifier.Verify(ctx, checkout.Objects(), p.request(checkout, since))
	var no *gitverify.Refusal
	if errors.As(err, &no) && no.Code == "hist/rollback" && since != anchor {
		// The anchor was moved forward past it. For any other reason the anchor must
		// not stand in: what was changed and is now changed back to what it was at
		// the anchor would be no change.
		checkout = p.plant.store.Checkout(anchor, p.mainline())
		verification, err = p.plant.verifier.Verify(ctx, checkout.Objects(), p.request(checkout, ""))
	}
	if err != nil {
		return "", nil, fmt.Errorf("verifying %s, which the revision is compared with: %w", since, err)
	}
	tree, err := checkout.Tree(ctx, verification)
	return checkout.Commit, tree, err
}
