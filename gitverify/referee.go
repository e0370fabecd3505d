package gitverify

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// referee decides with sigstore-go: where the trusted root has parts that our
// own proving does not know how to use, and in tests everywhere, so that the
// two have to agree.
type referee struct {
	material *root.TrustedRoot
	sigstore *verify.Verifier
	names    []string
}

// newReferee asks of sigstore-go all that a keyless signature can offer:
// certificate timestamp, log entry with proof, and a time that somebody other
// than the signer stated.
func newReferee(trusted TrustedRoot) (*referee, error) {
	v, err := verify.NewVerifier(trusted.material,
		verify.WithSignedCertificateTimestamps(1),
		verify.WithTransparencyLog(1),
		verify.WithObserverTimestamps(1))
	if err != nil {
		return nil, fmt.Errorf("setting up signature verification: %w", err)
	}
	return &referee{material: trusted.material, sigstore: v, names: trusted.anchors.names}, nil
}

// prove decides with sigstore-go; only when that says no, the finer code is
// looked for. Who the certificate names counts only once the certificate
// counts, so a name that cannot be read is refused last.
func (r *referee) prove(ev evidence) (proof, error) {
	if ev.name != nil && ev.token != nil {
		// A bundle has one signature; here the log's entry is about another one than
		// the timestamp.
		return proof{}, errors.New("verifying a timestamp beside a looked-up entry: not with this trusted root")
	}
	b, err := newBundle(ev)
	if err != nil {
		return proof{}, err
	}
	artifact, _ := ev.logged()
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
	result, err := r.sigstore.Verify(b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(artifact)), want))
	if err != nil {
		return proof{}, r.diagnose(ev, b, err)
	}
	switch {
	case ev.leaf.IsCA: // path validation lets an authority sign as itself (row B25)
		return proof{}, refuse(codeUntrusted, "the certificate is that of an authority, not of a signer")
	case claimErr != nil:
		return proof{}, claimErr
	}
	at, stamped := earliest(result.VerifiedTimestamps)
	if stamped != (ev.stamp != nil) {
		// sigstore-go is content with one good time; a bad timestamp beside it
		// would be bytes in a commit that nothing vouches for (row B13).
		return proof{}, refuse(codeTSA, "the timestamp beside the signature does not verify")
	}
	// What it relied on, sigstore-go does not say; so it is all there is.
	return proof{certified: claimed, at: at, stamped: stamped, logIndex: ev.log.provenIndex(), relied: r.names, seen: ev.log.seen()}, nil
}

// earliest is the time by which the signature certainly existed, and whether a
// timestamp authority is among those that state a time.
func earliest(times []verify.TimestampVerificationResult) (at time.Time, stamped bool) {
	for _, t := range times {
		if at.IsZero() || t.Timestamp.Before(at) {
			at = t.Timestamp.UTC()
		}
		stamped = stamped || t.Type == "TimestampAuthority"
	}
	return at, stamped
}

// newBundle makes a signature a Sigstore bundle, in which the artifact is the
// DER of the signed attributes. If the entry is over the object's name, that is
// the artifact: the signature over the object was verified before.
func newBundle(ev evidence) (*bundle.Bundle, error) {
	artifact, signature := ev.logged()
	digest := sha256.Sum256(artifact)
	material := &bundlepb.VerificationMaterial{
		Content: &bundlepb.VerificationMaterial_Certificate{
			Certificate: &commonpb.X509Certificate{RawBytes: ev.leaf.Raw},
		},
		TlogEntries: []*rekorpb.TransparencyLogEntry{ev.log.TransparencyLogEntry},
	}
	if ev.token != nil {
		response := timestampResponse(ev.token)
		material.TimestampVerificationData = &bundlepb.TimestampVerificationData{
			Rfc3161Timestamps: []*commonpb.RFC3161SignedTimestamp{{SignedTimestamp: response}},
		}
	}
	b, err := bundle.NewBundle(&bundlepb.Bundle{
		MediaType:            bundleMediaType,
		VerificationMaterial: material,
		Content: &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
			MessageDigest: &commonpb.HashOutput{Algorithm: commonpb.HashAlgorithm_SHA2_256, Digest: digest[:]},
			Signature:     signature,
		}},
	})
	if err != nil {
		return nil, refuse(codeEntry, "the signature does not make a Sigstore bundle: %v", err)
	}
	return b, nil
}

// timestampResponse wraps a token into the response that it came in: status
// granted, then the token (RFC 3161 §2.4.2).
func timestampResponse(token []byte) []byte {
	status := encodeDER(asn1.SEQUENCE, encodeDER(asn1.INTEGER, []byte{0}))
	return encodeDER(asn1.SEQUENCE, status, token)
}
