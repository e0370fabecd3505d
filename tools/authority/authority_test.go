package authority

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestLoadTakesTheSameAuthorityAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := load(t, dir, now)
	again := load(t, dir, now.AddDate(0, 1, 0))
	if !bytes.Equal(first.PEM, again.PEM) || !first.key.Equal(again.key) {
		t.Error("it is another one")
	}
	// What the one issued before, and the other after, both are trusted by.
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(first.PEM)
	for name, a := range map[string]*Authority{"first": first, "again": again} {
		cert, key, err := a.Issue(&x509.Certificate{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"x"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "x", CurrentTime: now.AddDate(0, 2, 0)}); err != nil {
			t.Errorf("of the %s: %v", name, err)
		}
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	load(t, dir, now)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", e.Name(), info.Mode().Perm())
		}
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "ca.crt ca.key" {
		t.Errorf("there are %s", got)
	}
}

func TestWhatACrashLeavesIsUsedOrNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		now   time.Time
		want  string // of the error; "" for none
	}{
		"nothing":                       {func(*testing.T, string) {}, now, ""},
		"a certificate without its key": {func(t *testing.T, dir string) { remove(t, dir, "ca.key") }, now, ""},
		"a key that was half written":   {func(t *testing.T, dir string) { write(t, dir, "ca.key.new", "-----BEGIN") }, now, ""},
		"a key without its certificate": {func(t *testing.T, dir string) { remove(t, dir, "ca.crt") }, now, "no such file"},
		"a key that is none":            {func(t *testing.T, dir string) { write(t, dir, "ca.key", "-----BEGIN") }, now, "is no PEM"},
		"another one's key": {func(t *testing.T, dir string) {
			other := t.TempDir()
			load(t, other, now)
			b, err := os.ReadFile(filepath.Join(other, "ca.key"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, "ca.key", string(b))
		}, now, "is not of the key"},
		"a year": {func(*testing.T, string) {}, now.AddDate(1, 0, 1), "has ended on 2027-03-01"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			load(t, dir, now)
			c.spoil(t, dir)
			_, err := Load(dir, "test", c.now)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func load(t *testing.T, dir string, now time.Time) *Authority {
	t.Helper()
	a, err := Load(dir, "test", now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}
