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

// asRoot skips the test for everybody else.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root, so no namespaces and no control groups were made: run it with sudo")
	}
}

// possible skips the test where root cannot have a node either. In continuous
// integration that is a failure: nobody would miss what it did not test.
func possible(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("root, and no node can be tested here: %v", err)
	default:
		t.Skipf("SKIPPED: no node can be tested here: %v", err)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
