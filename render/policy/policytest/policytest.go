// Package policytest gives tests the real policy process.
package policytest

import (
	"os"
	"testing"

	"millwright.dev/millwright/render/policy"
	"millwright.dev/millwright/tools/assets"
)

// Runner runs the real policy process. Its first build takes minutes, so it
// skips a test that is to be short.
func Runner(t testing.TB) policy.Runner {
	t.Helper()
	if testing.Short() {
		t.Skip("builds Kyverno's engine")
	}
	bin, err := assets.Ensure(t.Context(), os.Stderr, "millwright-policy")
	if err != nil {
		t.Fatal(err)
	}
	return policy.Runner{Path: bin.Path("millwright-policy")}
}
