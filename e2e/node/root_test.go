package node

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"millwright.dev/millwright/tools/assets"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// helper is the variable of the environment that says what the test program is to
// be instead, in namespaces of its own.
const helper = "NODE_TEST_HELPER"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == Inside {
		os.Exit(Main(os.Args[2]))
	}
	switch os.Getenv(helper) {
	case "wait": // until nobody holds the other end
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	case "try":
		fmt.Println(tryKernel())
		os.Exit(0)
	case "machine":
		os.Exit(beMachine())
	case "mounts":
		os.Exit(beMounts())
	case "node":
		os.Exit(beNode())
	}
	os.Exit(m.Run())
}

// be makes a command of the test program as something else.
func be(t *testing.T, what string, namespaces uintptr, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(append(os.Environ(), helper+"="+what), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	return cmd
}

// asked says whether the factory's tests are to be run (make test-factory). Then
// there is to be a machine for them: a skip is a failure, since nobody would miss
// what was not tested.
func asked() bool { return os.Getenv("MILLWRIGHT_TEST_FACTORY") != "" }

func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if asked() {
		t.Fatalf(format, args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}

// asRoot skips the test for everybody else.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "not root, so no namespaces and no control groups were made: run it with sudo")
	}
}

// possible skips the test where root cannot have a node either.
func possible(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		skip(t, "no node can be tested here: %v", err)
	}
}

// wholeNode skips the test, which starts a node in dir, unless that is asked for:
// it takes programs that are built for the factory only.
func wholeNode(t *testing.T, dir string) {
	t.Helper()
	if !asked() {
		skip(t, "no node was started; MILLWRIGHT_TEST_FACTORY=1 does that (root, a minute): make test-factory")
	}
	asRoot(t)
	possible(t, Preflight(t.Context(), dir))
	if _, err := assets.Ensure(t.Context(), os.Stderr, Programs()...); err != nil {
		t.Fatal(err)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
