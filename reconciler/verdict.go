package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
)

// verdict is what was decided of a revision before its first write, as it is
// stored.
type verdict struct {
	name   string
	inputs []attest.Input
	// bundles are those of the inputs, in their order.
	bundles []string
}

// What a Factory may say of evidence that cannot be made.
const (
	whenHold  = "Hold"
	whenQueue = "Queue"
)

// environmentLocal is where nobody relies on evidence.
const environmentLocal = "local"

// errHeld is a revision that waits for its evidence.
var errHeld = errors.New("held")

// errOtherVerdict is a stored verdict that is signed, and about something else.
var errOtherVerdict = errors.New("it is about another commit or other manifests")

// holds says whether a new revision waits while its verdict cannot be signed and
// stored. Drift of the one in force is put back all the same.
func (p *pass) holds() bool {
	switch p.factory.Spec.Attest.WhenUnavailable {
	case whenHold:
		return true
	case whenQueue:
		return false
	}
	return p.factory.Spec.Environment != environmentLocal
}

// decide makes the verdict on a revision durable, before anything of it is
// written. Where that is not possible, the Factory says whether the revision
// waits; a verdict that somebody else made up is never passed over.
func (p *pass) decide(ctx context.Context, revision accepted) error {
	var err error
	if before := p.waiting(revision); before != nil {
		err = fmt.Errorf("commit %.12s before it is applied, and its record could not be made", before.commit())
	} else {
		_, err = p.verdict(ctx, revision)
	}
	if err == nil || !p.holds() && !errors.Is(err, errChain) {
		return nil
	}
	if errors.Is(err, errChain) {
		return at(v1alpha1.ConditionAttested, report.ReasonChainBroken, err)
	}
	return at(v1alpha1.ConditionAttested, report.ReasonEvidenceHeld,
		fmt.Errorf("%w: commit %.12s is not begun while what was decided of it cannot be put on record: %w", errHeld, revision.commit(), err))
}

// waiting is the revision that is applied and has no record yet, if another one
// is to be begun. Once the chain went on it is history.
func (p *pass) waiting(next accepted) *accepted {
	before := p.plant.unrecorded
	if before == nil || p.plant.unrecordedAfter != p.head.digest || before.commit() == next.commit() {
		return nil
	}
	return before
}

// verdict finds the stored verdict on a revision, or makes it. There is one for
// a revision and its place in the chain, however often a process dies between.
func (p *pass) verdict(ctx context.Context, revision accepted) (verdict, error) {
	name := p.verdictName(revision)
	if p.plant.verdict.name == name {
		return p.plant.verdict, nil
	}
	v, err := p.findVerdict(ctx, name, revision)
	if err == nil {
		p.plant.verdict = v
	}
	return v, err
}

// findVerdict stores the verdict that was begun ahead. Otherwise it looks for one first,
// while it packs what that would be about. Where another process stored one before,
// that one counts.
func (p *pass) findVerdict(ctx context.Context, name string, revision accepted) (verdict, error) {
	var stored v1alpha1.AppliedRevision
	find := func() error {
		return p.plant.setup.Reader.Get(ctx, client.ObjectKey{Namespace: p.factory.Namespace, Name: name}, &stored)
	}
	signed := p.decidedAhead(revision)
	looked := beside(func() (there bool, err error) {
		if signed {
			return false, nil
		}
		err = find()
		return err == nil, client.IgnoreNotFound(err)
	})
	artifact, failed := p.artifact(revision)
	there, err := looked()
	if failed != nil {
		return verdict{}, failed
	}
	if !there && err == nil {
		v, not := p.storeVerdict(ctx, name, revision, artifact)
		if !apierrors.IsAlreadyExists(not) {
			return v, not
		}
		err = find()
	}
	if err != nil {
		return verdict{}, fmt.Errorf("looking for the verdict: %w", err)
	}
	return p.believeVerdict(name, stored.Spec, revision, artifact)
}

