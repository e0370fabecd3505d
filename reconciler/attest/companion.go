package attest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Predicate types of the statements beside the record of a revision.
const (
	SourceVerificationType = "https://in-toto.io/attestation/svr/v0.2"
	ProvenanceType         = "https://slsa.dev/provenance/v1"
	VerdictType            = "https://slsa.dev/verification_summary/v1"
)

// Companion is an in-toto statement that is made before a revision is applied,
// in the field's own forms: the verification of its source, the provenance of
// its manifests, or the verdict. It is no record of the chain; the record of the
// revision names its bundle by digest, and with that carries it into the log.
type Companion struct {
	predicateType string
	subjects      []Subject
	payload       []byte
}

// PredicateType is the statement's.
func (c Companion) PredicateType() string { return c.predicateType }

// Payload is the statement, byte for byte as it is signed.
func (c Companion) Payload() []byte { return bytes.Clone(c.payload) }

// About says whether a digest is among the statement's subjects: a commit's id,
// or "sha256:<hex>".
func (c Companion) About(digest string) bool {
	return slices.ContainsFunc(c.subjects, func(s Subject) bool {
		return s.Digest.GitCommit == digest || s.Digest.SHA256 != "" && "sha256:"+s.Digest.SHA256 == digest
	})
}

// Input is a companion as the record of a revision names it.
type Input struct {
	PredicateType string `json:"predicateType"`
	// Attestation is the digest of its bundle's bytes, "sha256:<hex>".
	Attestation string `json:"attestation"`
}

func newCompanion[P any](predicateType string, subjects []Subject, predicate P) (Companion, error) {
	payload, err := encode(wire[P]{statementType, subjects, predicateType, predicate})
	if err != nil {
		return Companion{}, fmt.Errorf("encoding a statement of type %s: %w", predicateType, err)
	}
	return decodeCompanion(payload)
}

// decodeCompanion takes one of the three types, in the one form that is written.
func decodeCompanion(data []byte) (Companion, error) {
	const hint = "the statement was not made by a reconciler of this version"
	if len(data) > MaxStatement {
		return Companion{}, refuse(CodeStatementInvalid, hint, "statement of %d bytes is larger than %d", len(data), MaxStatement)
	}
	var head struct {
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Companion{}, refuse(CodeStatementInvalid, hint, "decoding JSON: %v", err)
	}
	switch head.PredicateType {
	case SourceVerificationType:
		return companionOf[SourceVerification](data)
	case ProvenanceType:
		return companionOf[Provenance](data)
	case VerdictType:
		return companionOf[Verdict](data)
	}
	return Companion{}, refuse(CodeBundlePredicate, "another kind of statement", "predicate type is %q", head.PredicateType)
}

// valid is a predicate that can say what is wrong with it.
type valid interface{ validate() error }

func companionOf[P valid](data []byte) (Companion, error) {
	const hint = "the statement was not made by a reconciler of this version"
	var w wire[P]
	if err := decodeStrict(data, &w); err != nil {
		return Companion{}, refuse(CodeStatementInvalid, hint, "%v", err)
	}
	again, err := encode(w)
	if err != nil || !bytes.Equal(again, data) {
		return Companion{}, refuse(CodeStatementInvalid, hint, "statement is not in canonical form")
	}
	if err := errors.Join(validSubjects(w.Type, w.Subject), w.Predicate.validate()); err != nil {
		return Companion{}, refuse(CodeStatementInvalid, hint, "%v", err)
	}
	return Companion{predicateType: w.PredicateType, subjects: w.Subject, payload: bytes.Clone(data)}, nil
}

func validSubjects(kind string, subjects []Subject) error {
	if kind != statementType || len(subjects) == 0 || len(subjects) > 4 {
		return errors.New("the statement has another type, no subject, or too many")
	}
	for _, s := range subjects {
		one := isHex(s.Digest.SHA256, 64) && s.Digest.GitCommit == "" || isHex(s.Digest.GitCommit, 40) && s.Digest.SHA256 == ""
		if !one || requireText("subject", s.Name) != nil {
			return fmt.Errorf("subject %q needs one digest", clean(s.Name, maxText))
		}
	}
	return nil
}

// VerifiedCompanion is a companion with the proof of who made it and when. Only
// [VerifyCompanion] makes one.
type VerifiedCompanion struct {
	Companion Companion
	Identity  Identity
	SignedAt  time.Time

	bundle Bundle
}

// Bundle is what was verified, byte for byte.
func (v VerifiedCompanion) Bundle() Bundle { return NewBundle(v.bundle.JSON) }

// VerifyCompanion checks a companion's bundle offline. It need not be in the log
// by itself: what is in the log is the record that names it. Its certificate
// must have been valid at a proven time all the same, of the log or a timestamp
// authority. Who wants to know that it was made before a revision was applied
// looks for its digest in that record.
func VerifyCompanion(data []byte, trusted root.TrustedMaterial, policy Policy) (VerifiedCompanion, error) {
	b, err := parseBundle(data)
	if err != nil {
		return VerifiedCompanion{}, err
	}
	// An entry of the log proves a time only where the log is asked for.
	policy.beside = policy.Key != nil || len(b.GetVerificationMaterial().GetTlogEntries()) == 0
	verifier, options, err := policy.verifier(trusted)
	if err != nil {
		return VerifiedCompanion{}, err
	}
	result, err := verifier.Verify(b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), options...))
	if err != nil {
		return VerifiedCompanion{}, refuseSignature(err)
	}
	payload, err := payloadOf(b)
	if err != nil {
		return VerifiedCompanion{}, err
	}
	c, err := decodeCompanion(payload)
	if err != nil {
		return VerifiedCompanion{}, err
	}
	for _, want := range []string{policy.Commit, policy.Artifact} {
		if want != "" && !c.About(want) {
			return VerifiedCompanion{}, refuse(CodeBundleSubject, "ask for the attestation of that subject", "statement is not about %s", want)
		}
	}
	v := verified(b, result)
	return VerifiedCompanion{Companion: c, Identity: v.Identity, SignedAt: v.SignedAt, bundle: NewBundle(data)}, nil
}

// SignCompanion signs a companion as [Keyless.Sign] does a record. It goes to the
// log only where nothing else could prove the time of its certificate: one log
// entry for each revision is enough.
func (k Keyless) SignCompanion(ctx context.Context, c Companion) (Bundle, error) {
	beside := k
	if k.Services.TimestampAuthority != "" {
		beside.Services.Rekor = ""
	}
	keypair, opts, err := beside.prepare(ctx)
	if err != nil {
		return Bundle{}, err
	}
	bundle, err := signCompanion(c, keypair, opts, k.TrustedRoot, Policy{Identity: k.Identity})
	return bundle, k.forget(err)
}

// SignCompanion signs a companion with the key; no log is asked.
func (k KeyFile) SignCompanion(ctx context.Context, c Companion) (Bundle, error) {
	keypair, err := k.Key.keypair()
	if err != nil {
		return Bundle{}, err
	}
	services := k.Services
	services.Rekor = ""
	return signCompanion(c, keypair, services.options(ctx), k.TrustedRoot, Policy{Key: k.Key.Public(), UnsafeWithoutLog: true})
}
