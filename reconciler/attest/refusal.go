package attest

import "fmt"

// Refusal is a definite no about a piece of evidence: final until the evidence
// or the policy changes. It never wraps an inability to tell.
type Refusal struct {
	// Reason is the CamelCase condition reason.
	Reason string
	// Code is the finer stable code, for example "bundle/identity".
	Code string
	// Detail says what was found, in one line; Hint what would make it a yes.
	Detail, Hint string
}

// reasonAttestation is the one condition reason of this package.
const reasonAttestation = "AttestationFailed"

// Codes of refusals and findings.
const (
	CodeStatementInvalid = "statement/invalid"
	CodeBundleInvalid    = "bundle/invalid"
	CodeBundleIdentity   = "bundle/identity"
	CodeBundlePredicate  = "bundle/predicate"
	CodeBundleSubject    = "bundle/subject"
	CodeArtifactInvalid  = "artifact/invalid"
	CodeArtifactSecret   = "artifact/secret-value"
	CodeChainEmpty       = "chain/empty"
	CodeChainGap         = "chain/gap"
	CodeChainPrevious    = "chain/previous"
	CodeChainCluster     = "chain/cluster"
	CodeChainFactory     = "chain/factory"
	CodeChainCommit      = "chain/commit"
	CodeChainHead        = "chain/head"
	CodeRecordDigest     = "record/digest"
	CodeRecordSequence   = "record/sequence"
)

// Error is one line: code, what was found, what to do.
func (r *Refusal) Error() string {
	if r.Hint == "" {
		return fmt.Sprintf("%s: %s", r.Code, r.Detail)
	}
	return fmt.Sprintf("%s: %s (%s)", r.Code, r.Detail, r.Hint)
}

// refuse makes a refusal whose detail is safe to print: what it quotes may
// come from an attacker.
func refuse(code, hint, format string, args ...any) *Refusal {
	return &Refusal{Reason: reasonAttestation, Code: code, Detail: clean(fmt.Sprintf(format, args...), 500), Hint: hint}
}
