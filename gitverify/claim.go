package gitverify

import "crypto/sha256"

// Claim is what a signed object says of itself, and nothing of it is proven. It
// is for whoever has just signed: to see, before anybody else does, as whom, and
// whether a verifier could accept such a signature at all.
type Claim struct {
	Tree    ID
	Parents []ID
	// Committer is the address in the committer line.
	Committer string
	// Message is all after the headers.
	Message []byte
	// Issuer and Subject are the certificate's; URI says that the subject is
	// one, and not an e-mail address.
	Issuer, Subject string
	URI             bool
}

// ClaimOfCommit takes the body of a commit object apart as strictly as a
// [Verifier] does. An unsigned commit, and a signature that is not gitsign's
// with its log entry inside, is a [*Refusal].
func ClaimOfCommit(body []byte) (Claim, error) {
	raw, err := splitCommit(body)
	if err != nil {
		return Claim{}, err
	}
	if raw.armored == nil {
		return Claim{}, refuse(codeMissing, "the commit is not signed")
	}
	claim, err := ClaimOfSignature(raw.armored, raw.payload)
	if err != nil {
		return Claim{}, err
	}
	claim.Tree, claim.Parents, claim.Committer, claim.Message = raw.tree, raw.parents, raw.email, raw.message
	return claim, nil
}

// ClaimOfSignature does the same for a signature beside what it signs. The
// claim has no commit's fields.
func ClaimOfSignature(armored, payload []byte) (Claim, error) {
	sig, err := parseSignature(armored, sha256.Sum256(payload))
	if err != nil {
		return Claim{}, err
	}
	if _, err := sig.logEntry(); err != nil {
		return Claim{}, err
	}
	who, err := claimedIdentity(sig.leaf)
	return Claim{Issuer: who.issuer, Subject: who.subject, URI: who.isURI}, err
}
