package reconciler

import (
	"context"
	"strings"
	"sync"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
)

// A revision waits for its evidence before its first write. So what that takes is
// begun as soon as it is known what has to be said: the certificate when the commit is
// verified, the artifact when it is rendered, the statements about source and
// provenance when those who had to vouch for it did, the verdict when it passed every
// stage and the cluster is looked at. Nothing of it is stored here, and nothing says
// more than was found out until then; what turns out not to be needed is dropped.

// ahead is what was begun in a pass; a function waits for its result and is nil where
// nothing was begun.
type ahead struct {
	certifying bool
	// packing, stated and decided name what these are about.
	packing            string
	packed             func() (attest.Artifact, error)
	stated             string
	source, provenance func() (attest.Bundle, error)
	decided            string
	verdict            func() (v1alpha1.AppliedRevisionSpec, error)

	ends []func()
}

// begin does work beside the pass, until that ends.
func begin[T any](ctx context.Context, a *ahead, work func(context.Context) (T, error)) (wait func() (T, error)) {
	ctx, cancel := context.WithCancel(ctx)
	wait = sync.OnceValues(beside(func() (T, error) { return work(ctx) }))
	a.ends = append(a.ends, func() {
		cancel()
		_, _ = wait()
	})
	return wait
}

// end gives up what nobody waited for.
func (a *ahead) end() {
	for _, end := range a.ends {
		end()
	}
	*a = ahead{}
}

// certify asks for the certificate that is needed if a verified commit turns out to
// be a revision that may be begun. Who signs waits for it, and asks again where it did
// not come.
func (p *pass) certify(ctx context.Context, v gitverify.Verification) {
	if p.progress == nil || p.ahead.certifying || p.head.commit == string(v.Commit()) {
		return // a preview signs nothing, a commit that is on record has all that it needs
	}
	signer, err := p.plant.signer(p.factory)
	keyless, ok := signer.(attest.Keyless)
	if err != nil || !ok {
		return
	}
	p.ahead.certifying = true
	begin(ctx, &p.ahead, func(ctx context.Context) (struct{}, error) { return struct{}{}, keyless.Certify(ctx) })
}

// stateAhead begins the statements about source and provenance of a revision that is
// permitted, while it is tested.
func (p *pass) stateAhead(ctx context.Context, revision accepted) {
	p.packAhead(ctx, revision)
	signer, err := p.plant.signer(p.factory)
	if p.ahead.packed == nil || err != nil {
		return // whoever needs the signer says what is wrong with it
	}
	packed, as := p.ahead.packed, *p // as the pass is now
	p.ahead.stated = p.place(revision)
	p.ahead.source = begin(ctx, &p.ahead, func(ctx context.Context) (attest.Bundle, error) {
		return as.signSource(ctx, signer, revision.verification)
	})
	p.ahead.provenance = begin(ctx, &p.ahead, func(ctx context.Context) (attest.Bundle, error) {
		artifact, err := packed()
		if err != nil {
			return attest.Bundle{}, err
		}
		return as.signProvenance(ctx, signer, revision, subjectsOf(artifact))
	})
}

// decideAhead begins the verdict on a revision that passed every stage, while the
// cluster is looked at.
func (p *pass) decideAhead(ctx context.Context, revision accepted) {
	if p.progress == nil || p.attested(revision) || p.plant.verdict.name == p.verdictName(revision) {
		return
	}
	p.packAhead(ctx, revision)
	packed, as := p.ahead.packed, *p
	p.ahead.decided = p.place(revision)
	p.ahead.verdict = begin(ctx, &p.ahead, func(ctx context.Context) (v1alpha1.AppliedRevisionSpec, error) {
		artifact, err := packed()
		if err != nil {
			return v1alpha1.AppliedRevisionSpec{}, err
		}
		return as.sayVerdict(ctx, revision, artifact)
	})
}

// decidedAhead says whether the verdict on a revision was begun.
func (p *pass) decidedAhead(revision accepted) bool {
	return p.ahead.verdict != nil && p.ahead.decided == p.place(revision)
}

// place names a revision and where in the chain it would be.
func (p *pass) place(revision accepted) string { return revision.name() + " after " + p.head.digest }

// packAhead begins to pack a revision: that takes longer than to sign for it.
func (p *pass) packAhead(ctx context.Context, revision accepted) {
	key := p.packing(revision)
	if p.progress == nil || p.attested(revision) || p.ahead.packing == key {
		return
	}
	p.awaitPacked() // there is one packer
	p.ahead.packing = key
	if known := p.plant.packed; known.key == key {
		p.ahead.packed = func() (attest.Artifact, error) { return known.artifact, nil }
		return
	}
	p.ahead.packed = begin(ctx, &p.ahead, func(context.Context) (attest.Artifact, error) {
		return artifactOf(&p.plant.packer, revision, p.factory)
	})
}

// awaitPacked waits for what is packed ahead. Where that failed, whoever needs it fails.
func (p *pass) awaitPacked() {
	if p.ahead.packed == nil {
		return
	}
	if artifact, err := p.ahead.packed(); err == nil {
		p.plant.packed = packed{p.ahead.packing, artifact}
	}
}

// artifact packs the manifests of a revision once: its verdict and its record
// both name it.
func (p *pass) artifact(revision accepted) (attest.Artifact, error) {
	p.awaitPacked()
	key := p.packing(revision)
	if p.plant.packed.key == key {
		return p.plant.packed.artifact, nil
	}
	artifact, err := artifactOf(&p.plant.packer, revision, p.factory)
	if err != nil {
		return attest.Artifact{}, err
	}
	p.plant.packed = packed{key, artifact}
	return artifact, nil
}

// packing names an artifact by all that it is made of.
func (p *pass) packing(revision accepted) string {
	return strings.Join([]string{p.factory.Spec.Source.URL, revision.verification.Ref(), string(revision.commit()), revision.manifests.Digest()}, " ")
}

// packed is an artifact and the revision that it is of.
type packed struct {
	key      string
	artifact attest.Artifact
}
