package gitverify

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// fuzzPayload is what the committed seeds are signatures of.
const fuzzPayload = "what was signed\n"

// refusedWell fails unless an error is a refusal that people can act on.
func refusedWell(t *testing.T, err error) {
	t.Helper()
	var no *Refusal
	if !errors.As(err, &no) || no.Code == "" || no.Hint == "" {
		t.Fatalf("refused without a reason: %v", err)
	}
}

// FuzzParseSignature: what is accepted is what a lenient CMS library reads too,
// and the only form in which that library would write it (rule T9).
func FuzzParseSignature(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		armored := pem.EncodeToMemory(&pem.Block{Type: "SIGNED MESSAGE", Bytes: der})
		sig, err := parseSignature(armored, sha256.Sum256([]byte(fuzzPayload)))
		if err != nil {
			refusedWell(t, err)
			return
		}
		info, err := parseLeniently(der)
		if err != nil {
			t.Fatalf("others cannot read it: %v", err)
		}
		data, err := info.SignedDataContent()
		if err != nil {
			t.Fatalf("others find no signed data: %v", err)
		}
		// What is inside a timestamp is not read here; its own signature covers it.
		if again, err := data.ContentInfoDER(); sig.token == nil && (err != nil || !bytes.Equal(again, der)) {
			t.Fatalf("there is another form of it: %v", err)
		}
		certs, err := data.X509Certificates()
		if err != nil || len(data.SignerInfos) != 1 {
			t.Fatalf("%d signers: %v", len(data.SignerInfos), err)
		}
		if leaf, err := data.SignerInfos[0].FindCertificate(certs); err != nil || !leaf.Equal(sig.leaf) {
			t.Fatalf("others take another certificate: %v", err)
		}
		signed, err := data.SignerInfos[0].SignedAttrs.MarshaledForVerification()
		if err != nil || !bytes.Equal(signed, sig.signed) || !bytes.Equal(data.SignerInfos[0].Signature, sig.signature) {
			t.Fatalf("others verify other bytes: %v", err)
		}
	})
}

// FuzzLogEntry: what is accepted belongs to the signature, and is in the
// bundle as it is.
func FuzzLogEntry(f *testing.F) {
	virtual, err := sigstoretest.NewVirtual(virtualNow)
	if err != nil {
		f.Fatal(err)
	}
	armored, err := virtual.Sign([]byte(fuzzPayload), sigstoretest.SignOptions{})
	if err != nil {
		f.Fatal(err)
	}
	sig, err := parseSignature(armored, sha256.Sum256([]byte(fuzzPayload)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig.entry)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, encoded []byte) {
		s := sig
		s.entry = append([]byte{}, encoded...)
		entry, err := s.logEntry()
		if err != nil {
			refusedWell(t, err)
			return
		}
		bundle, err := newBundle(evidence{cmsSignature: s, log: entry})
		if err != nil {
			refusedWell(t, err)
			return
		}
		made := bundle.GetVerificationMaterial().GetTlogEntries()
		if len(made) != 1 || !proto.Equal(made[0], entry.TransparencyLogEntry) || !bytes.Equal(made[0].GetCanonicalizedBody(), s.hashedRekord()) {
			t.Fatal("the bundle has another entry")
		}
	})
}
