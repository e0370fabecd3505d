package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// ProofVersion and ProofKind name the format of a proof of what became of one
// object (docs/attestation.md).
const (
	ProofVersion = "millwright.dev/proof/v1"
	ProofKind    = "ObjectProof"
)

// maxProof bounds a proof that is read: a bundle, and a path of hashes.
const maxProof = 2 << 20

// Proof shows what became of one object in an applied revision, without the other
// objects: a line of the list of changes, its way to the root, and the signed
// record that names the root.
type Proof struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Inclusion  Inclusion `json:"inclusion"`
	// Bundle is the record's bundle, byte for byte.
	Bundle string `json:"bundle"`
}

// Object names an object as lists do. Group may be left out where it is empty.
type Object struct{ Group, Kind, Namespace, Name string }

// ParseObject reads KIND[.GROUP]/[NAMESPACE/]NAME.
func ParseObject(s string) (Object, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 2 && len(parts) != 3 || strings.Contains("/"+s+"/", "//") {
		return Object{}, fmt.Errorf("%q is not KIND[.GROUP]/[NAMESPACE/]NAME", clean(s, maxText))
	}
	o := Object{Name: parts[len(parts)-1]}
	o.Kind, o.Group, _ = strings.Cut(parts[0], ".")
	if len(parts) == 3 {
		o.Namespace = parts[1]
	}
	return o, nil
}

func (o Object) String() string {
	kind := o.Kind
	if o.Group != "" {
		kind += "." + o.Group
	}
	if o.Namespace != "" {
		return kind + "/" + o.Namespace + "/" + o.Name
	}
	return kind + "/" + o.Name
}

func (e ListEntry) is(o Object) bool {
	group, _, grouped := strings.Cut(e.APIVersion, "/")
	if !grouped {
		group = ""
	}
	return e.Kind == o.Kind && group == o.Group && e.Namespace == o.Namespace && e.Name == o.Name
}

// ErrNotListed says that a revision did nothing to an object, or that nothing is
// known of it: a list has what was done, and no more.
var ErrNotListed = errors.New("the object is not in the list of what was done")

// NewProof makes the proof for an object from a record of an applied revision and
// its list of changes. It verifies no signature: who is shown the proof does.
func NewProof(bundle []byte, changes List, object Object) (Proof, error) {
	s, err := UnsafeStatement(bundle)
	if err != nil {
		return Proof{}, err
	}
	if s.Enforcement != nil {
		return Proof{}, refuse(CodeBundlePredicate, "name the record of an applied revision", "record %d is of how a revision was kept", s.Place().Sequence)
	}
	if changes.Root() != s.Predicate.Changes.Root {
		return Proof{}, refuse(CodeRecordDigest, "take the list that the record names", "the list is not the one of record %d", s.Place().Sequence)
	}
	for _, line := range changes.lines() {
		var e ListEntry
		if err := decodeStrict(line, &e); err != nil {
			return Proof{}, refuse(CodeRecordDigest, "the list was not made by a reconciler of this version", "%v", err)
		}
		if !e.is(object) {
			continue
		}
		p := Proof{APIVersion: ProofVersion, Kind: ProofKind, Bundle: string(bundle)}
		var found bool
		if p.Inclusion, found, err = changes.Prove(e); err != nil || !found {
			return Proof{}, errors.Join(err, errors.New("the list is not in its own form"))
		}
		return p, nil
	}
	return Proof{}, fmt.Errorf("%w: %s, record %d", ErrNotListed, object, s.Place().Sequence)
}

// Encode is the file.
func (p Proof) Encode() ([]byte, error) {
	out, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the proof: %w", err)
	}
	return append(out, '\n'), nil
}

// ParseProof reads a proof of anybody's; it is a [*Refusal] if it is none.
func ParseProof(data []byte) (Proof, error) {
	const hint = "ask for the proof again"
	var p Proof
	if len(data) > maxProof {
		return Proof{}, refuse(CodeRecordDigest, hint, "a proof of more than %d bytes", maxProof)
	}
	if err := decodeStrict(data, &p); err != nil {
		return Proof{}, refuse(CodeRecordDigest, hint, "%v", err)
	}
	if p.APIVersion != ProofVersion || p.Kind != ProofKind {
		return Proof{}, refuse(CodeRecordDigest, hint, "a %q of version %q", clean(p.Kind, maxText), clean(p.APIVersion, maxText))
	}
	return p, nil
}

// Proved is what a proof shows.
type Proved struct {
	// Object is the line: what was done, and the digest of what was declared.
	Object ListEntry
	// Record is the verified record that says so.
	Record Verified
}

// Verify checks a proof offline: the record as [VerifyBundle] does, and that the
// line is in its list. A *Refusal is a definite no.
func (p Proof) Verify(trusted root.TrustedMaterial, policy Policy) (Proved, error) {
	v, err := VerifyBundle([]byte(p.Bundle), trusted, policy)
	if err != nil {
		return Proved{}, err
	}
	if v.Statement.Enforcement != nil {
		return Proved{}, refuse(CodeBundlePredicate, "ask for the proof again", "the record has no list of changes")
	}
	if err := p.Inclusion.Verify(v.Statement.Predicate.Changes.Root); err != nil {
		return Proved{}, err
	}
	out := Proved{Record: v}
	if err := decodeStrict([]byte(p.Inclusion.Line), &out.Object); err != nil {
		return Proved{}, refuse(CodeRecordDigest, "the list was not made by a reconciler of this version", "%v", err)
	}
	return out, nil
}
