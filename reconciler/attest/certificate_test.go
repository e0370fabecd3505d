package attest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"millwright.dev/millwright/reconciler/attest"
)

// signer is a keyless signer of the test's Sigstore that holds certificates, and
// how often it was asked who it is.
func (a auditor) signer(subject string) (attest.Keyless, *atomic.Int64) {
	asked, token := &atomic.Int64{}, a.services.token(subject)
	return attest.Keyless{
		Services: a.services.services, TrustedRoot: a.services.trusted, Certificates: attest.NewCertificates(time.Now),
		Identity: attest.Identity{Issuer: a.services.issuer, Subject: subject},
		Token: func(ctx context.Context) (string, error) {
			asked.Add(1)
			return token(ctx)
		},
	}, asked
}

func certificateOf(t *testing.T, b attest.Bundle) string {
	t.Helper()
	var parsed struct {
		VerificationMaterial struct {
			Certificate struct{ RawBytes string } `json:"certificate"`
		} `json:"verificationMaterial"`
	}
	if err := json.NewDecoder(bytes.NewReader(b.JSON)).Decode(&parsed); err != nil || parsed.VerificationMaterial.Certificate.RawBytes == "" {
		t.Fatalf("no certificate: %v", err)
	}
	return parsed.VerificationMaterial.Certificate.RawBytes
}

func TestOneCertificateSignsAllThatIsSaidOfARevision(t *testing.T) {
	t.Parallel()
	signer, asked := newAuditor(t).signer(reconcilerID)
	if err := signer.Certify(t.Context()); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, c := range companions(t, subjects()) {
		b, err := signer.SignCompanion(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		used[certificateOf(t, b)] = true
	}
	b, err := signer.Sign(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	used[certificateOf(t, b)] = true
	if len(used) != 1 || asked.Load() != 1 {
		t.Errorf("%d certificates for one revision, and %d tokens", len(used), asked.Load())
	}
	// What comes next is somebody's who is asked anew who they are.
	signer.Certificates.Forget()
	if b, err = signer.Sign(t.Context(), statement(t)); err != nil {
		t.Fatal(err)
	}
	if used[certificateOf(t, b)] || asked.Load() != 2 {
		t.Errorf("the certificate was used again: asked %d times", asked.Load())
	}
}

// Revisions that follow at each other's heels share a certificate, later ones do not.
func TestACertificateIsUsedForTwoMinutes(t *testing.T) {
	t.Parallel()
	signer, asked := newAuditor(t).signer(reconcilerID)
	var late atomic.Int64
	signer.Certificates = attest.NewCertificates(func() time.Time { return time.Now().Add(time.Duration(late.Load())) })
	sign := func() string {
		t.Helper()
		b, err := signer.Sign(t.Context(), statement(t))
		if err != nil {
			t.Fatal(err)
		}
		return certificateOf(t, b)
	}
	first := sign()
	late.Store(int64(110 * time.Second))
	signer.Certificates.Expire()
	if sign() != first || asked.Load() != 1 {
		t.Errorf("it was given up after less than two minutes: asked %d times", asked.Load())
	}
	late.Store(int64(121 * time.Second))
	signer.Certificates.Expire()
	if sign() == first || asked.Load() != 2 {
		t.Errorf("it was used for longer: asked %d times", asked.Load())
	}
}

func TestACertificateIsUsedByNobodyElse(t *testing.T) {
	t.Parallel()
	a := newAuditor(t)
	signer, asked := a.signer(reconcilerID)
	first, err := signer.Sign(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := a.signer(reconcilerID + "/other")
	other.Certificates = signer.Certificates
	second, err := other.Sign(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	if certificateOf(t, first) == certificateOf(t, second) || asked.Load() != 1 {
		t.Error("another identity signed with it")
	}
}

// A token of somebody else gets a certificate that is believed by nobody who asks
// for the signer. It must not stay, or nothing would be signed until it is too old.
func TestACertificateThatDoesNotVerifyIsGivenUp(t *testing.T) {
	t.Parallel()
	a := newAuditor(t)
	signer, asked := a.signer(reconcilerID)
	right, wrong := signer.Token, a.services.token(reconcilerID+"/other")
	signer.Token = wrong
	if _, err := signer.Sign(t.Context(), statement(t)); err == nil {
		t.Fatal("a token of another identity signed")
	}
	signer.Token = right
	if _, err := signer.Sign(t.Context(), statement(t)); err != nil || asked.Load() != 1 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	// Whoever gets no token holds nothing.
	enough := errors.New("enough")
	signer.Certificates.Forget()
	signer.Token = func(context.Context) (string, error) { return "", enough }
	if err := signer.Certify(t.Context()); !errors.Is(err, enough) {
		t.Errorf("certified: %v", err)
	}
	if _, err := signer.Sign(t.Context(), statement(t)); !errors.Is(err, enough) {
		t.Errorf("signed: %v", err)
	}
}
