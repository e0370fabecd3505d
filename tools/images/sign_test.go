package images

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"millwright.dev/millwright/e2e/registrytest"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/tools/assets"
)

func TestMain(m *testing.M) { os.Exit(sigstoretest.Main(m)) }

func TestStockCosignVerifiesWhatIsSaidOfAnImage(t *testing.T) {
	t.Parallel()
	sigstore := sigstoretest.Shared(t)
	registry, err := registrytest.Start(t.Context(), t.TempDir(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Stop)
	bin, err := assets.Ensure(t.Context(), os.Stderr, "cosign")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("a program"), 0o700); err != nil {
		t.Fatal(err)
	}
	image, err := Build(t.Context(), t.TempDir(), Image{Name: "x", Files: map[string]string{"/app/x": program}, Entrypoint: "/app/x"})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(registry.Host + "/image@" + digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	const subject = "spiffe://factory.test/images"
	token, err := sigstore.Token(t.Context(), sigstoretest.Workload, subject, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	signer := Signer{Fulcio: sigstore.FulcioURL, Rekor: sigstore.RekorURL, TimestampAuthority: sigstore.TimestampURL + "/api/v1/timestamp", Token: token}
	if err := signer.Attest(t.Context(), ref, Signature, nil); err != nil {
		t.Fatal(err)
	}
	if err := signer.Attest(t.Context(), ref, Contents, []byte(`{"spdxVersion":"SPDX-2.3"}`)); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, identity string
		args           []string
		good           bool
	}{
		{"signature", subject, []string{"verify"}, true},
		{"contents", subject, []string{"verify-attestation", "--type", "spdxjson"}, true},
		{"by somebody else", "spiffe://factory.test/other", []string{"verify"}, false},
		{"something else", subject, []string{"verify-attestation", "--type", "slsaprovenance1"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			args := append(row.args, "--new-bundle-format", "--trusted-root", sigstore.TrustedRootPath,
				"--certificate-identity", row.identity, "--certificate-oidc-issuer", sigstore.IssuerURL(sigstoretest.Workload), ref.String())
			cmd := exec.CommandContext(t.Context(), bin.Path("cosign"), args...)
			cmd.Env = []string{"HOME=" + t.TempDir(), "TUF_ROOT=" + t.TempDir(), "SIGSTORE_NO_CACHE=true"}
			var problems bytes.Buffer
			cmd.Stderr = &problems
			out, err := cmd.Output()
			if (err == nil) != row.good {
				t.Errorf("%v: %s%s", err, out, problems.String())
			}
			if row.good && !strings.Contains(problems.String(), "code-signing certificate was verified") {
				t.Errorf("cosign says %s", problems.String())
			}
		})
	}
}
