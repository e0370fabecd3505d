package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"millwright.dev/millwright/reconciler/attest"
)

// companions checks what was decided before the first write of each revision:
// the verification of its source, the provenance of its manifests and the
// verdict, which the record names by digest.
func (a *auditor) companions(ctx context.Context) error {
	named, verified, missing, first := 0, 0, 0, int64(0)
	for _, r := range a.report.Records {
		s := r.Evidence.Statement
		if !r.Verified || s.Enforcement != nil {
			continue
		}
		for _, in := range s.Predicate.Inputs {
			if err := ctx.Err(); err != nil {
				return err
			}
			named++
			bundle, ok := a.e.Companions[in.Attestation]
			switch {
			case !ok && missing == 0:
				first = r.Sequence
				fallthrough
			case !ok:
				missing++
			case a.companion(r, in, bundle):
				verified++
			}
		}
	}
	if named == 0 {
		a.answered(CheckVerdicts, LeftOut, "no record names any")
		return nil
	}
	if missing > 0 {
		a.open(CheckVerdicts, CodeVerdictMissing, first, fmt.Sprintf("%s not here that records name", counted(missing, "statement")),
			"they are beside the records in the cluster, and in the registry by their digests: export again where both can be read")
	}
	a.checked(CheckVerdicts, fmt.Sprintf("%d of %s from before the first write verify", verified, counted(named, "statement")))
	return nil
}

// companion checks one statement: who signed it, what it is about, that it was
// made before the record, and that a verdict is a yes.
func (a *auditor) companion(r Record, in attest.Input, bundle string) bool {
	s := r.Evidence.Statement
	refuse := func(code, format string, args ...any) bool {
		a.report.find(Finding{
			Check: CheckVerdicts, Answer: No, Code: code, Sequence: r.Sequence, Commit: s.Commit(), Detail: fmt.Sprintf(format, args...),
			Hint: "what was decided before the first write is not what the record says: treat it as an incident",
		})
		return false
	}
	if attest.Digest([]byte(bundle)) != in.Attestation {
		return refuse(attest.CodeRecordDigest, "the bundle of a %s has another digest than its name", in.PredicateType)
	}
	c, err := a.verifyCompanion(bundle)
	var no *attest.Refusal
	switch {
	case errors.As(err, &no):
		return refuse(no.Code, "the %s that it names: %s", in.PredicateType, no.Detail)
	case err != nil:
		a.open(CheckVerdicts, CodeVerdictMissing, r.Sequence, err.Error(), "see whether the trusted root can be used")
		return false
	case c.Companion.PredicateType() != in.PredicateType:
		return refuse(CodeVerdictOther, "it names a %s, and the bundle is a %s", in.PredicateType, c.Companion.PredicateType())
	case !c.Companion.About(s.Commit()) && !c.Companion.About(s.Artifact()) && !c.Companion.About(s.Manifests()):
		return refuse(CodeVerdictOther, "the %s that it names is about another revision", in.PredicateType)
	case r.SignedAt != nil && !c.SignedAt.IsZero() && c.SignedAt.After(r.SignedAt.Add(skew)):
		return refuse(CodeVerdictLate, "the %s that it names was signed at %s, after the record", in.PredicateType, c.SignedAt.UTC())
	case in.PredicateType == attest.VerdictType && !passed(c.Companion):
		return refuse(CodeVerdictFailed, "the verdict was no, and the revision was applied")
	}
	return true
}

// verifyCompanion tries the signers in their order.
func (a *auditor) verifyCompanion(bundle string) (v attest.VerifiedCompanion, err error) {
	var worth error
	for _, p := range a.o.Signers {
		v, err = attest.VerifyCompanion([]byte(bundle), a.o.TrustedRoot, p)
		var no *attest.Refusal
		if !errors.As(err, &no) {
			return v, err
		}
		if worth == nil || no.Code == attest.CodeBundleIdentity {
			worth = err
		}
	}
	return attest.VerifiedCompanion{}, worth
}

// passed reads the result of a verification summary, whose form is verified.
func passed(c attest.Companion) bool {
	var s struct {
		Predicate struct {
			Result string `json:"verificationResult"`
		} `json:"predicate"`
	}
	return json.Unmarshal(c.Payload(), &s) == nil && s.Predicate.Result == "PASSED"
}
