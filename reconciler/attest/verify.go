package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// MaxBundle bounds a bundle that is read.
const MaxBundle = 4 << 20

// maxTrustedRoot bounds a trusted root that is read.
const maxTrustedRoot = 1 << 20

// Identity is who must have signed: exact issuer and exact subject.
type Identity struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// Policy says what a bundle must be. Either Identity or Key is required.
type Policy struct {
	// Identity of the certificate that signed.
	Identity Identity
	// Key (ECDSA P-256) that signed, instead of an identity.
	Key crypto.PublicKey
	// UnsafeWithoutLog accepts a key's signature that no transparency log has:
	// nothing then proves when it was made, or that it was made once only.
	UnsafeWithoutLog bool
	// Commit and Artifact, when set, must be the statement's subjects.
	Commit, Artifact string
	// Until, when set, is the last sequence number that this signer counts for: one
	// that was replaced signs nothing any more.
	Until int64

	// beside says that a companion is verified, which need not be in the log.
	beside bool
}

// String names who must have signed.
func (p Policy) String() string {
	if p.Key == nil {
		return p.Identity.Subject + " by " + p.Identity.Issuer
	}
	der, err := x509.MarshalPKIXPublicKey(p.Key)
	if err != nil {
		return "an unusable key"
	}
	name := "the key " + Digest(der)
	if p.UnsafeWithoutLog {
		name += ", in no log"
	}
	return name
}

// Verified is a statement with the proof of who made it and when. Only
// [VerifyBundle] makes one.
type Verified struct {
	Statement Statement
	// Identity of the certificate; empty when a key signed.
	Identity Identity
	// SignedAt is the earliest proven time; zero when nothing proves one.
	SignedAt time.Time
	// LogIndex in the transparency log, -1 when there is none.
	LogIndex int64

	bundle Bundle
}

// Bundle is what was verified, byte for byte.
func (v Verified) Bundle() Bundle { return NewBundle(v.bundle.JSON) }

// ParseTrustedRoot reads a Sigstore trusted_root.json.
func ParseTrustedRoot(data []byte) (root.TrustedMaterial, error) {
	if len(data) > maxTrustedRoot {
		return nil, errors.New("reading the trusted root: the file is too large")
	}
	tr, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted root: %w", err)
	}
	return tr, nil
}

// VerifyBundle checks a bundle offline: signature, certificate chain and its
// time, SCT, inclusion in the log, exact identity, exact predicate type, and
// the statement's form and subjects. A *Refusal is a definite no; any other
// error says that the policy or the trusted root is not usable.
func VerifyBundle(data []byte, trusted root.TrustedMaterial, policy Policy) (Verified, error) {
	b, err := parseBundle(data)
	if err != nil {
		return Verified{}, err
	}
	verifier, options, err := policy.verifier(trusted)
	if err != nil {
		return Verified{}, err
	}
	// The artifact is matched below, against the strictly decoded statement.
	result, err := verifier.Verify(b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), options...))
	if err != nil {
		return Verified{}, refuseSignature(err)
	}
	payload, err := payloadOf(b)
	if err != nil {
		return Verified{}, err
	}
	s, err := DecodeStatement(payload)
	if err != nil {
		return Verified{}, err
	}
	if policy.Commit != "" && s.Commit() != policy.Commit {
		return Verified{}, refuse(CodeBundleSubject, "ask for the attestation of that commit", "statement is about commit %s, not %s", s.Commit(), policy.Commit)
	}
	if policy.Artifact != "" && s.Artifact() != policy.Artifact {
		return Verified{}, refuse(CodeBundleSubject, "ask for the attestation of that artifact", "statement is about artifact %s, not %s", s.Artifact(), policy.Artifact)
	}
	if n := s.Place().Sequence; policy.Until > 0 && n > policy.Until {
		return Verified{}, refuse(CodeBundleIdentity, "the signer was replaced before", "this signer counts up to record %d, and it signed %d", policy.Until, n)
	}
	v := verified(b, result)
	v.Statement, v.bundle = s, NewBundle(data)
	return v, nil
}

// verified takes over what sigstore-go proved.
func verified(b *bundle.Bundle, result *verify.VerificationResult) Verified {
	v := Verified{LogIndex: -1}
	if result.Signature != nil && result.Signature.Certificate != nil {
		v.Identity = Identity{Issuer: result.Signature.Certificate.Issuer, Subject: result.Signature.Certificate.SubjectAlternativeName}
	}
	for _, t := range result.VerifiedTimestamps {
		if v.SignedAt.IsZero() || t.Timestamp.Before(v.SignedAt) {
			v.SignedAt = t.Timestamp.UTC()
		}
	}
	if entries := b.GetVerificationMaterial().GetTlogEntries(); len(entries) == 1 {
		v.LogIndex = entries[0].GetLogIndex()
	}
	return v
}

