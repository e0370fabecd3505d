package gitverify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// proof is what a signature proves, whoever may do what. It depends on the
// signature, on what was signed and on the trusted root, and on no policy, so
// that it may be kept, and made beside others.
type proof struct {
	certified
	// at is the earliest time by which the signature certainly existed; stamped
	// says that a timestamp authority vouches for it.
	at      time.Time
	stamped bool
	// logIndex is where the log promised to keep the entry, -1 if it did not.
	logIndex int64
	// payload is the digest of what was signed, which names the content in
	// whatever form it is signed and wrapped (rule T9).
	payload [sha256.Size]byte
	// relied are the fingerprints of what the proof rests on in the trusted root.
	relied []string
	// seen is the state of the log that the inclusion was proven for (row B27).
	seen checkpoint
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

// prove says who signed the payload, and when. An armored of nil is an unsigned
// commit or tag. A signature without a log entry is looked up where a look-up
// is given, and refused where none is. A panic in any parser below is a refusal
// of this signature, and of nothing else (row B33, GHSA-7c37-gx6w-8vc5).
func (v *signatureVerifier) prove(ctx context.Context, payload, armored []byte, lookup LogLookup) (p proof, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			p, err = proof{}, refuse(codePanic, "the verifier failed on this signature: %v", cause)
		}
	}()
	if armored == nil {
		return proof{}, refuse(codeMissing, "it is not signed")
	}
	sig, err := parseSignature(armored, payload)
	if err != nil {
		return proof{}, err
	}
	if err := sig.checkKey(); err != nil {
		return proof{}, err
	}
	for _, token := range sig.timestamps {
		if err := checkToken(token, v.root.material); err != nil {
			return proof{}, err
		}
	}
	if sig.entry == nil && lookup != nil {
		if sig.entry, err = lookUp(ctx, lookup, sig); err != nil {
			return proof{}, err
		}
	}
	ev, err := newEvidence(sig)
	if err != nil {
		return proof{}, err
	}
	return v.verifyEvidence(ev, sha256.Sum256(payload))
}

// verifyEvidence decides with sigstore-go; only when that says no, the finer
// code is looked for. Who the certificate names counts only once the
// certificate counts, so a name that cannot be read is refused last.
func (v *signatureVerifier) verifyEvidence(ev evidence, payload [sha256.Size]byte) (proof, error) {
	claimed, claimErr := claimedIdentity(ev.leaf)
	want := verify.WithoutIdentitiesUnsafe() // always followed by a refusal below
	if claimErr == nil {
		// That sigstore-go reads the same name in the certificate as we do.
		id, err := verify.NewShortCertificateIdentity(claimed.issuer, "", claimed.subject, "")
		if err != nil {
			return proof{}, refuse(codeSubject, "the certificate's name cannot be used: %v", err)
		}
		want = verify.WithCertificateIdentity(id)
	}
	result, err := v.sigstore.Verify(ev.bundle, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(ev.signed)), want))
	if err != nil {
		return proof{}, v.diagnose(ev, err)
	}
	switch {
	case ev.leaf.IsCA: // path validation lets an authority sign as itself (row B25)
		return proof{}, refuse(codeUntrusted, "the certificate is that of an authority, not of a signer")
	case claimErr != nil:
		return proof{}, claimErr
	}
	at, stamped := earliest(result.VerifiedTimestamps)
	if stamped != len(ev.timestamps) {
		// sigstore-go is content with one good time; a bad timestamp beside it
		// would be bytes in a commit that nothing vouches for (row B13).
		return proof{}, refuse(codeTSA, "the timestamp beside the signature does not verify")
	}
	return proof{
		certified: claimed, at: at, stamped: stamped > 0, logIndex: provenIndex(ev.log),
		payload: payload, relied: v.root.names, seen: seenCheckpoint(ev.log),
	}, nil
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
