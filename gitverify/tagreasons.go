package gitverify

// The codes of annotated tags (rules T11 and T14).
const (
	codeTagUnsigned  = "tag/unsigned"
	codeTagName      = "tag/name"
	codeTagRole      = "tag/role"
	codeTagTarget    = "tag/target"
	codeTagMalformed = "tag/malformed"
)

const reasonTag = "TagInvalid"

// tagReasons are the refusals of tags, apart from those that they share with
// commits.
func tagReasons() []Reason {
	const hintTag = "make the tag again: git tag -s -f NAME COMMIT, by somebody with the role release (a heartbeat: millwright heartbeat, role heartbeat)"
	return []Reason{
		{reasonUnsigned, codeTagUnsigned, "a followed tag must be an annotated tag that is signed; " + hintTag},
		{reasonIdentity, codeTagRole, "have somebody with the role make the tag, or have the policy give the role to this identity in an earlier commit"},
		{reasonTag, codeTagName, "a tag cannot be moved to another name; " + hintTag},
		{reasonTag, codeTagTarget, "a tag must name a commit, not another tag or a tree; " + hintTag},
		{reasonTag, codeTagMalformed, "one signature must end the tag, and all else must be as git writes it; " + hintTag},
	}
}
