package audit_test

import (
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/audit/audittest"
)

// verdict signs a verdict about a commit, and gives its bundle.
func (w *floor) verdict(commit, result string, o sigstoretest.SignOptions) string {
	w.t.Helper()
	levels := []string{attest.LevelSourceVerified}
	var refusal *attest.RefusalCode
	if result != "PASSED" {
		levels, refusal = []string{"FAILED"}, &attest.RefusalCode{Reason: "PolicyViolation", Code: "policy/violated"}
	}
	c, err := attest.NewVerdict(attest.Subjects{}, "millwright.dev/audited", commit, attest.Verdict{
		Verifier: attest.VerdictVerifier{ID: attest.VerifierID}, TimeVerified: w.Virtual.Now(), ResourceURI: "git+millwright.dev/audited",
		Policy: attest.NewDescriptor("git+millwright.dev/audited", attest.Digest(nil)), VerificationResult: result, VerifiedLevels: levels, Refusal: refusal,
	})
	w.must(err)
	if o.Subject == "" {
		o.Subject, o.Issuer = audittest.Reconciler, audittest.Workloads
	}
	if o.IssuedAt.IsZero() {
		o.IssuedAt = w.Virtual.Now()
	}
	bundle, err := w.Virtual.SignStatement(c.Payload(), o)
	w.must(err)
	return string(bundle)
}

// What was decided before the first write has to be there, by the reconciler,
// about this revision, before its record, and a yes.
func TestEvidenceBeforeEffectIsGoneOverAgain(t *testing.T) { // row F10
	t.Parallel()
	for name, c := range map[string]struct {
		result string
		sign   sigstoretest.SignOptions
		about  string
		kind   string
		gone   bool
		answer audit.Answer
		code   string
	}{
		"as it should be":       {answer: audit.Yes},
		"not there":             {gone: true, answer: audit.Unknown, code: audit.CodeVerdictMissing},
		"by somebody else":      {sign: sigstoretest.SignOptions{Subject: "spiffe://factory.test/other", Issuer: audittest.Workloads}, answer: audit.No, code: attest.CodeBundleIdentity},
		"about another commit":  {about: strings.Repeat("1", 40), answer: audit.No, code: audit.CodeVerdictOther},
		"of another kind":       {kind: attest.ProvenanceType, answer: audit.No, code: audit.CodeVerdictOther},
		"made after the record": {sign: sigstoretest.SignOptions{IssuedAt: time.Date(2026, 5, 1, 20, 0, 0, 0, time.UTC)}, answer: audit.No, code: audit.CodeVerdictLate},
		"a no":                  {result: "FAILED", answer: audit.No, code: audit.CodeVerdictFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFloor(t, 1)
			made := map[string]string{}
			w.Edit = func(p *attest.Predicate) {
				about, result, kind := p.Source.Commit, "PASSED", attest.VerdictType
				if c.about != "" {
					about = c.about
				}
				if c.result != "" {
					result = c.result
				}
				if c.kind != "" {
					kind = c.kind
				}
				bundle := w.verdict(about, result, c.sign)
				made[attest.Digest([]byte(bundle))] = bundle
				p.Inputs = []attest.Input{{PredicateType: kind, Attestation: attest.Digest([]byte(bundle))}}
			}
			w.change(audittest.Alice, "decided")
			e := w.evidence()
			if e.Companions = made; c.gone {
				e.Companions = nil
			}
			codes := []string{c.code}
			if c.code == "" {
				codes = nil
			}
			want(t, w.audit(w.export(e), w.options()), c.answer, codes...)
		})
	}
}
