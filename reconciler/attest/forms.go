package attest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// VerifierID names this program where the field's forms ask who verified.
const VerifierID = "https://millwright.dev/reconciler/v1"

// BuildType says how manifests are made of a commit: the overlay of an
// environment is rendered by Kustomize, confined to the tree.
const BuildType = "https://millwright.dev/kustomize-render/v1"

// What a verdict says of a revision. SLSA's own levels are not among them:
// nobody proved one here.
const (
	LevelSourceVerified = "MILLWRIGHT_SOURCE_VERIFIED"
	LevelPolicyPassed   = "MILLWRIGHT_POLICY_TESTS_PASSED"
	levelFailed         = "FAILED"
)

// Properties of a verified range.
const (
	PropertyRangeSigned      = "MILLWRIGHT_COMMIT_RANGE_SIGNED"
	PropertySignerAuthorized = "MILLWRIGHT_SIGNER_AUTHORIZED"
	PropertyFastForward      = "MILLWRIGHT_FAST_FORWARD"
)

// Bounds of the field's forms.
const (
	MaxMaterials  = 1000
	maxProperties = 20
)

// SourceVerification is an in-toto SVR: what was found true of the commits up
// to one.
type SourceVerification struct {
	Verifier    Verifier  `json:"verifier"`
	TimeCreated time.Time `json:"timeCreated"`
	Properties  []string  `json:"properties"`
}

// Verifier is who verified, by which policies.
type Verifier struct {
	ID       string       `json:"id"`
	Policies []Descriptor `json:"policies,omitempty"`
}

// Descriptor names a thing by where it is and by its digest.
type Descriptor struct {
	URI    string     `json:"uri,omitempty"`
	Name   string     `json:"name,omitempty"`
	Digest *DigestSet `json:"digest,omitempty"`
}

// Provenance is a SLSA Provenance v1 of rendered manifests.
type Provenance struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// BuildDefinition is what was rendered.
type BuildDefinition struct {
	BuildType            string             `json:"buildType"`
	ExternalParameters   ExternalParameters `json:"externalParameters"`
	ResolvedDependencies []Descriptor       `json:"resolvedDependencies"`
}

// ExternalParameters are those that an auditor repeats the rendering with.
type ExternalParameters struct {
	Repository  string `json:"repository"`
	Ref         string `json:"ref"`
	Revision    string `json:"revision"`
	Environment string `json:"environment"`
	Overlay     string `json:"overlay"`
}

// RunDetails are who rendered, and when.
type RunDetails struct {
	Builder  Builder  `json:"builder"`
	Metadata Metadata `json:"metadata"`
}

// Builder is the reconciler.
type Builder struct {
	ID      string         `json:"id"`
	Version BuilderVersion `json:"version"`
}

// BuilderVersion is the release.
type BuilderVersion struct {
	Millwright string `json:"millwright"`
}

// Metadata of a rendering.
type Metadata struct {
	InvocationID string    `json:"invocationId"`
	StartedOn    time.Time `json:"startedOn"`
	FinishedOn   time.Time `json:"finishedOn"`
}

// Verdict is a SLSA VSA about the manifests of a revision, or about a commit that
// was refused.
type Verdict struct {
	Verifier           VerdictVerifier     `json:"verifier"`
	TimeVerified       time.Time           `json:"timeVerified"`
	ResourceURI        string              `json:"resourceUri"`
	Policy             Descriptor          `json:"policy"`
	InputAttestations  []AttestationDigest `json:"inputAttestations,omitempty"`
	VerificationResult string              `json:"verificationResult"`
	VerifiedLevels     []string            `json:"verifiedLevels"`
	// Refusal is an extension: why a commit was refused, by the codes of the
	// runbook. It holds no text that a commit could choose.
	Refusal *RefusalCode `json:"https://millwright.dev/refusal/v1,omitempty"`
}

// VerdictVerifier is who decided.
type VerdictVerifier struct {
	ID string `json:"id"`
}

// AttestationDigest names a bundle.
type AttestationDigest struct {
	Digest DigestSet `json:"digest"`
}

// RefusalCode is why.
type RefusalCode struct {
	Reason string `json:"reason"`
	Code   string `json:"code"`
}

// NewSourceVerification is about a commit, in a repository.
func NewSourceVerification(repository, commit string, p SourceVerification) (Companion, error) {
	p.TimeCreated = utc(p.TimeCreated)
	return newCompanion(SourceVerificationType, []Subject{{Name: "git+" + repository, Digest: DigestSet{GitCommit: commit}}}, p)
}

// NewProvenance is about rendered manifests.
func NewProvenance(s Subjects, p Provenance) (Companion, error) {
	m := &p.RunDetails.Metadata
	m.StartedOn, m.FinishedOn = utc(m.StartedOn), utc(m.FinishedOn)
	return newCompanion(ProvenanceType, manifestSubjects(s), p)
}

