package policy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// addressSpaceHeadroom is what a Go program of this size maps without using:
// its own text, arenas that are reserved ahead, thread stacks.
const addressSpaceHeadroom = 2 << 30

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

// limitMemory bounds the address space from outside. The process also sets its
// collector's limit; this is for the case that it does not come to that.
func limitMemory(p *os.Process, limit int64) error {
	bytes := uint64(limit) + addressSpaceHeadroom
	err := unix.Prlimit(p.Pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: bytes, Max: bytes}, nil)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("set address space limit: %w", err)
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
