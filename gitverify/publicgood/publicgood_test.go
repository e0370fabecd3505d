package publicgood_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"millwright.dev/millwright/gitverify/publicgood"
)

// shipped reads the trusted root that another module of the project ships, in
// the module cache: it is no part of this repository.
func shipped(t *testing.T) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore").Output()
	if err != nil {
		t.Fatalf("asking for the folder of the module: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "pkg", "tuf", "repository", "targets", "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parse(t *testing.T, data []byte) *prototrustroot.TrustedRoot {
	t.Helper()
	var root prototrustroot.TrustedRoot
	if err := protojson.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	return &root
}

func TestThePublicGoodRootLoadsWithoutNetwork(t *testing.T) {
	t.Parallel()
	root, err := publicgood.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	again, err := publicgood.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(root.Digest(), "sha256:") || root.Digest() != again.Digest() {
		t.Errorf("the digests are %s and %s", root.Digest(), again.Digest())
	}
}

func TestTwoModulesAgreeOnThePublicGoodRoot(t *testing.T) {
	t.Parallel()
	text, err := publicgood.JSON()
	if err != nil {
		t.Fatal(err)
	}
	want, got := parse(t, shipped(t)), parse(t, text)
	// Times are written with and without fractions; the message is the same.
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("the embedded root is not the one of github.com/sigstore/sigstore (-there +here):\n%s", diff)
	}
}
