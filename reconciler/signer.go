package reconciler

import (
	"errors"
	"fmt"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
)

// signedBy says who may have signed a factory's record with a sequence number:
// the signer of today, or one that was replaced later.
func (p *plant) signedBy(f *v1alpha1.Factory, sequence int64) ([]attest.Policy, error) {
	spec := f.Spec.Attest
	var out []attest.Policy
	switch {
	case spec.Signer != signerKey:
		out = append(out, attest.Policy{Identity: attest.Identity{Issuer: spec.Issuer, Subject: spec.Subject}})
	case p.setup.public() != nil:
		out = append(out, attest.Policy{Key: p.setup.public(), UnsafeWithoutLog: spec.Rekor == ""})
	}
	for _, former := range spec.Former {
		if sequence > former.Until {
			continue
		}
		policy := attest.Policy{Until: former.Until, Identity: attest.Identity{Issuer: former.Issuer, Subject: former.Subject}}
		if former.Key != "" {
			key, err := attest.ParsePublicKey([]byte(former.Key))
			if err != nil {
				return nil, err
			}
			policy = attest.Policy{Until: former.Until, Key: key, UnsafeWithoutLog: former.UnsafeWithoutLog}
		}
		out = append(out, policy)
	}
	if len(out) == 0 {
		return nil, errNoKey
	}
	return out, nil
}

// signers names those that the spec lets records be signed by.
func (p *pass) signers() string {
	spec := p.factory.Spec.Attest
	return fmt.Sprint(spec.Signer, spec.Issuer, spec.Subject, spec.Rekor == "", spec.Former)
}

// verifyRecord verifies a record as signed by one of those who may have.
func (p *plant) verifyRecord(f *v1alpha1.Factory, bundle []byte, sequence int64) (attest.Verified, error) {
	return anyOf(p, f, sequence, func(policy attest.Policy) (attest.Verified, error) {
		return attest.VerifyBundle(bundle, p.material, policy)
	})
}

// verifyCompanion does the same for what was said before a record.
func (p *plant) verifyCompanion(f *v1alpha1.Factory, bundle []byte, sequence int64) (attest.VerifiedCompanion, error) {
	return anyOf(p, f, sequence, func(policy attest.Policy) (attest.VerifiedCompanion, error) {
		return attest.VerifyCompanion(bundle, p.material, policy)
	})
}

// anyOf asks for each policy. The answer of the first one that does not refuse
// counts; of refusals, the first, which is today's signer's.
func anyOf[T any](p *plant, f *v1alpha1.Factory, sequence int64, verify func(attest.Policy) (T, error)) (T, error) {
	var none T
	policies, err := p.signedBy(f, sequence)
	if err != nil {
		return none, err
	}
	var first error
	for _, policy := range policies {
		verified, err := verify(policy)
		var no *attest.Refusal
		if !errors.As(err, &no) {
			return verified, err
		}
		if first == nil {
			first = err
		}
	}
	return none, first
}
