// Package needs is how tests say that this machine cannot run them.
package needs

import (
	"os"
	"testing"
)

// Skip leaves a test out, and says what it would take. Where continuous integration
// runs as root, it is to have all of that: there a skip is a failure, since nobody
// would see it.
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" && os.Getuid() == 0 {
		t.Fatalf(format, args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}