func parseBundle(data []byte) (*bundle.Bundle, error) {
	const hint = "a Sigstore bundle v0.3 with one DSSE envelope is expected"
	if len(data) > MaxBundle {
		return nil, refuse(CodeBundleInvalid, hint, "bundle of %d bytes is larger than %d", len(data), MaxBundle)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return nil, refuse(CodeBundleInvalid, hint, "%v", err)
	}
	if !b.MinVersion("v0.3") {
		return nil, refuse(CodeBundleInvalid, hint, "bundle is older than v0.3")
	}
	env := b.GetDsseEnvelope()
	if env == nil || len(env.GetSignatures()) != 1 {
		return nil, refuse(CodeBundleInvalid, hint, "bundle has no DSSE envelope with exactly one signature")
	}
	if env.GetPayloadType() != payloadType {
		return nil, refuse(CodeBundlePredicate, hint, "payload type is %q", env.GetPayloadType())
	}
	return &b, nil
}

// payloadOf returns the signed bytes from the place that was verified.
func payloadOf(b *bundle.Bundle) ([]byte, error) {
	content, err := b.SignatureContent()
	if err != nil {
		return nil, refuse(CodeBundleInvalid, "", "%v", err)
	}
	if content.EnvelopeContent() == nil || content.EnvelopeContent().RawEnvelope() == nil {
		return nil, refuse(CodeBundleInvalid, "", "bundle has no DSSE envelope")
	}
	payload, err := base64.StdEncoding.DecodeString(content.EnvelopeContent().RawEnvelope().Payload)
	if err != nil {
		return nil, refuse(CodeBundleInvalid, "", "payload is not base64")
	}
	return payload, nil
}

// refuseSignature tells a wrong identity from everything else that is wrong.
func refuseSignature(err error) error {
	var mismatch *verify.ErrNoMatchingCertificateIdentity
	if errors.As(err, &mismatch) {
		return refuse(CodeBundleIdentity, "the reconciler's issuer and subject are compared exactly", "%v", err)
	}
	return refuse(CodeBundleInvalid, "check that the trusted root is the one that the factory signs under", "%v", err)
}

// verifier builds what sigstore-go needs to know for this policy.
func (p Policy) verifier(trusted root.TrustedMaterial) (*verify.Verifier, []verify.PolicyOption, error) {
	byKey, byIdentity := p.Key != nil, p.Identity != (Identity{})
	if byKey == byIdentity {
		return nil, nil, errors.New("a policy needs either an identity or a key")
	}
	if trusted == nil && (byIdentity || !p.UnsafeWithoutLog && !p.beside) {
		return nil, nil, errors.New("a trusted root is needed")
	}
	if trusted == nil {
		trusted = &root.BaseTrustedMaterial{}
	}
	if byKey {
		return p.keyVerifier(trusted)
	}
	if p.Identity.Issuer == "" || p.Identity.Subject == "" {
		return nil, nil, errors.New("an identity needs issuer and subject")
	}
	id, err := verify.NewShortCertificateIdentity(p.Identity.Issuer, "", p.Identity.Subject, "")
	if err != nil {
		return nil, nil, fmt.Errorf("reading the identity: %w", err)
	}
	known := []verify.VerifierOption{
		verify.WithoutStatementPredicate(), verify.WithObserverTimestamps(1), verify.WithSignedCertificateTimestamps(1),
	}
	if !p.beside {
		known = append(known, verify.WithTransparencyLog(1))
	}
	v, err := verify.NewVerifier(trusted, known...)
	if err != nil {
		return nil, nil, fmt.Errorf("preparing verification: %w", err)
	}
	return v, []verify.PolicyOption{verify.WithCertificateIdentity(id)}, nil
}

func (p Policy) keyVerifier(trusted root.TrustedMaterial) (*verify.Verifier, []verify.PolicyOption, error) {
	public, ok := p.Key.(*ecdsa.PublicKey)
	if !ok {
		return nil, nil, errors.New("reading the policy: only ECDSA P-256 keys are accepted")
	}
	check, err := signature.LoadECDSAVerifier(public, crypto.SHA256)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the policy's key: %w", err)
	}
	material := policyKey{TrustedMaterial: trusted, key: root.NewExpiringKey(check, time.Time{}, time.Time{})}
	options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if p.UnsafeWithoutLog || p.beside {
		options = append(options, verify.WithNoObserverTimestamps())
	} else {
		options = append(options, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	}
	v, err := verify.NewVerifier(material, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("preparing verification: %w", err)
	}
	return v, []verify.PolicyOption{verify.WithKey()}, nil
}

// policyKey is a trusted root in which there is one public key, the policy's,
// whatever hint a bundle carries.
type policyKey struct {
	root.TrustedMaterial
	key *root.ExpiringKey
}

func (p policyKey) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) { return p.key, nil }
