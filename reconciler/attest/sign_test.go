package attest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"millwright.dev/millwright/reconciler/attest"
)

func TestKeyFileSignsWithoutAnyServiceAndOnlyItsKeyVerifies(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	s := statement(t)
	b, err := attest.KeyFile{Key: key}.Sign(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if b.Digest != attest.Digest(b.JSON) {
		t.Error("the digest is not the bundle's")
	}
	v, err := attest.VerifyBundle(b.JSON, nil, offline(key))
	if err != nil {
		t.Fatal(err)
	}
	if v.Statement.Commit() != s.Commit() || !v.SignedAt.IsZero() || v.LogIndex != -1 {
		t.Errorf("verified %+v", v)
	}
	var no *attest.Refusal
	if _, err := attest.VerifyBundle(b.JSON, nil, offline(newKey(t))); !errors.As(err, &no) || no.Code != attest.CodeBundleInvalid {
		t.Errorf("another key: %v", err)
	}
	wrong := offline(key)
	wrong.Commit = commitB
	if _, err := attest.VerifyBundle(b.JSON, nil, wrong); !errors.As(err, &no) || no.Code != attest.CodeBundleSubject {
		t.Errorf("another commit: %v", err)
	}
	wrong = offline(key)
	wrong.Artifact = digest("9")
	if _, err := attest.VerifyBundle(b.JSON, nil, wrong); !errors.As(err, &no) || no.Code != attest.CodeBundleSubject {
		t.Errorf("another artifact: %v", err)
	}
}

func TestKeysAreReadInTheFormsOfTheFieldAndErrorsNeverQuoteThem(t *testing.T) {
	t.Parallel()
	plain := newKeyPEM(t)
	block, _ := pem.Decode(plain)
	sealed, err := encrypted.Encrypt(block.Bytes, []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	cosign := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: sealed})
	one, err := attest.ParseKey(plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := attest.ParseKey(cosign, []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	a, errA := one.Fingerprint()
	b, errB := two.Fingerprint()
	if err := errors.Join(errA, errB); err != nil || a != b {
		t.Errorf("fingerprints %s and %s: %v", a, b, err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"another curve":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"a wrong password": cosign, "no PEM": []byte("secret-canary"),
		"another block": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("secret-canary")}),
		"no PKCS #8":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret-canary")}),
		"too much":      []byte(strings.Repeat("secret-canary", 10_000)),
	} {
		_, err := attest.ParseKey(data, []byte("wrong-password"))
		if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "wrong-password") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (attest.KeyFile{}).Sign(t.Context(), statement(t)); err == nil {
		t.Error("no key signed")
	}
}

func TestTokensGoToNoOtherMachineInTheClear(t *testing.T) {
	t.Parallel()
	asked := false
	k := attest.Keyless{
		Services: attest.Services{Fulcio: "http://fulcio.example.org", Rekor: "https://rekor.example.org"},
		Token:    func(context.Context) (string, error) { asked = true; return "token", nil },
		Identity: attest.Identity{Issuer: "https://issuer.example.org", Subject: "spiffe://example.org/millwright"},
	}
	if _, err := k.Sign(t.Context(), statement(t)); err == nil || !strings.Contains(err.Error(), "https is required") || asked {
		t.Errorf("token asked for: %v, error: %v", asked, err)
	}
}

// A host that was named may get the token in the clear, and no other: neither one
// whose name ends or begins like it, nor another port.
func TestTokensGoInTheClearToHostsThatWereNamed(t *testing.T) {
	t.Parallel()
	named := []string{"fulcio.sigstore.svc", "fulcio.example.org:8080", "10.0.0.1:80"}
	for fulcio, may := range map[string]bool{
		"http://fulcio.sigstore.svc":          true,
		"http://fulcio.sigstore.svc/api":      true,
		"http://fulcio.example.org:8080":      true,
		"http://10.0.0.1:80":                  true,
		"http://127.0.0.1:1":                  true,
		"http://[::1]:1":                      true,
		"http://localhost:1":                  true,
		"https://fulcio.example.org":          true,
		"http://fulcio.sigstore.svc:8080":     false,
		"http://fulcio.sigstore.svc:80":       false,
		"http://fulcio.example.org":           false,
		"http://fulcio.example.org:80":        false,
		"http://10.0.0.1":                     false,
		"http://my.fulcio.sigstore.svc":       false,
		"http://my-fulcio.sigstore.svc":       false,
		"http://fulcio.sigstore.svc.evil.org": false,
		"http://sigstore.svc":                 false,
		"http://localhost.example.org":        false,
		"http://a@fulcio.sigstore.svc":        false,
		"http://fulcio.sigstore.svc@evil.org": false,
		"ftp://fulcio.sigstore.svc":           false,
		"fulcio.sigstore.svc":                 false,
	} {
		enough, asked := errors.New("enough"), false
		k := attest.Keyless{
			Services: attest.Services{Fulcio: fulcio, Rekor: "https://rekor.example.org"}, Plain: named,
			Token: func(context.Context) (string, error) { asked = true; return "", enough },
		}
		if _, err := k.Sign(t.Context(), statement(t)); asked != may || errors.Is(err, enough) != may {
			t.Errorf("%s: the token was asked for: %t, want %t (%v)", fulcio, asked, may, err)
		}
	}
}

func TestSigningEndsWithItsContextWhenAServiceHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	t.Cleanup(func() { close(release); srv.Close() })
	for name, sign := range map[string]func(context.Context) error{
		"Fulcio": func(ctx context.Context) error {
			k := attest.Keyless{
				Services: attest.Services{Fulcio: srv.URL, Rekor: srv.URL},
				// {"alg":"none"}.{"sub":"a"}: enough to be sent.
				Token:    func(context.Context) (string, error) { return "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", nil },
				Identity: attest.Identity{Issuer: "a", Subject: "b"},
			}
			_, err := k.Sign(ctx, statement(t))
			return err
		},
		"Rekor": func(ctx context.Context) error {
			_, err := attest.KeyFile{Key: newKey(t), Services: attest.Services{Rekor: srv.URL}}.Sign(ctx, statement(t))
			return err
		},
		"the timestamp authority": func(ctx context.Context) error {
			_, err := attest.KeyFile{Key: newKey(t), Services: attest.Services{TimestampAuthority: srv.URL}}.Sign(ctx, statement(t))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			if err := sign(ctx); err == nil || time.Since(start) > 5*time.Second {
				t.Errorf("ended after %v with %v", time.Since(start), err)
			}
		})
	}
}
