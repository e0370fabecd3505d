package attest_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"millwright.dev/millwright/reconciler/attest"
)

const repository = "https://git.example.org/factory.git"

// companions are the three statements of a revision.
func companions(t *testing.T, s attest.Subjects) map[string]attest.Companion {
	t.Helper()
	at := noon()
	policy := attest.NewDescriptor("git+"+repository+"@"+commitA+"#factory-config/trust/policy.yaml", digest("a"))
	out := map[string]attest.Companion{}
	var err error
	if out["svr"], err = attest.NewSourceVerification(repository, commitA, attest.SourceVerification{
		Verifier:    attest.Verifier{ID: attest.VerifierID, Policies: []attest.Descriptor{policy}},
		TimeCreated: at, Properties: []string{attest.PropertyRangeSigned, attest.PropertyFastForward},
	}); err != nil {
		t.Fatal(err)
	}
	if out["provenance"], err = attest.NewProvenance(s, attest.Provenance{
		BuildDefinition: attest.BuildDefinition{
			BuildType: attest.BuildType,
			ExternalParameters: attest.ExternalParameters{
				Repository: repository, Ref: "refs/heads/main", Revision: commitA, Environment: "dev", Overlay: "overlays/dev",
			},
			ResolvedDependencies: []attest.Descriptor{
				{URI: "git+" + repository + "@refs/heads/main", Digest: &attest.DigestSet{GitCommit: commitA}},
				attest.NewDescriptor("git+"+repository+"#bases/spire/upstream/crds.yaml", digest("1")),
				attest.NewDescriptor("oci://registry.example.org/spire@"+digest("2"), digest("2")),
			},
		},
		RunDetails: attest.RunDetails{
			Builder:  attest.Builder{ID: attest.VerifierID, Version: attest.BuilderVersion{Millwright: "v0.1.0"}},
			Metadata: attest.Metadata{InvocationID: "cluster/factory/1", StartedOn: at, FinishedOn: at},
		},
	}); err != nil {
		t.Fatal(err)
	}
	if out["vsa"], err = attest.NewVerdict(s, repository, commitA, passed()); err != nil {
		t.Fatal(err)
	}
	return out
}

func passed() attest.Verdict {
	return attest.Verdict{
		Verifier: attest.VerdictVerifier{ID: attest.VerifierID}, TimeVerified: noon(), ResourceURI: "git+" + repository,
		Policy:             attest.NewDescriptor("git+"+repository+"#factory-config/trust/policy.yaml", digest("a")),
		InputAttestations:  []attest.AttestationDigest{attest.NewAttestationDigest(digest("3"))},
		VerificationResult: "PASSED", VerifiedLevels: []string{attest.LevelSourceVerified, attest.LevelPolicyPassed},
	}
}

func TestCompanionsVerifyAsWhatTheyAre(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	for name, c := range companions(t, subjects()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bundle, err := attest.KeyFile{Key: key}.SignCompanion(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			v, err := attest.VerifyCompanion(bundle.JSON, nil, attest.Policy{Key: key.Public()})
			if err != nil || string(v.Companion.Payload()) != string(c.Payload()) || v.Bundle().Digest != bundle.Digest {
				t.Fatalf("read back: %v", err)
			}
			var no *attest.Refusal
			if _, err := attest.VerifyCompanion(bundle.JSON, nil, attest.Policy{Key: other.Public()}); !errors.As(err, &no) {
				t.Errorf("by another key: %v", err)
			}
			if _, err := attest.VerifyCompanion(bundle.JSON, nil, attest.Policy{Key: key.Public(), Commit: commitB}); !errors.As(err, &no) {
				t.Errorf("about another commit: %v", err)
			}
			// A companion is no record, and a record is no companion.
			if _, err := attest.VerifyBundle(bundle.JSON, nil, offline(key)); !errors.As(err, &no) || no.Code != attest.CodeBundlePredicate {
				t.Errorf("as a record: %v", err)
			}
		})
	}
	record, err := attest.KeyFile{Key: key}.Sign(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	var no *attest.Refusal
	if _, err := attest.VerifyCompanion(record.JSON, nil, attest.Policy{Key: key.Public()}); !errors.As(err, &no) || no.Code != attest.CodeBundlePredicate {
		t.Errorf("a record as a companion: %v", err)
	}
}

func TestAVerdictClaimsNoMoreThanWasProved(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*attest.Verdict){
		"a SLSA level":                func(v *attest.Verdict) { v.VerifiedLevels = []string{"SLSA_SOURCE_LEVEL_3"} },
		"no level":                    func(v *attest.Verdict) { v.VerifiedLevels = nil },
		"passed, and refused":         func(v *attest.Verdict) { v.Refusal = &attest.RefusalCode{Reason: "Unsigned", Code: "sig/missing"} },
		"failed, with levels":         func(v *attest.Verdict) { v.VerificationResult = "FAILED" },
		"failed, and nobody says why": func(v *attest.Verdict) { v.VerificationResult, v.VerifiedLevels = "FAILED", []string{"FAILED"} },
		"another result":              func(v *attest.Verdict) { v.VerificationResult = "MAYBE" },
		"no time":                     func(v *attest.Verdict) { v.TimeVerified = time.Time{} },
		"an input that is no digest":  func(v *attest.Verdict) { v.InputAttestations = []attest.AttestationDigest{{}} },
		"a reason with another's words": func(v *attest.Verdict) {
			v.VerificationResult, v.VerifiedLevels = "FAILED", []string{"FAILED"}
			v.Refusal = &attest.RefusalCode{Reason: "Unsigned", Code: "sig/missing\x1b[31m"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := passed()
			change(&v)
			if _, err := attest.NewVerdict(subjects(), repository, commitA, v); err == nil {
				t.Error("it is a verdict")
			}
		})
	}
	refused := passed()
	refused.VerificationResult, refused.VerifiedLevels, refused.InputAttestations = "FAILED", []string{"FAILED"}, nil
	refused.Refusal = &attest.RefusalCode{Reason: "Unsigned", Code: "sig/missing"}
	if c, err := attest.NewVerdict(attest.Subjects{}, repository, commitB, refused); err != nil || !c.About(commitB) {
		t.Errorf("a refusal: %v", err)
	}
}

