package gitverify

import "time"

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
	tip                  *Checked
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

// Checked lists the verified commits after the floor, or after the anchor when
// the request had no floor, up to the candidate: parents before children. It
// does not depend on what was verified before. A candidate that is the floor
// or the anchor has none.
func (v Verification) Checked() []Checked { return append([]Checked(nil), v.checked...) }

// Tip is the check of the candidate itself, also when it is the floor; false
// when the candidate is the anchor, which nobody needs to have signed.
func (v Verification) Tip() (Checked, bool) {
	if v.tip == nil {
		return Checked{}, false
	}
	return *v.tip, true
}
