package gitverify

// The stable codes, as the attack table spells them.
const (
	codeMissing       = "sig/missing"
	codeDigest        = "sig/digest"
	codeSigInvalid    = "sig/invalid"
	codeEncoding      = "sig/encoding"
	codeType          = "sig/type"
	codeNoCert        = "sig/no-cert"
	codeAttributes    = "sig/attributes"
	codeNotDetached   = "sig/not-detached"
	codeAlgorithm     = "sig/algorithm"
	codeAmbiguous     = "sig/ambiguous"
	codePanic         = "sig/panic"
	codeIssuer        = "id/issuer"
	codeSubject       = "id/subject"
	codeSANType       = "id/san-type"
	codeNotLogged     = "log/missing"
	codeEntryMismatch = "log/entry-mismatch"
	codeLogUnknown    = "log/unknown"
	codeNoProof       = "log/no-proof"
	codeProof         = "log/proof"
	codeCheckpoint    = "log/checkpoint"
	codeEntry         = "log/entry"
	codeInconsistent  = "log/inconsistent"
	codeUnproven      = "time/unproven"
	codeOutside       = "time/outside-validity"
	codeTSA           = "time/tsa"
	codeUntrusted     = "cert/untrusted"
	codeSCT           = "ct/sct"
	codeMalformed     = "obj/malformed"
	codeDuplicate     = "obj/duplicate-header"
	codeUnknown       = "obj/unknown-header"
	codeHash          = "obj/hash"
	codeCollision     = "obj/sha1-collision"
	codeTree          = "obj/tree"
	codeRollback      = "hist/rollback"
	codeNonDescendant = "hist/non-descendant"
	codeNotMainline   = "hist/not-mainline"
	codeRoot          = "hist/root"
	codePolicy        = "policy/invalid"
	codePolicyVersion = "policy/version"
	codeCommitSize    = "limits/commit-size"
	codeSignatureSize = "limits/signature"
	codeCommits       = "limits/commits"
	codeUnit          = "limits/unit"
	codeTreeSize      = "limits/tree"
	codeFileSize      = "limits/file-size"
)

// Reason is one row of the table of refusals: what a condition says, the finer
// code beside it, and what would make it a yes.
type Reason struct{ Reason, Code, Hint string }

// The condition reasons. They are few and stable; codes are finer.
const (
	reasonUnsigned     = "Unsigned"
	reasonSignature    = "SignatureInvalid"
	reasonIdentity     = "UntrustedIdentity"
	reasonLog          = "NotInTransparencyLog"
	reasonInconsistent = "LogInconsistent"
	reasonTime         = "SigningTimeUnproven"
	reasonCertificate  = "CertificateUntrusted"
	reasonObject       = "MalformedObject"
	reasonTree         = "TreeInvalid"
	reasonForward      = "NonFastForward"
	reasonMainline     = "NotOnMainline"
	reasonPolicy       = "PolicyInvalid"
	reasonLimit        = "LimitExceeded"
)

// Hints that several rows share.
const (
	hintResign = "sign the content again in a new commit with gitsign (gpg.format=x509, gitsign.rekorMode=offline)"
	hintObject = "make the commit again with git itself; one that git would not write is not accepted"
	hintTree   = "make the tree again with git itself, without special or colliding names"
)

