package gitverify

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"google.golang.org/protobuf/proto"
)

const bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// evidence is a signature as a Sigstore bundle: the artifact is the DER of the
// signed attributes.
type evidence struct {
	cmsSignature
	log    *rekorpb.TransparencyLogEntry
	bundle *bundle.Bundle
}

// newEvidence turns a signature into a bundle.
func newEvidence(sig cmsSignature) (evidence, error) {
	entry, err := sig.logEntry()
	if err != nil {
		return evidence{}, err
	}
	digest := sha256.Sum256(sig.signed)
	material := &bundlepb.VerificationMaterial{
		Content: &bundlepb.VerificationMaterial_Certificate{
			Certificate: &commonpb.X509Certificate{RawBytes: sig.leaf.Raw},
		},
		TlogEntries: []*rekorpb.TransparencyLogEntry{entry},
	}
	for _, token := range sig.timestamps {
		response, err := timestampResponse(token)
		if err != nil {
			return evidence{}, err
		}
		material.TimestampVerificationData = &bundlepb.TimestampVerificationData{
			Rfc3161Timestamps: []*commonpb.RFC3161SignedTimestamp{{SignedTimestamp: response}},
		}
	}
	b, err := bundle.NewBundle(&bundlepb.Bundle{
		MediaType:            bundleMediaType,
		VerificationMaterial: material,
		Content: &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
			MessageDigest: &commonpb.HashOutput{Algorithm: commonpb.HashAlgorithm_SHA2_256, Digest: digest[:]},
			Signature:     sig.signature,
		}},
	})
	if err != nil {
		return evidence{}, refuse(codeEntry, "the signature does not make a Sigstore bundle: %v", err)
	}
	return evidence{cmsSignature: sig, log: entry, bundle: b}, nil
}

// logEntry decodes the entry inside the signature and puts in its body, which
// gitsign leaves out: it is made again from the signature, so that an entry of
// another signature cannot fit (rows B15, B16).
func (s cmsSignature) logEntry() (*rekorpb.TransparencyLogEntry, error) {
	if s.entry == nil {
		return nil, refuse(codeNotLogged, "the signature carries no log entry")
	}
	entry := new(rekorpb.TransparencyLogEntry)
	// A field that this version does not know could hide a known one: the log's
	// promise, say. Discarded, it shows up when the entry is encoded again.
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(s.entry, entry); err != nil {
		return nil, refuse(codeEntry, "the log entry cannot be decoded")
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(entry)
	if err != nil || !bytes.Equal(again, s.entry) {
		return nil, refuse(codeEntry, "the log entry is not encoded canonically")
	}
	if err := checkEntry(entry); err != nil {
		return nil, err
	}
	body, err := hashedRekordBody(s)
	if err != nil {
		return nil, err
	}
	if b := entry.GetCanonicalizedBody(); len(b) != 0 && !bytes.Equal(b, body) {
		return nil, refuse(codeEntryMismatch, "the log entry is for another signature")
	}
	entry.CanonicalizedBody = body
	return entry, nil
}

// checkEntry looks at the form of an entry; whether it is true is for the
// trusted root to say.
func checkEntry(entry *rekorpb.TransparencyLogEntry) error {
	if k := entry.GetKindVersion(); k.GetKind() != "hashedrekord" || k.GetVersion() != "0.0.1" {
		return refuse(codeEntry, "log entry of kind %q version %q", k.GetKind(), k.GetVersion())
	}
	if entry.GetLogIndex() < 0 || len(entry.GetLogId().GetKeyId()) != sha256.Size {
		return refuse(codeEntry, "the log entry names no log or no place in it")
	}
	if entry.GetInclusionProof() == nil {
		return refuse(codeNoProof, "the log entry carries no inclusion proof")
	}
	return checkCheckpoint(entry.GetInclusionProof())
}

// hashedRekordBody is the canonical body of Rekor's hashedrekord 0.0.1: JSON
// with sorted keys and no space (RFC 8785). The standard encoder writes just
// that for these values: maps are sorted, and neither hex nor base64 holds a
// character that it would escape.
func hashedRekordBody(s cmsSignature) ([]byte, error) {
	digest := sha256.Sum256(s.signed)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.leaf.Raw})
	type object = map[string]any
	body, err := json.Marshal(object{
		"apiVersion": "0.0.1",
		"kind":       "hashedrekord",
		"spec": object{
			"data":      object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(digest[:])}},
			"signature": object{"content": s.signature, "publicKey": object{"content": cert}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making the body of the log entry: %w", err)
	}
	return body, nil
}

// timestampResponse wraps a token into the response that it came in: status
// granted, then the token (RFC 3161 §2.4.2).
func timestampResponse(token []byte) ([]byte, error) {
	type status struct{ Status int }
	der, err := asn1.Marshal(struct {
		Status status
		Token  asn1.RawValue
	}{Token: asn1.RawValue{FullBytes: token}})
	if err != nil {
		return nil, refuse(codeTSA, "the timestamp cannot be wrapped")
	}
	return der, nil
}
