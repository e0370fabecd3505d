package attest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/sigstore/sigstore-go/pkg/root"

	"millwright.dev/millwright/reconciler/attest"
)

const reconcilerID = "spiffe://factory.test/millwright/reconciler"

// auditor is somebody with nothing but a trusted root, a registry's name, and
// the stock cosign program: no code and no configuration of ours.
type auditor struct {
	cosign, trustedRoot, home string
	services                  services
}

// run runs cosign and returns what it printed.
func (a auditor) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.cosign, args...)
	// No TUF, no configuration, no network but what the arguments name.
	cmd.Env = []string{"HOME=" + a.home, "PATH=/nonexistent", "TUF_ROOT=" + filepath.Join(a.home, "tuf")}
	out, err := cmd.CombinedOutput()
	t.Logf("cosign %s\n%s", strings.Join(args, " "), out)
	return string(out), err
}

// accepts and refuses run cosign and check its answer.
func (a auditor) accepts(t *testing.T, args ...string) {
	t.Helper()
	if _, err := a.run(t, args...); err != nil {
		t.Errorf("cosign refused: %v", err)
	}
}

func (a auditor) refuses(t *testing.T, because string, args ...string) {
	t.Helper()
	out, err := a.run(t, args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(out, because) {
		t.Errorf("cosign did not refuse because of %q: %v", because, err)
	}
}

// What cosign says to an evidence of somebody else, and of something else.
const (
	wrongSubject = "expected SAN value"
	wrongIssuer  = "expected issuer value"
	wrongDigest  = "provided artifact digest does not match any digest in statement"
	wrongKey     = "transparency log certificate does not match"
)

// by is the part of the command line that names the expected signer.
func (a auditor) by(subject string) []string {
	return []string{"--certificate-oidc-issuer", a.services.issuer, "--certificate-identity", subject}
}

func (a auditor) attestation(ref string, more ...string) []string {
	return append(append([]string{"verify-attestation", "--new-bundle-format", "--trusted-root", a.trustedRoot, "--type", attest.PredicateType}, more...), ref)
}

func (a auditor) blob(bundle string, more ...string) []string {
	return append([]string{"verify-blob-attestation", "--new-bundle-format", "--trusted-root", a.trustedRoot, "--type", attest.PredicateType, "--bundle", bundle}, more...)
}

// evidence is one signed and stored record.
type evidence struct {
	statement attest.Statement
	bundle    attest.Bundle
	reference string
	// files for cosign
	bundleFile, manifestsFile string
}

func store(t *testing.T, host string, signer attest.Signer, policy attest.Policy) evidence {
	t.Helper()
	repo, a := open(t, host), artifact(t)
	e := evidence{statement: about(t, a)}
	var err error
	start := time.Now()
	if e.bundle, err = signer.Sign(t.Context(), e.statement); err != nil {
		t.Fatal(err)
	}
	t.Logf("signed, logged and verified in %v: %d bytes", time.Since(start), len(e.bundle.JSON))
	start = time.Now()
	if e.reference, err = repo.Push(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	v, err := attest.VerifyBundle(e.bundle.JSON, newAuditor(t).services.trusted, policy)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = repo.Attach(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	t.Logf("pushed and attached in %v", time.Since(start))
	dir := t.TempDir()
	e.bundleFile, e.manifestsFile = filepath.Join(dir, "bundle.json"), filepath.Join(dir, attest.ManifestsFile)
	err = errors.Join(os.WriteFile(e.bundleFile, e.bundle.JSON, 0o600), os.WriteFile(e.manifestsFile, a.File(), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func keyless(s services) attest.Keyless {
	return attest.Keyless{
		Services: s.services, Token: s.token(reconcilerID), TrustedRoot: s.trusted,
		Identity: attest.Identity{Issuer: s.issuer, Subject: reconcilerID},
	}
}

// services is a running private Sigstore.
type services struct {
	services attest.Services
	issuer   string
	trusted  root.TrustedMaterial
	token    func(subject string) func(context.Context) (string, error)
}

func TestStockCosignVerifiesWhatTheReconcilerSignedKeyless(t *testing.T) {
	t.Parallel()
	a := newAuditor(t)
	for name, host := range map[string]string{
		"with the referrers API":           serveRegistry(t, registry.WithReferrersSupport(true)),
		"with the fallback tag of OCI 1.1": serveRegistry(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := store(t, host, keyless(a.services), policyOf(keyless(a.services)))
			us := a.by(reconcilerID)
			a.accepts(t, a.attestation(e.reference, us...)...)
			a.accepts(t, a.attestation(e.reference, append(us, "--use-signed-timestamps")...)...)
			a.refuses(t, wrongSubject, a.attestation(e.reference, a.by("spiffe://factory.test/millwright")...)...)
			a.refuses(t, wrongIssuer, a.attestation(e.reference, "--certificate-oidc-issuer", "http://127.0.0.1:1", "--certificate-identity", reconcilerID)...)
		})
	}
}

func TestStockCosignVerifiesABundleByFileAndByCommit(t *testing.T) {
	t.Parallel()
	a := newAuditor(t)
	e := store(t, serveRegistry(t, registry.WithReferrersSupport(true)), keyless(a.services), policyOf(keyless(a.services)))
	us := a.by(reconcilerID)
	by := func(commit string) []string {
		return append([]string{"--digest", commit, "--digestAlg", "gitCommit"}, us...)
	}
	a.accepts(t, a.blob(e.bundleFile, by(commitA)...)...)
	a.refuses(t, wrongDigest, a.blob(e.bundleFile, by(commitB)...)...)
	a.refuses(t, wrongSubject, a.blob(e.bundleFile, append([]string{"--digest", commitA, "--digestAlg", "gitCommit"}, a.by("spiffe://factory.test/other")...)...)...)
	a.accepts(t, append(a.blob(e.bundleFile, us...), e.manifestsFile)...)
	if err := os.WriteFile(e.manifestsFile, []byte("---\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.refuses(t, wrongDigest, append(a.blob(e.bundleFile, us...), e.manifestsFile)...)
	inventoryFile := filepath.Join(t.TempDir(), "inventory")
	if err := os.WriteFile(inventoryFile, inventory(t).Content(), 0o600); err != nil {
		t.Fatal(err)
	}
	a.accepts(t, append(a.blob(e.bundleFile, us...), inventoryFile)...)
	other := slices.Clone(a.blob(e.bundleFile, by(commitA)...))
	other[slices.Index(other, attest.PredicateType)] = "https://slsa.dev/provenance/v1"
	a.refuses(t, "invalid predicate type", other...)
}

func TestStockCosignVerifiesWhatAKeySigned(t *testing.T) {
	t.Parallel()
	a, key, other := newAuditor(t), newKey(t), newKey(t)
	write := func(k attest.Key) string {
		data, err := k.PublicPEM()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "key.pub")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	signer := attest.KeyFile{Key: key, TrustedRoot: a.services.trusted, Services: a.services.services}
	e := store(t, serveRegistry(t, registry.WithReferrersSupport(true)), signer, attest.Policy{Key: key.Public()})
	ours, theirs := write(key), write(other)
	a.accepts(t, a.attestation(e.reference, "--key", ours)...)
	a.refuses(t, wrongKey, a.attestation(e.reference, "--key", theirs)...)
	a.accepts(t, a.blob(e.bundleFile, "--key", ours, "--digest", commitA, "--digestAlg", "gitCommit")...)
	a.refuses(t, wrongDigest, a.blob(e.bundleFile, "--key", ours, "--digest", commitB, "--digestAlg", "gitCommit")...)
	v, err := attest.VerifyBundle(e.bundle.JSON, a.services.trusted, attest.Policy{Key: key.Public()})
	if err != nil || v.SignedAt.IsZero() || v.LogIndex < 0 {
		t.Errorf("verified as %+v: %v", v, err)
	}
	var no *attest.Refusal
	for name, some := range map[string]attest.Services{
		"nothing": {}, "a timestamp": {TimestampAuthority: a.services.services.TimestampAuthority},
	} {
		unlogged, err := attest.KeyFile{Key: key, Services: some, TrustedRoot: a.services.trusted}.Sign(t.Context(), e.statement)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attest.VerifyBundle(unlogged.JSON, a.services.trusted, attest.Policy{Key: key.Public()}); !errors.As(err, &no) || no.Code != attest.CodeBundleInvalid {
			t.Errorf("a signature with %s and no log entry: %v", name, err)
		}
	}
	if _, err := attest.VerifyBundle(e.bundle.JSON, a.services.trusted, policyOf(keyless(a.services))); !errors.As(err, &no) {
		t.Errorf("a key's signature for an identity: %v", err)
	}
}

func TestVerificationOfAKeylessBundleIsExact(t *testing.T) {
	t.Parallel()
	s := newAuditor(t).services
	want := statement(t)
	b, err := keyless(s).Sign(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	v, err := attest.VerifyBundle(b.JSON, s.trusted, attest.Policy{Identity: attest.Identity{Issuer: s.issuer, Subject: reconcilerID}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, v.Statement); diff != "" {
		t.Error(diff)
	}
	if v.LogIndex < 0 || time.Since(v.SignedAt).Abs() > time.Minute || v.Identity.Subject != reconcilerID {
		t.Errorf("verified %+v", v)
	}
	for name, c := range map[string]struct {
		policy attest.Policy
		data   string
		code   string
	}{
		"another subject":         {attest.Policy{Identity: attest.Identity{Issuer: s.issuer, Subject: reconcilerID + "x"}}, "", attest.CodeBundleIdentity},
		"a prefix of the subject": {attest.Policy{Identity: attest.Identity{Issuer: s.issuer, Subject: reconcilerID[:20]}}, "", attest.CodeBundleIdentity},
		"a pattern":               {attest.Policy{Identity: attest.Identity{Issuer: s.issuer, Subject: "spiffe://.*"}}, "", attest.CodeBundleIdentity},
		"another issuer":          {attest.Policy{Identity: attest.Identity{Issuer: s.issuer + "/", Subject: reconcilerID}}, "", attest.CodeBundleIdentity},
		"a key":                   {attest.Policy{Key: newKey(t).Public()}, "", attest.CodeBundleInvalid},
		"a changed payload":       {attest.Policy{}, strings.Replace(string(b.JSON), `"payload":"ey`, `"payload":"eX`, 1), attest.CodeBundleInvalid},
		"no log entry":            {attest.Policy{}, withoutLog(string(b.JSON)), attest.CodeBundleInvalid},
		"half of it":              {attest.Policy{}, string(b.JSON[:len(b.JSON)/2]), attest.CodeBundleInvalid},
		"too much of it":          {attest.Policy{}, strings.Repeat(" ", attest.MaxBundle+1), attest.CodeBundleInvalid},
	} {
		data := c.data
		if data == "" {
			data = string(b.JSON)
		}
		if c.policy == (attest.Policy{}) {
			c.policy = policyOf(keyless(s))
		}
		_, err := attest.VerifyBundle([]byte(data), s.trusted, c.policy)
		var no *attest.Refusal
		if !errors.As(err, &no) || no.Code != c.code {
			t.Errorf("%s: want %s, got %v", name, c.code, err)
		}
	}
}

// withoutCT is a trusted root that knows no certificate transparency log.
type withoutCT struct{ root.TrustedMaterial }

func (withoutCT) CTLogs() map[string]*root.TransparencyLog { return nil }

// withoutRekor is a trusted root that knows no transparency log.
type withoutRekor struct{ root.TrustedMaterial }

func (withoutRekor) RekorLogs() map[string]*root.TransparencyLog { return nil }

func TestEachPartOfTheProofIsNeeded(t *testing.T) {
	t.Parallel()
	s := newAuditor(t).services
	b, err := keyless(s).Sign(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, trusted := range map[string]root.TrustedMaterial{
		"a certificate that no known log has": withoutCT{s.trusted},
		"a signature that no known log has":   withoutRekor{s.trusted},
		"an unknown authority":                &root.BaseTrustedMaterial{},
	} {
		var no *attest.Refusal
		if _, err := attest.VerifyBundle(b.JSON, trusted, policyOf(keyless(s))); !errors.As(err, &no) || no.Code != attest.CodeBundleInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := attest.VerifyBundle(b.JSON, s.trusted, policyOf(keyless(s))); err != nil {
		t.Errorf("the whole proof: %v", err)
	}
}

// withoutLog removes the log's entries from a bundle.
func withoutLog(bundle string) string {
	before, rest, _ := strings.Cut(bundle, `"tlogEntries":[`)
	_, after, _ := strings.Cut(rest, `}],"timestampVerificationData"`)
	return before + `"tlogEntries":[],"timestampVerificationData"` + after
}

func TestWhatWouldNotVerifyIsNotHandedOut(t *testing.T) {
	t.Parallel()
	s := newAuditor(t).services
	for name, change := range map[string]func(*attest.Keyless){
		"a token of somebody else": func(k *attest.Keyless) { k.Token = s.token("spiffe://factory.test/other") },
		"no token": func(k *attest.Keyless) {
			k.Token = func(context.Context) (string, error) { return "", errors.New("no") }
		},
		"a token that is no token":  func(k *attest.Keyless) { k.Token = func(context.Context) (string, error) { return "a.b.c", nil } },
		"a foreign trusted root":    func(k *attest.Keyless) { k.TrustedRoot = &root.BaseTrustedMaterial{} },
		"a log that is away":        func(k *attest.Keyless) { k.Services.Rekor = "http://127.0.0.1:1" },
		"an authority that is away": func(k *attest.Keyless) { k.Services.Fulcio = "http://127.0.0.1:1" },
		"a clock that is away":      func(k *attest.Keyless) { k.Services.TimestampAuthority = "http://127.0.0.1:1" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keyless(s)
			change(&k)
			b, err := k.Sign(t.Context(), statement(t))
			var no *attest.Refusal
			if err == nil || errors.As(err, &no) || b.JSON != nil {
				t.Errorf("want an inability, got %v", err)
			}
		})
	}
}

func TestAKeylessChainIsAuditedOffline(t *testing.T) {
	t.Parallel()
	s := newAuditor(t).services
	records := chain(t, keyless(s), 3)
	identity := attest.Identity{Issuer: s.issuer, Subject: reconcilerID}
	start := time.Now()
	report, err := attest.Audit(records, attest.Options{TrustedRoot: s.trusted, Policies: []attest.Policy{{Identity: identity}}, Head: records[2].Digest})
	if err != nil || !report.OK {
		t.Fatalf("%v\n%s", err, report.Text())
	}
	t.Logf("three records audited in %v\n%s", time.Since(start), report.Text())
	identity.Subject = "spiffe://factory.test/other"
	report, err = attest.Audit(records, attest.Options{TrustedRoot: s.trusted, Policies: []attest.Policy{{Identity: identity}}})
	if err != nil || report.OK || report.Findings[0].Code != attest.CodeBundleIdentity {
		t.Errorf("another identity: %v\n%s", err, report.Text())
	}
}

// policyOf is the policy that a keyless signer's bundles satisfy.
func policyOf(k attest.Keyless) attest.Policy { return attest.Policy{Identity: k.Identity} }
