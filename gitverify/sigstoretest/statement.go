package sigstoretest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// SignStatement signs an in-toto statement as a workload does that asks Fulcio
// for a certificate and has the envelope logged, and gives the Sigstore bundle
// (v0.3, JSON without white space). Of the options those about certificate, log and
// timestamp count.
func (v *Virtual) SignStatement(payload []byte, o SignOptions) ([]byte, error) {
	o = v.defaults(o)
	if o.Leaf == nil {
		leaf, err := v.Leaf(o)
		if err != nil {
			return nil, err
		}
		o.Leaf = &leaf
	}
	const payloadType = "application/vnd.in-toto+json"
	// The pre-authentication encoding of DSSE v1.
	sum := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload))
	sig, err := o.Leaf.Key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing a statement: %w", err)
	}
	material := &bundlepb.VerificationMaterial{Content: &bundlepb.VerificationMaterial_Certificate{
		Certificate: &commonpb.X509Certificate{RawBytes: o.Leaf.Cert.Raw},
	}}
	if !o.NoLogEntry {
		body, err := dsseBody(payload, sig, payloadType, o.Leaf.Cert)
		if err != nil {
			return nil, fmt.Errorf("logging a statement: %w", err)
		}
		entry, err := v.Log(body, o)
		if err != nil {
			return nil, fmt.Errorf("logging a statement: %w", err)
		}
		entry.KindVersion = &rekorpb.KindVersion{Kind: "dsse", Version: "0.0.1"}
		material.TlogEntries = []*rekorpb.TransparencyLogEntry{entry}
	}
	if o.Stamp {
		stamp, err := v.stampOf(sig, o)
		if err != nil {
			return nil, fmt.Errorf("timestamping a statement: %w", err)
		}
		material.TimestampVerificationData = &bundlepb.TimestampVerificationData{Rfc3161Timestamps: []*commonpb.RFC3161SignedTimestamp{{SignedTimestamp: stamp}}}
	}
	loose, err := protojson.Marshal(&bundlepb.Bundle{
		MediaType:            "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: material,
		Content: &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: &dssepb.Envelope{
			Payload: payload, PayloadType: payloadType, Signatures: []*dssepb.Signature{{Sig: sig}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a bundle: %w", err)
	}
	var tight bytes.Buffer
	if err := json.Compact(&tight, loose); err != nil {
		return nil, fmt.Errorf("encoding a bundle: %w", err)
	}
	return tight.Bytes(), nil
}

// dsseBody is the canonical body of a dsse 0.0.1 entry of Rekor.
func dsseBody(payload, sig []byte, payloadType string, cert *x509.Certificate) ([]byte, error) {
	envelope, err := json.Marshal(map[string]any{
		"payload": payload, "payloadType": payloadType, "signatures": []any{map[string]any{"sig": sig}},
	})
	if err != nil {
		return nil, err
	}
	hash := func(data []byte) map[string]any {
		sum := sha256.Sum256(data)
		return map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
	}
	verifier := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	return json.Marshal(map[string]any{
		"apiVersion": "0.0.1", "kind": "dsse",
		"spec": map[string]any{
			"envelopeHash": hash(envelope), "payloadHash": hash(payload),
			"signatures": []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(sig), "verifier": verifier}},
		},
	})
}
