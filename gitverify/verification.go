package gitverify

import (
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// Request says what is to be verified. Ref, Candidate and Anchor are required.
type Request struct {
	// Ref is the full name of the followed ref, for example refs/heads/main.
	Ref string
	// Mainline is the branch that approvals are for (rule T7) when Ref is a tag;
	// refs/heads/main if empty. For a branch it is Ref itself.
	Mainline string
	// Candidate is the object that the ref points at: a commit, or the tag
	// object of an annotated tag.
	Candidate ID
	// Anchor is the pinned commit that is trusted by its name alone (rule T1).
	Anchor ID
	// Floor is the last applied revision, if there is one: the candidate must
	// descend from it (rule T10).
	Floor ID
}

// history is what a frontier is of. Approvals name the branch that they are for,
// so that what was accepted for one may lack them for another (rule T7).
type history struct {
	anchor   ID
	mainline string
}

func (r Request) history() history {
	switch {
	case !strings.HasPrefix(r.Ref, tagPrefix):
		return history{r.Anchor, r.Ref}
	case r.Mainline != "":
		return history{r.Anchor, r.Mainline}
	}
	return history{r.Anchor, mainBranch}
}

// mainBranch is the branch that counts where a tag is followed and none is named.
const mainBranch = "refs/heads/main"

// Identity is who signed: issuer and subject of a verified certificate, and
// the name and person that the policy gives them. A machine has no person.
type Identity struct {
	Name, Person, Issuer, Subject string
}

// Kind is what a commit is to its unit.
type Kind string

const (
	// KindContent changes files; its signer vouches for what it changed.
	KindContent Kind = "content"
	// KindApproval is an empty commit that approves what it stands on (rule T5).
	KindApproval Kind = "approval"
	// KindMerge is a merge that a known identity signed.
	KindMerge Kind = "merge"
	// KindMechanical is a merge by a forge key, which adds nothing (rule T6).
	KindMechanical Kind = "mechanical"
)

// Checked is one judged commit of the range.
type Checked struct {
	Commit ID
	// Signer is empty for a merge by a forge key, which Forge names.
	Signer Identity
	Forge  string
	// SignedAt is the proven signing time: transparency log or timestamp
	// authority, never the commit's own claim. Zero for a forge's merge: PGP and
	// SSH signatures carry no trusted time.
	SignedAt time.Time
	// LogIndex is the entry's index in the transparency log, -1 when unknown.
	LogIndex int64
	// Payload is "sha256:<hex>" of what was signed, by which a commit is revoked.
	Payload string
	Kind    Kind
	// Warnings say what a reader should know and what refuses nothing.
	Warnings []string
}

// Step is one commit of the first-parent line with all that it merges: the
// unit of judgement (rule T3).
type Step struct {
	Commit ID
	// Commits are the judged commits of the unit, parents before children.
	Commits []Checked
	// PolicyVersion is that of the policy that judged the unit.
	PolicyVersion int64
	// Rulings say what each rule asked, and who met it.
	Rulings []Ruling
}

// Ruling is what one rule asks of a unit, and how far it is met.
type Ruling struct {
	Rule, Role string
	Threshold  int
	// Paths are the changed paths that the rule is about, at most
	// [MaxRulingPaths] of PathCount.
	Paths     []string
	PathCount int
	// Vouchers are the persons who count, for at least one of the paths.
	Vouchers []string
	// Missing is how many more persons are needed; 0 means that the rule is met.
	Missing int
	// Candidates are the persons who could still vouch, when some are missing.
	Candidates []string
}

// MaxRulingPaths bounds the paths that a ruling names.
const MaxRulingPaths = 20

// Revoked is an accepted commit that the policy now in force revokes (rule T9).
type Revoked struct {
	Commit ID
	Why    string
}

// Verification is proof that a candidate was verified: only [Verifier.Verify]
// makes one, and a tree opens only with it. The zero value proves nothing.
type Verification struct {
	commit, tree, anchor ID
	ref                  string
	history              history
	policyDigest         string
	policyVersion        int64
	repository           string
	steps                []Step
	tip                  *Checked
	tag                  *Tag
	fresh                time.Time
	maxAge               time.Duration
	revoked              []Revoked
	impact               impactRules
}

// Commit is the accepted candidate, or the commit that the accepted tag names;
// empty for the zero value.
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

// Steps lists the accepted units after the floor, or after the anchor when the
// request had no floor, up to the candidate. It does not depend on what was
// verified before. A candidate that is the floor or the anchor has none.
func (v Verification) Steps() []Step { return slices.Clone(v.steps) }

// Checked lists the commits of all steps: parents before children.
func (v Verification) Checked() []Checked {
	var all []Checked
	for _, s := range v.steps {
		all = append(all, s.Commits...)
	}
	return all
}

// Tip is the check of the candidate itself, also when it is the floor; false
// when the candidate is the anchor, which nobody needs to have signed.
func (v Verification) Tip() (Checked, bool) {
	if v.tip == nil {
		return Checked{}, false
	}
	return *v.tip, true
}

// Tag is the verified tag when the ref is one (rule T14).
func (v Verification) Tag() (Tag, bool) {
	if v.tag == nil {
		return Tag{}, false
	}
	return *v.tag, true
}

// FreshAt is the newest proven signing time among all accepted commits; zero
// when there is none, as at the anchor (rule T11).
func (v Verification) FreshAt() time.Time { return v.fresh }

// MaxAge is how old that may be by the policy in force; 0 means any age.
func (v Verification) MaxAge() time.Duration { return v.maxAge }

// Revoked lists accepted commits that the policy in force at the candidate
// revokes.
func (v Verification) Revoked() []Revoked { return slices.Clone(v.revoked) }

// NeedsImpact tells whether a policy that was in force for one of the steps has
// rules about what a change affects: then [Verifier.Permit] has to be asked
// before anything is applied (rule T12).
func (v Verification) NeedsImpact() bool { return v.impact.any }

// Overlays lists the overlays that such rules name, sorted.
func (v Verification) Overlays() []string { return slices.Clone(v.impact.overlays) }

// impactRules is what the policies of a range say about affects and objects.
type impactRules struct {
	any      bool
	overlays []string
}

func (i impactRules) with(p *trustpolicy.Policy) impactRules {
	overlays := p.Overlays()
	i.any = i.any || len(overlays) > 0 || len(p.ObjectRules()) > 0
	i.overlays = append(slices.Clone(i.overlays), overlays...)
	slices.Sort(i.overlays)
	i.overlays = slices.Compact(i.overlays)
	return i
}

// Explanation is the whole answer about a range, whatever it is.
type Explanation struct {
	// Steps are the accepted units after the floor.
	Steps []Step
	// Accepted is the last accepted commit: the candidate, if the answer is yes.
	Accepted ID
	// Pending is the unit that is not accepted yet, with what is missing; nil
	// when there is none or when a commit of it was refused for good.
	Pending *Step
	// Refusal is the no; nil means yes.
	Refusal *Refusal
	// Verification is the proof when the answer is yes.
	Verification Verification
}
