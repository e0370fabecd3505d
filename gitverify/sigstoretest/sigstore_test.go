package sigstoretest

import (
	"crypto/x509"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestACommitOfTheRealGitsignVerifiesWithTheTrustedRootAlone(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	for name, who := range map[string]Committer{
		"signed":             {Name: "Alice", Email: "alice@factory.test"},
		"signed and stamped": {Name: "Bob", Email: "bob@factory.test", Stamp: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newRepository(t, s)
			id, err := s.Commit(t.Context(), dir, who, "a change")
			if err != nil {
				t.Fatal(err)
			}
			raw, err := s.Git(t.Context(), dir, Committer{Unsigned: true}, "cat-file", "commit", id)
			if err != nil {
				t.Fatal(err)
			}
			trusted, err := root.NewTrustedRootFromPath(s.TrustedRootPath)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifyCommit(t, trusted, []byte(raw), who.Stamp); err != nil {
				t.Errorf("verification says %v", err)
			}
		})
	}
}

// Others, gitsign among them, are given the first log of the file.
func TestTheLogThatSignaturesAreInStandsFirst(t *testing.T) {
	t.Parallel()
	for range 20 {
		dir := t.TempDir()
		if err := MakeKeys(dir, Addresses{Rekor: "https://rekor.test", Tiles: "https://a.tiles.test"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "trusted_root.json"))
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Tlogs []struct{ BaseURL string } }
		if err := json.Unmarshal(data, &file); err != nil || len(file.Tlogs) != 2 || file.Tlogs[0].BaseURL != "https://rekor.test" {
			t.Fatalf("%v: %s", err, data)
		}
	}
}

func TestAnUnsignedCommitterSignsNothing(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	dir := newRepository(t, s)
	id, err := s.Commit(t.Context(), dir, Committer{Name: "Mallory", Email: "mallory@elsewhere.test", Unsigned: true}, "a change")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Git(t.Context(), dir, Committer{Unsigned: true}, "cat-file", "commit", id)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(raw, "gpgsig") {
		t.Errorf("the commit is signed:\n%s", raw)
	}
}

func TestTheStockGitsignVerifiesOurCommitsWithoutTUF(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	dir := newRepository(t, s)
	if _, err := s.Commit(t.Context(), dir, Committer{Name: "Alice", Email: "alice@factory.test"}, "a change"); err != nil {
		t.Fatal(err)
	}
	for subject, good := range map[string]bool{"alice@factory.test": true, "bob@factory.test": false} {
		cmd := exec.CommandContext(t.Context(), s.Gitsign(), "verify", "--certificate-identity", subject, "--certificate-oidc-issuer", s.IssuerURL(Person), "HEAD")
		cmd.Dir = dir
		cmd.Env = append(s.GitsignEnv("none", false), "HOME="+t.TempDir(), "PATH="+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); (err == nil) != good {
			t.Errorf("for %s gitsign says %v:\n%s", subject, err, out)
		}
	}
}

func TestFulcioNamesAWorkloadByItsTokenWhileTheTokenIsFresh(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	const id = "spiffe://factory.test/ns/factory/sa/millwright"
	tests := map[string]struct {
		subject string
		ttl     time.Duration
		good    bool
	}{
		"a fresh token":                   {id, time.Minute, true},
		"a token that is too old":         {id, -time.Hour, false},
		"a token of another trust domain": {"spiffe://elsewhere.test/x", time.Minute, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, err := s.Token(t.Context(), Workload, tt.subject, tt.ttl)
			if err != nil {
				t.Fatal(err)
			}
			keypair, err := sign.NewEphemeralKeypair(nil)
			if err != nil {
				t.Fatal(err)
			}
			der, err := sign.NewFulcio(&sign.FulcioOptions{BaseURL: s.FulcioURL}).GetCertificate(t.Context(), keypair, &sign.CertificateProviderOptions{IDToken: token})
			if !tt.good {
				if err == nil {
					t.Error("a certificate is issued")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil || len(cert.URIs) != 1 || cert.URIs[0].String() != id {
				t.Errorf("the certificate names %v: %v", cert.URIs, err)
			}
		})
	}
}

func newRepository(t *testing.T, s *Sigstore) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := s.Git(t.Context(), dir, Committer{Unsigned: true}, "init", "--quiet"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
