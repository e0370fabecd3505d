package attest_test

import (
	"context"
	"os"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/tools/assets"
)

func TestMain(m *testing.M) { os.Exit(sigstoretest.Main(m)) }

// newAuditor is an auditor of the test process's Sigstore.
func newAuditor(t *testing.T) auditor {
	t.Helper()
	bin, err := assets.Ensure(t.Context(), os.Stderr, "cosign")
	if err != nil {
		t.Fatal(err)
	}
	s := sigstoretest.Shared(t)
	data, err := s.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := attest.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	return auditor{cosign: bin.Path("cosign"), trustedRoot: s.TrustedRootPath, home: t.TempDir(), services: services{
		services: attest.Services{Fulcio: s.FulcioURL, Rekor: s.RekorURL, TimestampAuthority: s.TimestampURL + "/api/v1/timestamp"},
		issuer:   s.IssuerURL(sigstoretest.Workload), trusted: trusted,
		token: func(subject string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				return s.Token(ctx, sigstoretest.Workload, subject, 5*time.Minute)
			}
		},
	}}
}