// storeVerdict makes the verdict on a revision and stores it. Its statements need not
// be verified here as those that are found stored are: a signer hands out none that does
// not verify.
func (p *pass) storeVerdict(ctx context.Context, name string, revision accepted, artifact attest.Artifact) (verdict, error) {
	spec, err := p.newVerdict(ctx, revision, artifact)
	if err != nil {
		return verdict{}, err
	}
	if err := p.createRecord(ctx, name, spec); err != nil {
		return verdict{}, err
	}
	v := verdict{name: name}
	for i, bundle := range bundlesOf(spec) {
		v.inputs = append(v.inputs, attest.Input{PredicateType: statements()[i], Attestation: attest.Digest([]byte(bundle))})
		v.bundles = append(v.bundles, bundle)
	}
	return v, nil
}

// statements are the types of those of a verdict, in the order of its bundles.
func statements() []string {
	return []string{attest.SourceVerificationType, attest.ProvenanceType, attest.VerdictType}
}

// bundlesOf are the bundles of those.
func bundlesOf(r v1alpha1.AppliedRevisionSpec) []string {
	return []string{r.SourceVerification, r.Provenance, r.Bundle}
}

func (p *pass) believeVerdict(name string, spec v1alpha1.AppliedRevisionSpec, revision accepted, artifact attest.Artifact) (verdict, error) {
	v, err := p.readVerdict(spec, string(revision.commit()), artifact.Digest())
	var no *attest.Refusal
	switch {
	case errors.As(err, &no), errors.Is(err, errOtherVerdict):
		return verdict{}, fmt.Errorf("%w: the stored verdict %s: %w", errChain, name, err)
	case err != nil:
		return verdict{}, fmt.Errorf("verifying the stored verdict %s: %w", name, err)
	}
	v.name = name
	return v, nil
}

// verdictName is the name of the verdict on a revision that is the next in the chain.
func (p *pass) verdictName(revision accepted) string {
	return verdictName(p.factory.Name, p.head.sequence+1, string(revision.commit()), revision.manifests.Digest())
}

// verdictName is the one name that the verdict on a revision may have.
func verdictName(factory string, sequence int64, commit, rendered string) string {
	sum := sha256.Sum256([]byte(commit + " " + rendered))
	return v1alpha1.AppliedRevisionName(factory, sequence) + "-verdict-" + hex.EncodeToString(sum[:6])
}

func (p *pass) createRecord(ctx context.Context, name string, spec v1alpha1.AppliedRevisionSpec) error {
	if may := p.plant.setup.MayWrite; may != nil {
		if err := may(); err != nil {
			return err
		}
	}
	object := &v1alpha1.AppliedRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.factory.Namespace, Name: name, Labels: map[string]string{v1alpha1.LabelFactory: p.factory.Name},
		},
		Spec: spec,
	}
	if err := p.plant.setup.Client.Create(ctx, object); err != nil {
		return fmt.Errorf("storing %s: %w", name, err)
	}
	p.wrote(object)
	return nil
}

// readVerdict believes what is stored as far as its signatures go.
func (p *pass) readVerdict(r v1alpha1.AppliedRevisionSpec, commit, artifact string) (verdict, error) {
	if r.Type != v1alpha1.RecordVerdict || r.Commit != commit {
		return verdict{}, errOtherVerdict
	}
	var out verdict
	for _, bundle := range bundlesOf(r) {
		verified, err := p.plant.verifyCompanion(p.factory, []byte(bundle), p.head.sequence+1)
		if err != nil {
			return verdict{}, err
		}
		c := verified.Companion
		if c.PredicateType() != attest.ProvenanceType && !c.About(commit) || c.PredicateType() != attest.SourceVerificationType && !c.About(artifact) {
			return verdict{}, errOtherVerdict
		}
		out.inputs = append(out.inputs, attest.Input{PredicateType: verified.Companion.PredicateType(), Attestation: verified.Bundle().Digest})
		out.bundles = append(out.bundles, bundle)
	}
	return out, nil
}

// newVerdict is the verdict that was begun ahead, or else made now.
func (p *pass) newVerdict(ctx context.Context, revision accepted, artifact attest.Artifact) (v1alpha1.AppliedRevisionSpec, error) {
	if p.decidedAhead(revision) {
		return p.ahead.verdict()
	}
	return p.sayVerdict(ctx, revision, artifact)
}

func subjectsOf(artifact attest.Artifact) attest.Subjects {
	return attest.Subjects{Artifact: artifact.Digest(), Manifests: artifact.ManifestsDigest()}
}

