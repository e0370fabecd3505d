package sigstoretest

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/github/smimesign/ietf-cms/protocol"
	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/proto"
)

const commitBody = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n" +
	"author A <a@factory.test> 1700000000 +0000\n" +
	"committer A <a@factory.test> 1700000000 +0000\n\nmessage\n"

func TestAnHonestSignatureVerifiesAndEachWrongOneDoesNot(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	v, err := NewVirtual(now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.SignCommit([]byte(commitBody), SignOptions{}); err != nil { // so that proofs are not of a tree of one
		t.Fatal(err)
	}
	tests := map[string]struct {
		options SignOptions
		bad     bool
	}{
		"an honest signature":                        {},
		"one of a workload, with a timestamp":        {options: SignOptions{Subject: "spiffe://factory.test/ns/a/sa/b", Stamp: true}},
		"logged after the certificate's end":         {options: SignOptions{LoggedAt: now.Add(time.Hour)}, bad: true},
		"logged before the certificate's beginning":  {options: SignOptions{LoggedAt: now.Add(-time.Hour)}, bad: true},
		"a certificate of a foreign authority":       {options: SignOptions{ForeignCA: true}, bad: true},
		"no promise of a certificate log":            {options: SignOptions{NoSCT: true}, bad: true},
		"a promise of a foreign certificate log":     {options: SignOptions{ForeignSCT: true}, bad: true},
		"the entry of a foreign log":                 {options: SignOptions{ForeignLog: true}, bad: true},
		"the entry of another artifact":              {options: SignOptions{LogEntryOf: []byte("other")}, bad: true},
		"an entry without promise":                   {options: SignOptions{NoPromise: true}, bad: true},
		"an entry whose time was moved":              {options: SignOptions{EditEntry: func(e *rekorpb.TransparencyLogEntry) { e.IntegratedTime-- }}, bad: true},
		"an entry with another place in the tree":    {options: SignOptions{EditEntry: func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.LogIndex++ }}, bad: true},
		"a timestamp of a foreign authority":         {options: SignOptions{Stamp: true, ForeignStamp: true}, bad: true},
		"a certificate that is not for signing code": {options: SignOptions{EditCertificate: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }}, bad: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signed, err := v.SignCommit([]byte(commitBody), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			trusted, err := v.TrustedMaterial()
			if err != nil {
				t.Fatal(err)
			}
			err = verifyCommit(t, trusted, signed, tt.options.Stamp)
			if (err != nil) != tt.bad {
				t.Errorf("verification says %v", err)
			}
		})
	}
}

func TestTheTrustedRootFileHoldsTheTrustedMaterial(t *testing.T) {
	t.Parallel()
	v, err := NewVirtual(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := v.SignCommit([]byte(commitBody), SignOptions{Stamp: true})
	if err != nil {
		t.Fatal(err)
	}
	own, err := v.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := v.ForeignTrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file []byte
		good bool
	}{{own, true}, {foreign, false}} {
		trusted, err := root.NewTrustedRootFromJSON(c.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifyCommit(t, trusted, signed, true); (err == nil) != c.good {
			t.Errorf("verification says %v", err)
		}
	}
}

// verifyCommit is the shortest way from a commit to sigstore-go's verifier. It
// believes the bytes that we made ourselves; gitverify does not.
func verifyCommit(t *testing.T, trusted root.TrustedMaterial, signed []byte, stamped bool) error {
	t.Helper()
	armored, unsigned := cut(t, signed)
	block, rest := pem.Decode(armored)
	if block == nil || block.Type != "SIGNED MESSAGE" || len(rest) != 0 {
		t.Fatalf("no signature in %s", signed)
	}
	content, err := protocol.ParseContentInfo(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	data, err := content.SignedDataContent()
	if err != nil {
		t.Fatal(err)
	}
	certs, err := data.X509Certificates()
	if err != nil {
		t.Fatal(err)
	}
	info := data.SignerInfos[0]
	digest, err := info.GetMessageDigestAttribute()
	if want := sha256.Sum256(unsigned); err != nil || !bytes.Equal(digest, want[:]) {
		t.Fatalf("the signature is not over the commit: %v", err)
	}
	artifact, err := info.SignedAttrs.MarshaledForVerification()
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.NewBundle(asBundle(t, info, certs[0], artifact, stamped))
	if err != nil {
		return err
	}
	options := []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithSignedCertificateTimestamps(1), verify.WithIntegratedTimestamps(1)}
	if stamped {
		options = append(options, verify.WithSignedTimestamps(1))
	}
	verifier, err := verify.NewVerifier(trusted, options...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = verifier.Verify(b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(artifact)), verify.WithoutIdentitiesUnsafe()))
	return err
}

func asBundle(t *testing.T, info protocol.SignerInfo, cert *x509.Certificate, artifact []byte, stamped bool) *bundlepb.Bundle {
	t.Helper()
	value, err := info.UnsignedAttrs.GetOnlyAttributeValueBytes(logEntryOID())
	if err != nil {
		t.Fatal(err)
	}
	var entry rekorpb.TransparencyLogEntry
	if err := proto.Unmarshal(value.Bytes, &entry); err != nil {
		t.Fatal(err)
	}
	if entry.CanonicalizedBody, err = HashedRekord(artifact, info.Signature, cert); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(artifact)
	material := &bundlepb.VerificationMaterial{
		Content:     &bundlepb.VerificationMaterial_Certificate{Certificate: &commonpb.X509Certificate{RawBytes: cert.Raw}},
		TlogEntries: []*rekorpb.TransparencyLogEntry{&entry},
	}
	if stamped {
		token, err := info.UnsignedAttrs.GetOnlyAttributeValueBytes(timestampOID())
		if err != nil {
			t.Fatal(err)
		}
		material.TimestampVerificationData = &bundlepb.TimestampVerificationData{Rfc3161Timestamps: []*commonpb.RFC3161SignedTimestamp{{SignedTimestamp: timestampResponse(token.FullBytes)}}}
	}
	return &bundlepb.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", VerificationMaterial: material,
		Content: &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
			MessageDigest: &commonpb.HashOutput{Algorithm: commonpb.HashAlgorithm_SHA2_256, Digest: digest[:]}, Signature: info.Signature,
		}},
	}
}

// timestampResponse wraps a token (RFC 3161 §2.4.2) with the status "granted".
func timestampResponse(token []byte) []byte {
	body := append([]byte{0x30, 0x03, 0x02, 0x01, 0x00}, token...)
	return append([]byte{0x30, 0x82, byte(len(body) >> 8), byte(len(body))}, body...)
}

// cut takes the gpgsig header out of a commit.
func cut(t *testing.T, signed []byte) (armored, unsigned []byte) {
	t.Helper()
	var sig, rest strings.Builder
	inside, body := false, false
	for line := range strings.Lines(string(signed)) {
		switch {
		case !body && strings.HasPrefix(line, "gpgsig "):
			inside = true
			sig.WriteString(strings.TrimPrefix(line, "gpgsig "))
		case inside && strings.HasPrefix(line, " "):
			sig.WriteString(line[1:])
		default:
			inside, body = false, body || line == "\n"
			rest.WriteString(line)
		}
	}
	return []byte(sig.String()), []byte(rest.String())
}
