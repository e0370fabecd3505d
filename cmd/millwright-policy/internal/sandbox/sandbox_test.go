package sandbox

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test program be the one that gives up its rights, since it
// could not take them back.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "confined" {
		os.Exit(confined(os.Args[2]))
	}
	os.Exit(m.Run())
}

func confined(address string) int {
	achieved, err := Enter()
	if err != nil {
		return 10
	}
	if achieved == None {
		return 20
	}
	if _, err := os.ReadFile("/proc/self/status"); !errors.Is(err, syscall.EACCES) {
		return 11
	}
	if _, err := os.Create(os.TempDir() + "/millwright-sandbox"); !errors.Is(err, syscall.EACCES) {
		return 12
	}
	if err := exec.Command("/bin/true").Run(); err == nil {
		return 13
	}
	if _, err := net.DialTimeout("tcp", address, time.Second); achieved == FilesTCP && !errors.Is(err, syscall.EACCES) {
		return 14
	}
	return 0
}

func TestAProcessThatEnteredOpensNoFileAndNoConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "confined", l.Addr().String())
	err = cmd.Run()
	if cmd.ProcessState.ExitCode() == 20 {
		t.Skip("this kernel has no Landlock")
	}
	if err != nil {
		t.Errorf("confined process: %v (see the codes above)", err)
	}
}
