package reconciler

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
)

// refusalPause is the least time between two refusals on record: whoever may
// push could otherwise fill the store with them.
const refusalPause = 5 * time.Minute

// maxRefused bounds the refusals of a factory that are in the cluster.
const maxRefused = 50

// publish puts a definite no on record, beside the chain. It is best effort: the
// refusal stands whether anybody can read it there or not.
func (p *pass) publish(ctx context.Context) {
	no := p.out.Refused
	if no == nil || no.Problem.Class != report.No || len(no.Problem.Commit) != 40 {
		return
	}
	now, problem := p.plant.setup.Clock(), no.Problem
	sum := sha256.Sum256([]byte(problem.Commit + " " + problem.Reason + " " + problem.Code))
	name := p.factory.Name + "-refused-" + hex.EncodeToString(sum[:6])
	if name == p.plant.refusal || !p.plant.refusedAt.IsZero() && now.Before(p.plant.refusedAt.Add(refusalPause)) {
		return
	}
	known, err := p.refusals(ctx)
	if err == nil && !slices.Contains(known, name) {
		if len(known) >= maxRefused {
			return
		}
		var spec v1alpha1.AppliedRevisionSpec
		if spec, err = p.newRefusal(ctx, problem); err == nil {
			err = p.createRecord(ctx, name, spec)
		}
	}
	if err != nil {
		ctrl.LoggerFrom(ctx).Info("a refusal could not be put on record", "reason", problem.Reason, "error", report.OneLine(err.Error()))
		return
	}
	p.plant.refusal, p.plant.refusedAt = name, now
}

// refusals names those that are on record. The controller may not delete
// records, its own included.
func (p *pass) refusals(ctx context.Context) ([]string, error) {
	records, err := p.recordHeads(ctx, p.plant.setup.Reader)
	if err != nil {
		return nil, fmt.Errorf("looking for the refusals on record: %w", err)
	}
	var out []string
	for _, o := range records {
		if strings.HasPrefix(o.Name, p.factory.Name+"-refused-") {
			out = append(out, o.Name)
		}
	}
	return out, nil
}

func (p *pass) newRefusal(ctx context.Context, problem report.Problem) (v1alpha1.AppliedRevisionSpec, error) {
	signer, err := p.plant.signer(p.factory)
	if err != nil {
		return v1alpha1.AppliedRevisionSpec{}, err
	}
	repository := cmp.Or(p.plant.newest.Repository(), withoutUser(p.factory.Spec.Source.URL))
	said, err := attest.NewVerdict(attest.Subjects{}, repository, problem.Commit, attest.Verdict{
		Verifier: attest.VerdictVerifier{ID: attest.VerifierID}, TimeVerified: p.plant.setup.Clock(),
		ResourceURI: "git+" + repository, Policy: attest.Descriptor{URI: "git+" + repository + "#factory-config/trust/policy.yaml"},
		VerificationResult: "FAILED", VerifiedLevels: []string{"FAILED"},
		Refusal: &attest.RefusalCode{Reason: problem.Reason, Code: cmp.Or(problem.Code, problem.Reason)},
	})
	if err != nil {
		return v1alpha1.AppliedRevisionSpec{}, err
	}
	bundle, err := signer.SignCompanion(ctx, said)
	if err != nil {
		return v1alpha1.AppliedRevisionSpec{}, err
	}
	return v1alpha1.AppliedRevisionSpec{
		Type: v1alpha1.RecordRefused, Factory: p.factory.Name, Sequence: p.head.sequence + 1, Commit: problem.Commit,
		Digest: bundle.Digest, Previous: p.head.digest, Bundle: string(bundle.JSON),
	}, nil
}

// withoutUser is a URL without what may be a password.
func withoutUser(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "unknown"
	}
	u.User = nil
	return u.String()
}
