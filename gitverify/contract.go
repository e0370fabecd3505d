package gitverify

import (
	"context"
	"time"
)

// ID is a full SHA-1 object name in lower-case hex, 40 characters.
type ID string

// Objects reads raw objects of a Git repository. Implementations need not be
// trusted: every byte that gitverify uses is hashed again against the name it
// was asked for (CVE-2026-25934).
//
// A missing object is reported with an error that wraps [ErrObjectMissing];
// anything else is an inability to read.
type Objects interface {
	// Object returns the type ("commit", "tree", "blob", "tag") and the body
	// of an object without its loose header; at most limit bytes.
	Object(ctx context.Context, id ID, limit int64) (kind string, body []byte, err error)
}

// Request says what is to be verified. All fields but Floor are required.
type Request struct {
	// Ref is the full name of the followed ref, for example refs/heads/main.
	Ref string
	// Candidate is the commit that the ref points at.
	Candidate ID
	// Anchor is the pinned commit that is trusted by its name alone (rule T1).
	Anchor ID
	// Floor is the last applied revision, if there is one: the candidate must
	// descend from it (rule T10).
	Floor ID
}

// Identity is who signed: issuer and subject of a verified certificate, and
// the name and person that the policy gives them.
type Identity struct {
	Name, Person, Issuer, Subject string
}

// Checked is one accepted commit of the range.
type Checked struct {
	Commit ID
	Signer Identity
	// SignedAt is the proven signing time: transparency log or timestamp
	// authority, never the commit's own claim.
	SignedAt time.Time
	// LogIndex is the entry's index in the transparency log, -1 when unknown.
	LogIndex int64
}

// Verification is proof that a candidate was verified: only [Verifier.Verify]
// makes one, and a tree opens only with it. The zero value proves nothing.
type Verification struct {
	commit, tree, anchor ID
	ref                  string
	policyDigest         string
	policyVersion        int64
	repository           string
	checked              []Checked
}

// Commit is the accepted candidate; empty for the zero value.
func (v Verification) Commit() ID { return v.commit }

// Tree is the root tree named by the accepted commit's verified bytes.
func (v Verification) Tree() ID { return v.tree }

// Anchor is the pinned commit that the range started from.
func (v Verification) Anchor() ID { return v.anchor }

// Ref is the ref that was followed.
func (v Verification) Ref() string { return v.ref }

// PolicyDigest is "sha256:<hex>" of the policy file in force at the candidate.
func (v Verification) PolicyDigest() string { return v.policyDigest }

// PolicyVersion is the version that this policy file states.
func (v Verification) PolicyVersion() int64 { return v.policyVersion }

// Repository is the repository id that the policy states (rule T7).
func (v Verification) Repository() string { return v.repository }

// Checked lists the verified commits after the anchor (or after the verified
// frontier) up to the candidate, oldest first. A candidate that is the anchor has none.
func (v Verification) Checked() []Checked { return append([]Checked(nil), v.checked...) }

// Refusal is a definite no: final until the input changes. It never wraps an
// inability to tell.
type Refusal struct {
	// Reason is the CamelCase condition reason, for example "Unsigned".
	Reason string
	// Code is the finer stable code of the attack table, for example "sig/missing".
	Code string
	// Commit is the commit that the refusal is about.
	Commit ID
	// Path is the file that it is about, if any.
	Path string
	// Detail says what was found, in one line, sanitised.
	Detail string
	// Hint says what would make it a yes.
	Hint string
}
