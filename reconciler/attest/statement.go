package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Bounds of a statement. A record must fit into an object of the API server
// with its signature around it, whatever an attacker did to the cluster.
const (
	MaxStatement = 512 << 10
	MaxRange     = 64
	MaxRulings   = 32
	MaxVouchers  = 20
	MaxDrift     = 50
	MaxPaths     = 10
	maxManagers  = 5
	maxPolicies  = 200
	maxInputs    = 10
	maxText      = 512
)

const statementType = "https://in-toto.io/Statement/v1"

// Names of the subjects, beside the repository's own.
const (
	subjectArtifact  = "artifact"
	subjectManifests = ManifestsFile
	subjectInventory = "inventory"
)

// Statement is an in-toto Statement v1 that is a record of the chain: about one
// applied revision, or about a stretch of its enforcement. [NewStatement],
// [NewEnforcement] and [DecodeStatement] make valid ones.
type Statement struct {
	Type          string
	Subject       []Subject
	PredicateType string
	// Predicate is that of an applied revision, and counts where Enforcement is nil.
	Predicate   Predicate
	Enforcement *Enforcement
}

// wire is a statement as it is signed.
type wire[P any] struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     P         `json:"predicate"`
}

// Subject is one thing that the statement is about.
type Subject struct {
	Name   string    `json:"name"`
	Digest DigestSet `json:"digest"`
}

// DigestSet holds exactly one digest.
type DigestSet struct {
	SHA256    string `json:"sha256,omitempty"`
	GitCommit string `json:"gitCommit,omitempty"`
}

// Subjects are the digests of what the statement is about; the commit comes
// from the predicate. All are "sha256:<hex>".
type Subjects struct {
	// Artifact is the OCI artifact's manifest, Manifests the file in it.
	Artifact, Manifests string
	// Inventory is the digest of the list of objects owned after the pass.
	Inventory string
}

// NewStatement makes a statement. Text that strangers can choose (managers,
// paths, reasons) is cut and cleaned, so that nobody can prevent a record by
// writing oddly; everything else that is wrong is an error.
func NewStatement(s Subjects, p Predicate) (Statement, error) {
	p = tidy(p)
	p.Rendered.Artifact = s.Artifact
	st := Statement{
		Type:          statementType,
		PredicateType: PredicateType,
		Predicate:     p,
		Subject: []Subject{
			{Name: subjectArtifact, Digest: DigestSet{SHA256: bare(s.Artifact)}},
			{Name: subjectManifests, Digest: DigestSet{SHA256: bare(s.Manifests)}},
			{Name: "git+" + p.Source.Repository, Digest: DigestSet{GitCommit: p.Source.Commit}},
			{Name: subjectInventory, Digest: DigestSet{SHA256: bare(s.Inventory)}},
		},
	}
	if _, err := st.Encode(); err != nil {
		return Statement{}, err
	}
	return st, nil
}

// Encode returns the canonical bytes: fields in the order of the types, no
// insignificant space, times in UTC.
func (s Statement) Encode() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("checking the statement: %w", err)
	}
	var form any = wire[Predicate]{s.Type, s.Subject, s.PredicateType, s.Predicate}
	if s.Enforcement != nil {
		form = wire[*Enforcement]{s.Type, s.Subject, s.PredicateType, s.Enforcement}
	}
	out, err := encode(form)
	if err != nil {
		return nil, fmt.Errorf("encoding the statement: %w", err)
	}
	if len(out) > MaxStatement {
		return nil, fmt.Errorf("statement of %d bytes is larger than %d", len(out), MaxStatement)
	}
	return out, nil
}

// DecodeStatement accepts only what Encode writes, byte for byte: unknown and
// duplicate fields, other spellings of a key and trailing data are refused,
// since two readers could understand them differently.
func DecodeStatement(data []byte) (Statement, error) {
	const hint = "the statement was not made by a reconciler of this version"
	if len(data) > MaxStatement {
		return Statement{}, refuse(CodeStatementInvalid, hint, "statement of %d bytes is larger than %d", len(data), MaxStatement)
	}
	s, err := decode(data)
	if err != nil {
		return Statement{}, err
	}
	again, err := s.Encode()
	if err != nil {
		return Statement{}, refuse(CodeStatementInvalid, hint, "%v", err)
	}
	if !bytes.Equal(again, data) {
		return Statement{}, refuse(CodeStatementInvalid, hint, "statement is not in canonical form")
	}
	return s, nil
}

// decode reads the form that the predicate type asks for.
func decode(data []byte) (Statement, error) {
	const hint = "the statement was not made by a reconciler of this version"
	var head struct {
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Statement{}, refuse(CodeStatementInvalid, hint, "decoding JSON: %v", err)
	}
	switch head.PredicateType {
	case PredicateType:
		var w wire[Predicate]
		if err := decodeStrict(data, &w); err != nil {
			return Statement{}, refuse(CodeStatementInvalid, hint, "%v", err)
		}
		return Statement{Type: w.Type, Subject: w.Subject, PredicateType: w.PredicateType, Predicate: w.Predicate}, nil
	case EnforcementType:
		var w wire[*Enforcement]
		if err := decodeStrict(data, &w); err != nil {
			return Statement{}, refuse(CodeStatementInvalid, hint, "%v", err)
		}
		return Statement{Type: w.Type, Subject: w.Subject, PredicateType: w.PredicateType, Enforcement: w.Predicate}, nil
	}
	return Statement{}, refuse(CodeBundlePredicate, "another kind of statement", "predicate type is %q", head.PredicateType)
}

// Commit is the revision that is in force after the record.
func (s Statement) Commit() string { return s.Place().Commit }

// Artifact is the digest of the OCI artifact with the manifests, "sha256:<hex>".
func (s Statement) Artifact() string { return s.Place().Artifact }

// Manifests is the digest of the file with the manifests, "sha256:<hex>".
func (s Statement) Manifests() string { return "sha256:" + s.Subject[1].Digest.SHA256 }

// Inventory is the digest of the list of objects owned after the pass.
func (s Statement) Inventory() string { return "sha256:" + s.Subject[3].Digest.SHA256 }

// NewRange bounds a list of verified commits, oldest first.
func NewRange(commits []Commit) (Range, error) {
	all := make([]Commit, len(commits))
	for i, c := range commits {
		c.SignedAt = utc(c.SignedAt)
		all[i] = c
	}
	digest, err := digestOf(all)
	if err != nil {
		return Range{}, fmt.Errorf("hashing the range: %w", err)
	}
	return Range{Total: len(all), Digest: digest, Commits: slices.Clip(all[max(0, len(all)-MaxRange):])}, nil
}

// NewRulings bounds a list of rulings, oldest first.
func NewRulings(all []Ruling) Rulings {
	return Rulings{Total: len(all), Entries: slices.Clone(all[max(0, len(all)-MaxRulings):])}
}

// NewDrift bounds a list of drifted objects.
func NewDrift(entries []DriftEntry) Drift {
	return Drift{Total: len(entries), Entries: slices.Clone(entries[:min(len(entries), MaxDrift)])}
}

func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func digestOf(v any) (string, error) {
	b, err := encode(v)
	if err != nil {
		return "", err
	}
	return Digest(b), nil
}

func decodeStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("decoding JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decoding JSON: data after the document")
	}
	return nil
}

func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