// NewVerdict is about rendered manifests and the commit that they come from; of a
// refused commit there may be no manifests.
func NewVerdict(s Subjects, repository, commit string, p Verdict) (Companion, error) {
	p.TimeVerified = utc(p.TimeVerified)
	subjects := []Subject{{Name: "git+" + repository, Digest: DigestSet{GitCommit: commit}}}
	if s.Artifact != "" {
		subjects = append(manifestSubjects(s), subjects...)
	}
	return newCompanion(VerdictType, subjects, p)
}

func manifestSubjects(s Subjects) []Subject {
	return []Subject{
		{Name: subjectArtifact, Digest: DigestSet{SHA256: bare(s.Artifact)}},
		{Name: subjectManifests, Digest: DigestSet{SHA256: bare(s.Manifests)}},
	}
}

// NewDescriptor names something by URI and "sha256:<hex>".
func NewDescriptor(uri, digest string) Descriptor {
	return Descriptor{URI: uri, Digest: &DigestSet{SHA256: bare(digest)}}
}

// NewAttestationDigest names a bundle by its digest.
func NewAttestationDigest(digest string) AttestationDigest {
	return AttestationDigest{Digest: DigestSet{SHA256: bare(digest)}}
}

func (s SourceVerification) validate() error {
	if len(s.Properties) == 0 || len(s.Properties) > maxProperties || !isMoment(s.TimeCreated) {
		return errors.New("an SVR needs properties and a time")
	}
	for _, p := range s.Properties {
		if requireText("property", p) != nil || strings.HasPrefix(p, "SLSA_") {
			return fmt.Errorf("property %q is none of ours", clean(p, maxText))
		}
	}
	if err := requireText("verifier.id", s.Verifier.ID); err != nil {
		return err
	}
	return descriptors("policies", s.Verifier.Policies, maxProperties)
}

func (p Provenance) validate() error {
	b, r := p.BuildDefinition, p.RunDetails
	if b.BuildType != BuildType {
		return fmt.Errorf("buildType is %q", clean(b.BuildType, maxText))
	}
	for _, f := range []struct{ what, value string }{
		{"repository", b.ExternalParameters.Repository},
		{"ref", b.ExternalParameters.Ref},
		{"environment", b.ExternalParameters.Environment},
		{"overlay", b.ExternalParameters.Overlay},
		{"builder.id", r.Builder.ID},
		{"builder.version", r.Builder.Version.Millwright},
		{"invocationId", r.Metadata.InvocationID},
	} {
		if err := requireText(f.what, f.value); err != nil {
			return err
		}
	}
	if !isHex(b.ExternalParameters.Revision, 40) || !isMoment(r.Metadata.StartedOn) || r.Metadata.FinishedOn.Before(r.Metadata.StartedOn) {
		return errors.New("revision or times are invalid")
	}
	return descriptors("resolvedDependencies", b.ResolvedDependencies, MaxMaterials)
}

func (v Verdict) validate() error {
	if err := errors.Join(requireText("verifier.id", v.Verifier.ID), requireText("resourceUri", v.ResourceURI), requireText("policy.uri", v.Policy.URI)); err != nil {
		return err
	}
	if !isMoment(v.TimeVerified) || len(v.VerifiedLevels) == 0 || len(v.VerifiedLevels) > maxProperties {
		return errors.New("a verdict needs a time and levels")
	}
	if slices.ContainsFunc(v.VerifiedLevels, func(l string) bool { return strings.HasPrefix(l, "SLSA_") || requireText("level", l) != nil }) {
		return errors.New("a level that nobody proved")
	}
	for _, a := range v.InputAttestations {
		if !isHex(a.Digest.SHA256, 64) || a.Digest.GitCommit != "" {
			return errors.New("an input without a digest")
		}
	}
	failed := v.VerificationResult == levelFailed
	if !failed && v.VerificationResult != "PASSED" || failed != (v.Refusal != nil) || failed != slices.Equal(v.VerifiedLevels, []string{levelFailed}) {
		return errors.New("result, levels and refusal contradict each other")
	}
	if v.Refusal != nil {
		return errors.Join(requireText("refusal.reason", v.Refusal.Reason), requireText("refusal.code", v.Refusal.Code))
	}
	return nil
}

func descriptors(what string, all []Descriptor, limit int) error {
	if len(all) > limit {
		return fmt.Errorf("%s has more than %d entries", what, limit)
	}
	for _, d := range all {
		if d.Digest == nil || requireText("uri", d.URI) != nil || d.Name != "" && requireText("name", d.Name) != nil {
			return fmt.Errorf("%s: %q is invalid", what, clean(d.URI, maxText))
		}
		one := isHex(d.Digest.SHA256, 64) && d.Digest.GitCommit == "" || isHex(d.Digest.GitCommit, 40) && d.Digest.SHA256 == ""
		if !one {
			return fmt.Errorf("%s: %q has no digest", what, clean(d.URI, maxText))
		}
	}
	return nil
}
