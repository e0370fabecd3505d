package attest_test

import (
	"bytes"
	"testing"

	"millwright.dev/millwright/reconciler/attest"
)

// What decodes is canonical, and nothing makes a decoder panic.
func FuzzDecodeStatement(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"https://millwright.dev/attestation/applied-revision/v1","predicate":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := attest.DecodeStatement(data)
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("decoded what it would not write: %v", err)
		}
	})
}

// No bytes but signed ones verify.
func FuzzVerifyBundle(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}}`))
	key, err := attest.ParseKey(newKeyPEM(f), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := attest.VerifyBundle(data, nil, offline(key)); err == nil {
			t.Error("verified")
		}
	})
}
