package reconciler

import (
	"cmp"
	"context"
	"io/fs"
	"strings"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
	"millwright.dev/millwright/render/policy"
)

func (p *pass) fetch(ctx context.Context) (source.Checkout, error) {
	defer p.plant.time("fetch")()
	credentials, err := p.credentials(ctx)
	if err != nil {
		return source.Checkout{}, at(v1alpha1.ConditionSourceVerified, source.ReasonSourceUnauthorized, err)
	}
	spec := p.factory.Spec.Source
	checkout, err := p.plant.store.Fetch(ctx, source.Remote{
		URL: spec.URL, Ref: spec.Ref, Timeout: spec.Timeout.Duration, Credentials: credentials,
	})
	if err != nil {
		p.plant.secret = nil // it may hold others by now
		return source.Checkout{}, at(v1alpha1.ConditionSourceVerified, source.ReasonSourceUnreachable, err)
	}
	p.checkout, p.out.Attempted = checkout, string(checkout.Commit)
	if err := p.plant.setup.Interrupt.at(PointFetched); err != nil {
		return source.Checkout{}, at(v1alpha1.ConditionSourceVerified, source.ReasonSourceUnreachable, err)
	}
	return checkout, nil
}

func (p *pass) verify(ctx context.Context, checkout source.Checkout) (gitverify.Verification, error) {
	defer p.plant.time("verify")()
	floors := p.floors()
	if p.head.commit == "" {
		floors = append(floors, "") // nothing is attested: what is listed begins at the anchor
	}
	var verification gitverify.Verification
	// The attested floor is the last: what is listed as checked begins there.
	for _, floor := range floors {
		var err error
		if verification, err = p.plant.verifier.Verify(ctx, p.plant.objects(checkout), p.request(checkout, floor)); err != nil {
			return gitverify.Verification{}, at(v1alpha1.ConditionSourceVerified, report.ReasonVerifyUnknown, err)
		}
	}
	p.note(verification)
	return verification, nil
}

func (p *pass) request(c source.Checkout, floor gitverify.ID) gitverify.Request {
	return gitverify.Request{
		Ref: c.Ref, Mainline: p.mainline(), Candidate: c.Tip(), Floor: floor, Anchor: gitverify.ID(p.factory.Spec.Verify.Anchor),
	}
}

// mainline is the branch whose history counts: the followed ref, or where that
// is a tag, the one that the tag's commit has to be on (rule T14).
func (p *pass) mainline() string {
	spec := p.factory.Spec.Source
	if !strings.HasPrefix(spec.Ref, tagPrefix) {
		return spec.Ref
	}
	return cmp.Or(spec.Mainline, "refs/heads/main")
}

const tagPrefix = "refs/tags/"

func (p *pass) tree(ctx context.Context, checkout source.Checkout, v gitverify.Verification) (fs.FS, error) {
	tree, err := checkout.Tree(ctx, v)
	if err != nil {
		return nil, at(v1alpha1.ConditionSourceVerified, report.ReasonVerifyUnknown, err)
	}
	return tree, nil
}

func (p *pass) render(tree fs.FS) (rendered, error) {
	defer p.plant.time("render")()
	out, err := Render(&p.plant.renderer, p.plant.files(tree), p.factory.Spec.Environment)
	if err != nil {
		return rendered{}, at(v1alpha1.ConditionPolicyPassed, report.ReasonRenderUnknown, err)
	}
	return out, nil
}

// Render renders an environment of a tree, as [factory.Render] does.
func Render(renderer *render.Renderer, tree fs.FS, environment string) (rendered, error) {
	out, err := factory.Render(renderer, tree, environment)
	if err != nil {
		return rendered{}, err
	}
	return rendered{manifests: out.Manifests, config: out.Config, environment: out.Environment}, nil
}

func (p *pass) test(ctx context.Context, m render.Manifests) (policy.Verdict, error) {
	defer p.plant.time("test")()
	verdict, err := Test(ctx, p.plant.tester, p.plant.setup.Policy, m)
	if err != nil {
		return policy.Verdict{}, at(v1alpha1.ConditionPolicyPassed, report.ReasonPolicyUnknown, err)
	}
	return verdict, nil
}

// Test asks the policy process about rendered manifests, as far as the tester
// does not know the answer; a forbidden revision is an error that wraps the
// policy's refusal.
func Test(ctx context.Context, tester *policy.Tester, runner policy.Runner, m render.Manifests) (policy.Verdict, error) {
	objects := make([]policy.Manifest, 0, len(m.Objects()))
	for _, o := range m.Objects() {
		objects = append(objects, policy.Manifest{Digest: o.Digest(), JSON: o.JSON})
	}
	verdict, err := tester.Test(ctx, runner, objects)
	if err != nil {
		return policy.Verdict{}, err
	}
	if refusal := verdict.Refusal(); refusal != nil {
		return policy.Verdict{}, refusal
	}
	return verdict, nil
}

// Manifests are what was rendered.
func (a rendered) Manifests() render.Manifests { return a.manifests }
