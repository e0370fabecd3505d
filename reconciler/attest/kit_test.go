package attest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"millwright.dev/millwright/reconciler/attest"
)

// newKeyPEM makes a PKCS #8 private key as an operator's tools write it.
func newKeyPEM(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func newKey(t *testing.T) attest.Key {
	t.Helper()
	key, err := attest.ParseKey(newKeyPEM(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// offline is the policy for what a key signed without any service.
func offline(key attest.Key) attest.Policy {
	return attest.Policy{Key: key.Public(), UnsafeWithoutLog: true}
}

// serveRegistry serves go-containerregistry's registry on a loopback port.
func serveRegistry(t *testing.T, opts ...registry.Option) string {
	t.Helper()
	opts = append(opts, registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(registry.New(opts...))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// recorder signs records.
type recorder interface {
	Sign(ctx context.Context, s attest.Statement) (attest.Bundle, error)
}

// link says how one record of a test chain differs from the ordinary.
type link func(*attest.Predicate)

// chain signs n records, each linked to the one before.
func chain(t *testing.T, signer recorder, n int, change ...link) []attest.Record {
	t.Helper()
	var records []attest.Record
	for i := 1; i <= n; i++ {
		p := predicate(t)
		p.Sequence = int64(i)
		p.Source.Commit = fmt.Sprintf("%040x", i)
		p.Source.Range.Commits[0].Commit = p.Source.Commit
		r := attest.Record{Sequence: p.Sequence, Commit: p.Source.Commit}
		if i > 1 {
			last := records[i-2]
			p.Previous = &attest.Previous{Sequence: last.Sequence, GitCommit: last.Commit, Attestation: last.Digest}
			r.Previous = last.Digest
		}
		for _, c := range change {
			c(&p)
		}
		s, err := attest.NewStatement(subjects(), p)
		if err != nil {
			t.Fatal(err)
		}
		b, err := signer.Sign(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		r.Digest, r.Bundle = b.Digest, string(b.JSON)
		records = append(records, r)
	}
	return records
}
