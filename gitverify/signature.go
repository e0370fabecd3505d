package gitverify

import (
	"bytes"
	"fmt"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// proven is what a verified signature proves.
type proven struct {
	signer   Identity
	signedAt time.Time
	logIndex int64
}

// signatureVerifier verifies single signatures against the trusted root.
type signatureVerifier struct {
	root     TrustedRoot
	sigstore *verify.Verifier
}

// newSignatureVerifier asks of sigstore-go all that a keyless signature can
// offer: certificate timestamp, log entry with proof, and a time that somebody
// other than the signer stated.
func newSignatureVerifier(root TrustedRoot) (*signatureVerifier, error) {
	v, err := verify.NewVerifier(root.material,
		verify.WithSignedCertificateTimestamps(1),
		verify.WithTransparencyLog(1),
		verify.WithObserverTimestamps(1))
	if err != nil {
		return nil, fmt.Errorf("setting up signature verification: %w", err)
	}
	return &signatureVerifier{root: root, sigstore: v}, nil
}

// verify says who signed the commit. A panic in any parser below is a refusal
// of this commit, and of nothing else (row B33, GHSA-7c37-gx6w-8vc5).
func (v *signatureVerifier) verify(c rawCommit, policy Policy) (p proven, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			p, err = proven{}, refuse(codePanic, "the verifier failed on this signature: %v", cause)
		}
	}()
	if c.armored == nil {
		return proven{}, refuse(codeMissing, "the commit is not signed")
	}
	sig, err := parseSignature(c.armored, c.payload)
	if err != nil {
		return proven{}, err
	}
	if err := sig.checkKey(); err != nil {
		return proven{}, err
	}
	for _, token := range sig.timestamps {
		if err := checkToken(token, v.root.material); err != nil {
			return proven{}, err
		}
	}
	ev, err := newEvidence(sig)
	if err != nil {
		return proven{}, err
	}
	return v.verifyEvidence(ev, policy)
}

// verifyEvidence decides with sigstore-go; only when that says no, the finer
// code is looked for. Who the certificate names counts only once the
// certificate counts, so an unknown name is refused last.
func (v *signatureVerifier) verifyEvidence(ev evidence, policy Policy) (proven, error) {
	claimed, claimErr := claimedIdentity(ev.leaf)
	signer, known := Identity{}, false
	if claimErr == nil {
		signer, known = policy.match(claimed)
	}
	want := verify.WithoutIdentitiesUnsafe() // always followed by a refusal below
	if known {
		id, err := verify.NewShortCertificateIdentity(signer.Issuer, "", signer.Subject, "")
		if err != nil {
			return proven{}, fmt.Errorf("setting up the identity: %w", err)
		}
		want = verify.WithCertificateIdentity(id)
	}
	result, err := v.sigstore.Verify(ev.bundle, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(ev.signed)), want))
	if err != nil {
		return proven{}, v.diagnose(ev, err)
	}
	switch {
	case ev.leaf.IsCA: // path validation lets an authority sign as itself (row B25)
		return proven{}, refuse(codeUntrusted, "the certificate is that of an authority, not of a signer")
	case claimErr != nil:
		return proven{}, claimErr
	case !known:
		return proven{}, policy.unknown(claimed)
	}
	at, stamped := earliest(result.VerifiedTimestamps)
	if stamped != len(ev.timestamps) {
		// sigstore-go is content with one good time; a bad timestamp beside it
		// would be bytes in a commit that nothing vouches for (row B13).
		return proven{}, refuse(codeTSA, "the timestamp beside the signature does not verify")
	}
	return proven{signer: signer, signedAt: at, logIndex: provenIndex(ev.log)}, nil
}

// provenIndex is the entry's index in the log where the log's promise covers
// it; without a promise whoever carried the commit may have written the number.
func provenIndex(entry *rekorpb.TransparencyLogEntry) int64 {
	if len(entry.GetInclusionPromise().GetSignedEntryTimestamp()) == 0 {
		return -1
	}
	return entry.GetLogIndex()
}

// earliest is the time by which the signature certainly existed, and the
// number of timestamps by authorities among the times.
func earliest(times []verify.TimestampVerificationResult) (at time.Time, stamped int) {
	for _, t := range times {
		if at.IsZero() || t.Timestamp.Before(at) {
			at = t.Timestamp.UTC()
		}
		if t.Type == "TimestampAuthority" {
			stamped++
		}
	}
	return at, stamped
}