// sayVerdict signs the verdict, which names two other statements: those that were
// signed ahead, or else made now.
func (p *pass) sayVerdict(ctx context.Context, revision accepted, artifact attest.Artifact) (v1alpha1.AppliedRevisionSpec, error) {
	signer, err := p.plant.signer(p.factory)
	if err != nil {
		return v1alpha1.AppliedRevisionSpec{}, err
	}
	subjects := subjectsOf(artifact)
	signed, stated := p.ahead.source, p.ahead.provenance
	if stated == nil || p.ahead.stated != p.place(revision) {
		signed = beside(func() (attest.Bundle, error) { return p.signSource(ctx, signer, revision.verification) })
		stated = func() (attest.Bundle, error) { return p.signProvenance(ctx, signer, revision, subjects) }
	}
	provenance, err := stated()
	source, other := signed()
	if err := errors.Join(err, other); err != nil {
		return v1alpha1.AppliedRevisionSpec{}, err
	}
	v := revision.verification
	said, err := attest.NewVerdict(subjects, v.Repository(), string(v.Commit()), attest.Verdict{
		Verifier: attest.VerdictVerifier{ID: attest.VerifierID}, TimeVerified: p.plant.setup.Clock(),
		ResourceURI: "git+" + v.Repository(), Policy: policyOf(v), VerificationResult: "PASSED",
		InputAttestations: []attest.AttestationDigest{attest.NewAttestationDigest(source.Digest), attest.NewAttestationDigest(provenance.Digest)},
		VerifiedLevels:    []string{attest.LevelSourceVerified, attest.LevelPolicyPassed},
	})
	if err != nil {
		return v1alpha1.AppliedRevisionSpec{}, err
	}
	bundle, err := signer.SignCompanion(ctx, said)
	if err != nil {
		return v1alpha1.AppliedRevisionSpec{}, err
	}
	return v1alpha1.AppliedRevisionSpec{
		Type: v1alpha1.RecordVerdict, Factory: p.factory.Name, Sequence: p.head.sequence + 1, Commit: string(v.Commit()),
		Rendered: revision.manifests.Digest(), Digest: bundle.Digest, Previous: p.head.digest, Bundle: string(bundle.JSON),
		SourceVerification: string(source.JSON), Provenance: string(provenance.JSON),
	}, nil
}

func (p *pass) signSource(ctx context.Context, signer attest.Signer, v gitverify.Verification) (attest.Bundle, error) {
	said, err := attest.NewSourceVerification(v.Repository(), string(v.Commit()), attest.SourceVerification{
		Verifier:    attest.Verifier{ID: attest.VerifierID, Policies: []attest.Descriptor{policyOf(v)}},
		TimeCreated: p.plant.setup.Clock(),
		Properties:  []string{attest.PropertyRangeSigned, attest.PropertySignerAuthorized, attest.PropertyFastForward},
	})
	if err != nil {
		return attest.Bundle{}, err
	}
	return signer.SignCompanion(ctx, said)
}

func (p *pass) signProvenance(ctx context.Context, signer attest.Signer, revision accepted, subjects attest.Subjects) (attest.Bundle, error) {
	v := revision.verification
	said, err := attest.NewProvenance(subjects, attest.Provenance{
		BuildDefinition: attest.BuildDefinition{
			BuildType: attest.BuildType,
			ExternalParameters: attest.ExternalParameters{
				Repository: v.Repository(), Ref: v.Ref(), Revision: string(v.Commit()),
				Environment: p.factory.Spec.Environment, Overlay: revision.environment.Overlay,
			},
			ResolvedDependencies: revision.materials,
		},
		RunDetails: attest.RunDetails{
			Builder: attest.Builder{ID: attest.VerifierID, Version: attest.BuilderVersion{Millwright: p.plant.setup.Release}},
			Metadata: attest.Metadata{
				InvocationID: fmt.Sprintf("%s/%s/%d", p.plant.cluster.uid, p.plant.key, p.head.sequence+1),
				StartedOn:    p.started, FinishedOn: p.started,
			},
		},
	})
	if err != nil {
		return attest.Bundle{}, err
	}
	return signer.SignCompanion(ctx, said)
}

// policyOf names the trust policy that was in force.
func policyOf(v gitverify.Verification) attest.Descriptor {
	return attest.NewDescriptor(fmt.Sprintf("git+%s@%s#factory-config/trust/policy.yaml", v.Repository(), v.Commit()), v.PolicyDigest())
}
