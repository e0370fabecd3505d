package policy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// dataHeadroom is what a Go program maps for writing beside its heap: spans
// that are not yet used, stacks, the collector's own tables.
const dataHeadroom = 256 << 20

// isolates says that the system has namespaces.
const isolates = true

// confine puts the process into a group of its own, ties its life to ours, and
// for IsolationNetns gives it user, process and network namespaces of its own,
// the last without any interface. No privilege is needed for that where user namespaces are allowed.
func confine(cmd *exec.Cmd, isolation string) {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if isolation == IsolationNetns {
		a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = a
}

// namespaceDenied says that the kernel or a seccomp profile does not let us
// make namespaces; anything else that fails would fail without them too.
func namespaceDenied(err error) bool {
	for _, errno := range []error{
		syscall.EPERM, syscall.EACCES, syscall.ENOSPC, syscall.EUSERS, syscall.EINVAL, syscall.ENOSYS,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// limitMemory bounds what the process may map for writing, from outside: its own
// collector's limit is soft and only counts if the process comes to set it. Not
// the address space, of which Go reserves far more than it uses.
func limitMemory(p *os.Process, limit int64) error {
	bytes := uint64(max(limit, 0)) + dataHeadroom
	err := unix.Prlimit(p.Pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: bytes, Max: bytes}, nil)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("set data limit: %w", err)
	}
	return nil
}

// killGroup ends the process and everything it started.
func killGroup(p *os.Process) error {
	err := syscall.Kill(-p.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