// One entry in the log for each revision: its companions have none, and stock
// cosign verifies them by their timestamps.
func TestStockCosignVerifiesCompanionsThatAreNotInTheLog(t *testing.T) {
	t.Parallel()
	a := newAuditor(t)
	made := artifact(t)
	s := attest.Subjects{Artifact: made.Digest(), Manifests: made.ManifestsDigest()}
	dir := t.TempDir()
	manifests := filepath.Join(dir, attest.ManifestsFile)
	if err := os.WriteFile(manifests, made.File(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range companions(t, s) {
		bundle, err := keyless(a.services).SignCompanion(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		var loose struct {
			VerificationMaterial struct {
				TlogEntries []json.RawMessage `json:"tlogEntries"`
			} `json:"verificationMaterial"`
		}
		if err := json.Unmarshal(bundle.JSON, &loose); err != nil || len(loose.VerificationMaterial.TlogEntries) != 0 {
			t.Errorf("%s: %d log entries, %v", name, len(loose.VerificationMaterial.TlogEntries), err)
		}
		file := filepath.Join(dir, name+".json")
		if err := os.WriteFile(file, bundle.JSON, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{
			"verify-blob-attestation", "--new-bundle-format", "--trusted-root", a.trustedRoot, "--type", c.PredicateType(),
			"--bundle", file, "--use-signed-timestamps", "--insecure-ignore-tlog",
		}
		what := []string{manifests}
		if name == "svr" {
			what = []string{"--digest", commitA, "--digestAlg", "gitCommit"}
		}
		a.accepts(t, slices.Concat(args, a.by(reconcilerID), what)...)
		a.refuses(t, wrongSubject, slices.Concat(args, a.by(reconcilerID+"-not"), what)...)
		if name == "svr" {
			a.refuses(t, wrongDigest, slices.Concat(args, a.by(reconcilerID), []string{"--digest", commitB, "--digestAlg", "gitCommit"})...)
		}
		if !strings.Contains(string(c.Payload()), c.PredicateType()) {
			t.Errorf("%s says another type", name)
		}
	}
}

func TestASignerThatWasReplacedCountsOnlyForItsOwnRecords(t *testing.T) { // row F13
	t.Parallel()
	key := newKey(t)
	records := chain(t, attest.KeyFile{Key: key}, 3)
	policy := offline(key)
	policy.Until = 2
	for i, r := range records {
		_, err := attest.VerifyBundle([]byte(r.Bundle), nil, policy)
		var no *attest.Refusal
		if late := errors.As(err, &no); late != (i == 2) || late && no.Code != attest.CodeBundleIdentity {
			t.Errorf("record %d: %v", i+1, err)
		}
	}
}

// From the registry they verify beside the record that names them, and nothing
// else can be attached as one.
func TestStockCosignFindsCompanionsBesideTheirRecord(t *testing.T) {
	t.Parallel()
	a := newAuditor(t)
	made := artifact(t)
	s := attest.Subjects{Artifact: made.Digest(), Manifests: made.ManifestsDigest(), Inventory: digest("0")}
	repo := open(t, serveRegistry(t, registry.WithReferrersSupport(true)))
	reference, err := repo.Push(t.Context(), made)
	if err != nil {
		t.Fatal(err)
	}
	signer := keyless(a.services)
	policy := attest.Policy{Identity: signer.Identity}
	p := predicate(t)
	var verified []attest.VerifiedCompanion
	for _, name := range []string{"provenance", "vsa"} {
		bundle, err := signer.SignCompanion(t.Context(), companions(t, s)[name])
		if err != nil {
			t.Fatal(err)
		}
		v, err := attest.VerifyCompanion(bundle.JSON, a.services.trusted, policy)
		if err != nil {
			t.Fatal(err)
		}
		verified = append(verified, v)
		p.Inputs = append(p.Inputs, attest.Input{PredicateType: v.Companion.PredicateType(), Attestation: bundle.Digest})
	}
	record, err := attest.NewStatement(s, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verified {
		if _, err := repo.AttachCompanion(t.Context(), v, statement(t)); err == nil {
			t.Error("what no record names is attached")
		}
		if _, err := repo.AttachCompanion(t.Context(), v, record); err != nil {
			t.Fatal(err)
		}
		args := []string{
			"verify-attestation", "--new-bundle-format", "--trusted-root", a.trustedRoot, "--type", v.Companion.PredicateType(),
			"--use-signed-timestamps", "--insecure-ignore-tlog",
		}
		a.accepts(t, append(append(args, a.by(reconcilerID)...), reference)...)
		a.refuses(t, wrongSubject, append(append(args, a.by(reconcilerID+"-not")...), reference)...)
	}
}
