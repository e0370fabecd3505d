package gitverify

// Codes of what the policy says about who may change what.
const (
	codeAmbiguousIdentity = "id/ambiguous"
	codeNotInForce        = "id/not-in-force"
	codeIdentityRevoked   = "id/revoked"
	codeCommitter         = "id/committer-mismatch"
	codeCommitRevoked     = "sig/revoked"
	codeNoStamp           = "time/no-stamp"
	codeSkew              = "time/skew"
	codeForgeKey          = "forge/key"
	codeForgeContent      = "forge/content"
	codeForgeRevoked      = "forge/revoked"
	codeNoRule            = "rule/none"
	codeThreshold         = "rule/threshold"
	codeIntent            = "rule/intent"
	codeAffects           = "rule/affects"
	codeObjects           = "rule/objects"
	codeAnchor            = "hist/anchor"
	codeLockout           = "policy/lockout"
)

const (
	reasonForge      = "ForgeContent"
	reasonRevoked    = "Revoked"
	reasonNotAllowed = "NotAllowed"
	reasonApproval   = "ApprovalMissing"
	reasonIntent     = "IntentMissing"
)

// ruleReasons are the refusals that a policy makes, apart from those that a
// signature makes by itself.
func ruleReasons() []Reason {
	return []Reason{
		{reasonIdentity, codeAmbiguousIdentity, "several patterns of the policy match this signer: have them made narrower, or list the subject exactly"},
		{reasonIdentity, codeNotInForce, "the identity's window in the policy does not hold the time of signing: have it renewed, or have somebody in force sign the change"},
		{reasonIdentity, codeIdentityRevoked, "the identity is revoked from a time before this signature: have somebody else make the change"},
		{reasonIdentity, codeCommitter, "set user.email to the address of the signing identity (or have the policy list it under emails) and make the commit again: git commit --amend --reset-author -S"},
		{reasonIdentity, codeForgeKey, "have the forge's key added to history.forgeKeys of the policy, or merge with git merge -S as a listed person"},
		{reasonRevoked, codeCommitRevoked, "this content was revoked: leave the branch that holds it, and bring in what is wanted of it in a new commit"},
		{reasonTime, codeNoStamp, "sign with a timestamp authority: set gitsign.timestampServerURL, and sign the content again in a new commit"},
		{reasonTime, codeSkew, "set the clock, and make the commit again"},
		{reasonRevoked, codeForgeRevoked, "the forge key was revoked: have a listed person merge the branch, from a tip that the forge did not merge"},
		{reasonForge, codeForgeContent, "merge with a merge commit, not by squash or rebase, and update the branch first when both sides touched a file; or have a listed person sign the merge"},
		{reasonNotAllowed, codeNoRule, "take the path out of the change, or have a rule for it added to the policy in an earlier commit; millwright trust explain PATH says what applies"},
		{reasonApproval, codeThreshold, "have one of those named run millwright approve on the branch, and push"},
		{reasonIntent, codeIntent, "have a person who counts run millwright approve on the branch before the forge merges it, or have a person sign the merge"},
		{reasonApproval, codeAffects, "what changed is part of an overlay that the rule protects: have one of those named run millwright approve on top, and push"},
		{reasonApproval, codeObjects, "what changed alters rendered objects that the rule protects: have one of those named run millwright approve on top, and push"},
		{reasonForward, codeAnchor, "the policy belongs to another history: pin the anchor that it names, or have history.anchor corrected"},
		{reasonPolicy, codeLockout, "keep a rule for the policy's own path that the listed people can meet; otherwise nobody could ever change the policy again"},
	}
}