// Reasons lists every refusal that this package can make.
func Reasons() []Reason {
	return append(append(ruleReasons(), tagReasons()...), []Reason{
		{reasonUnsigned, codeMissing, "sign the commit with gitsign (git commit -S), or put the change into a new signed commit"},
		{reasonSignature, codeDigest, "the signature is for other content: " + hintResign},
		{reasonSignature, codeSigInvalid, "the key of the certificate did not make this signature: " + hintResign},
		{reasonSignature, codeEncoding, "the signature must be one PEM block of canonical DER, as gitsign writes it: " + hintResign},
		{reasonSignature, codeType, "only X.509 signatures by gitsign count, not PGP or SSH: " + hintResign},
		{reasonSignature, codeNoCert, "the signature must carry the certificate of its one signer: " + hintResign},
		{reasonSignature, codeAttributes, "the signature must have exactly the signed attributes that gitsign writes: " + hintResign},
		{reasonSignature, codeNotDetached, "the signature must not carry content of its own: " + hintResign},
		{reasonSignature, codeAlgorithm, "only ECDSA P-256 with SHA-256 is accepted: " + hintResign},
		{reasonSignature, codeAmbiguous, "exactly one signature must be there, and a gpgsig-sha256 header is none: " + hintResign},
		{reasonSignature, codePanic, "this commit made the verifier fail; report it, and " + hintResign},
		{reasonIdentity, codeIssuer, "sign with the identity provider that the policy names, or have a maintainer add this issuer to factory-config/trust/policy.yaml first"},
		{reasonIdentity, codeSubject, "have a maintainer add this identity to factory-config/trust/policy.yaml in an earlier signed commit, or have a listed person sign the change"},
		{reasonIdentity, codeSANType, "the certificate must have exactly one subject alternative name, an e-mail address or a URI, of the kind that the policy's subject is"},
		{reasonLog, codeNotLogged, "the log entry must be inside the signature: set gitsign.rekorMode=offline and sign again; or have the policy say transparency: {log: online}, and name a log to ask (millwright verify --log, millwright-controller --verify-log)"},
		{reasonLog, codeEntryMismatch, "the log entry inside the signature belongs to something else: " + hintResign},
		{reasonLog, codeLogUnknown, "sign with the log that the trusted root names, or add this log's key to the trusted root"},
		{reasonLog, codeNoProof, "the log entry must carry its inclusion proof: set gitsign.rekorMode=offline and sign again"},
		{reasonLog, codeProof, "the inclusion proof does not lead to the log's checkpoint: " + hintResign},
		{reasonLog, codeCheckpoint, "the log's checkpoint is not signed by the log in the trusted root: " + hintResign},
		{reasonLog, codeEntry, "the log entry inside the signature cannot be read, or is of a kind that gitsign does not write: " + hintResign},
		{reasonInconsistent, codeInconsistent, "the log contradicts itself, or somebody has its key: stop, keep the objects, and ask the log's operator before anything new is accepted"},
		{reasonTime, codeUnproven, "neither the log nor a timestamp authority says when this was signed: " + hintResign},
		{reasonTime, codeOutside, "the signature was made when its certificate was not valid, as with a stolen key: " + hintResign},
		{reasonTime, codeTSA, "the timestamp in the signature is not by an authority of the trusted root: add the authority, or sign again without it"},
		{reasonCertificate, codeUntrusted, "the certificate was not issued by an authority of the trusted root: sign with the right Fulcio, or update the trusted root"},
		{reasonCertificate, codeSCT, "the certificate was not recorded by a certificate log of the trusted root: sign with the right Fulcio, or update the trusted root"},
		{reasonObject, codeMalformed, hintObject},
		{reasonObject, codeDuplicate, hintObject},
		{reasonObject, codeUnknown, hintObject},
		{reasonObject, codeHash, "the mirror or the repository is damaged or lies: fetch it anew from a good copy"},
		{reasonObject, codeCollision, "somebody attacks the repository with a SHA-1 collision: find out who pushed the object"},
		{reasonTree, codeTree, hintTree},
		{reasonForward, codeRollback, "the way back is a forward commit: git revert, sign, push"},
		{reasonForward, codeNonDescendant, "put the branch back so that it descends from the anchor and from the last applied revision, then go forward from there"},
		{reasonMainline, codeNotMainline, "merge the other way round: the followed branch must be the first parent of every merge"},
		{reasonMainline, codeRoot, "bring the content in as an ordinary signed commit; histories with another root are not merged"},
		{reasonPolicy, codePolicy, "mend factory-config/trust/policy.yaml in a signed commit; until then the last good revision stays"},
		{reasonPolicy, codePolicyVersion, "raise spec.version in factory-config/trust/policy.yaml above that of every parent, also when reverting"},
		{reasonLimit, codeCommitSize, "keep commits below the size limit; large text belongs into files"},
		{reasonLimit, codeSignatureSize, "a gitsign signature is a few kilobytes: " + hintResign},
		{reasonLimit, codeCommits, "move the anchor forward to a commit that you have verified, or raise the limit"},
		{reasonLimit, codeUnit, "bring the change in by several smaller merges; nested directories that repeat one another stand for more paths than can be judged"},
		{reasonLimit, codeTreeSize, "keep the number of files and their sizes below the limits, or raise them"},
		{reasonLimit, codeFileSize, "keep the file below the size limit, or raise it"},
	}...)
}

// reasonFor finds the row of a code. A test makes sure that every code has one.
func reasonFor(code string) Reason {
	for _, r := range Reasons() {
		if r.Code == code {
			return r
		}
	}
	return Reason{Reason: reasonSignature, Code: code, Hint: hintResign}
}
