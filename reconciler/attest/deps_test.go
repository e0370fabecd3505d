package attest_test

import (
	"os/exec"
	"strings"
	"testing"
)

// Evidence must be checkable by a program that could not talk to a cluster.
func TestNoKubernetesClientIsLinked(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		for _, banned := range []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime", "k8s.io/kubectl", "github.com/sigstore/cosign"} {
			if pkg == banned || strings.HasPrefix(pkg, banned+"/") {
				t.Errorf("%s is linked", pkg)
			}
		}
	}
}
