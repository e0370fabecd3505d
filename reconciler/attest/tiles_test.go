package attest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/tools/assets"
)

// inTiles are the same services with the log of Rekor's version 2.
func (a auditor) inTiles(t *testing.T) auditor {
	t.Helper()
	a.services.services.Rekor, a.services.services.RekorVersion = sigstoretest.SharedTiles(t), 2
	return a
}

// Whatever is stored, from either log, either cosign verifies: as it is told to from
// the registry, from a file, by the commit, signed keyless or with a key.
func TestEitherCosignVerifiesWhatEitherLogHas(t *testing.T) {
	t.Parallel()
	one := newAuditor(t)
	bin, err := assets.Ensure(t.Context(), os.Stderr, "cosign", "cosign3")
	if err != nil {
		t.Fatal(err)
	}
	logs := map[string]auditor{"Rekor 1": one, "Rekor 2": one.inTiles(t)}
	for log, a := range logs {
		key := newKey(t)
		byKey := attest.KeyFile{Key: key, TrustedRoot: a.services.trusted, Services: a.services.services}
		host, fallback := serveRegistry(t, registry.WithReferrersSupport(true)), serveRegistry(t)
		with := map[string]evidence{
			"keyless":                      store(t, host, keyless(a.services), policyOf(keyless(a.services))),
			"keyless, in the fallback tag": store(t, fallback, keyless(a.services), policyOf(keyless(a.services))),
			"with a key":                   store(t, host, byKey, attest.Policy{Key: key.Public()}),
		}
		public := filepath.Join(t.TempDir(), "key.pub")
		data, err := key.PublicPEM()
		if err := errors.Join(err, os.WriteFile(public, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"cosign", "cosign3"} {
			a.cosign, a.home = bin.Path(program), t.TempDir()
			for how, e := range with {
				us, them := a.by(reconcilerID), a.by("spiffe://factory.test/other")
				if how == "with a key" {
					us, them = []string{"--key", public}, nil
				}
				t.Run(strings.Join([]string{log, program, how}, " "), func(t *testing.T) { a.bothWays(t, e, us, them) })
			}
		}
	}
}

// bothWays verifies an evidence from the registry and from a file.
func (a auditor) bothWays(t *testing.T, e evidence, us, them []string) {
	us = append([]string{"--use-signed-timestamps"}, us...) // a log in tiles says no time
	a.accepts(t, a.attestation(e.reference, us...)...)
	a.accepts(t, append(a.blob(e.bundleFile, us...), e.manifestsFile)...)
	a.accepts(t, a.blob(e.bundleFile, append(us, "--digest", commitA, "--digestAlg", "gitCommit")...)...)
	a.refuses(t, wrongDigest, a.blob(e.bundleFile, append(us, "--digest", commitB, "--digestAlg", "gitCommit")...)...)
	if them != nil {
		a.refuses(t, wrongSubject, a.attestation(e.reference, append(them, "--use-signed-timestamps")...)...)
	}
}

// A log in tiles proves that it has an entry, and not when: without a timestamp there
// is nothing that says that the certificate was valid.
func TestALogInTilesNeedsATimestamp(t *testing.T) {
	t.Parallel()
	a := newAuditor(t).inTiles(t)
	whole, err := keyless(a.services).Sign(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	v, err := attest.VerifyBundle(whole.JSON, a.services.trusted, policyOf(keyless(a.services)))
	if err != nil || v.LogIndex < 0 || v.SignedAt.IsZero() {
		t.Errorf("verified %+v: %v", v, err)
	}
	without := keyless(a.services)
	without.Services.TimestampAuthority = ""
	if b, err := without.Sign(t.Context(), statement(t)); err == nil {
		t.Errorf("signed without a time: %s", b.JSON)
	}
	var no *attest.Refusal
	for name, bundle := range map[string]string{"no log entry": withoutLog(string(whole.JSON)), "no timestamp": withoutTime(string(whole.JSON))} {
		if bundle == string(whole.JSON) {
			t.Fatalf("%s: the bundle is as it was", name)
		}
		if _, err := attest.VerifyBundle([]byte(bundle), a.services.trusted, policyOf(keyless(a.services))); !errors.As(err, &no) || no.Code != attest.CodeBundleInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// withoutTime removes the timestamps from a bundle.
func withoutTime(bundle string) string {
	before, rest, _ := strings.Cut(bundle, `"rfc3161Timestamps":[`)
	_, after, _ := strings.Cut(rest, `]`)
	return before + `"rfc3161Timestamps":[]` + after
}
