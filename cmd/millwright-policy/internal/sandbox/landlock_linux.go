// Package sandbox takes from the process what it does not need: once the request
// is about to be read, no file can be opened and no TCP connection made any more.
//
// It stands behind the namespaces that the parent makes, because many clusters do
// not allow those; Landlock (Linux 5.13, networks from 6.7) needs no privilege.
package sandbox

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names of what Enter achieved, as the verdict tells it.
const (
	None     = ""
	Files    = "landlock-fs"
	FilesTCP = "landlock"
)

// Enter gives up the rights of every thread, for good, and says which. A kernel
// without Landlock is not an error; one that has it and fails is.
func Enter() (string, error) {
	abi, _, errno := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errors.Is(errno, syscall.ENOSYS) || errors.Is(errno, syscall.EOPNOTSUPP) || errors.Is(errno, syscall.EPERM) {
		return None, nil
	}
	if errno != 0 {
		return None, fmt.Errorf("ask for landlock: %w", errno)
	}
	attr, size, achieved := rights(int(abi))
	fd, _, errno := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0) //nolint:gosec // a system call takes addresses
	if errno != 0 {
		return None, fmt.Errorf("make landlock rules: %w", errno)
	}
	defer func() { _ = syscall.Close(int(fd)) }()
	// Without it the kernel would demand a capability: a program that is run
	// with more rights must not be confined by the one that runs it.
	if _, _, errno := syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return None, fmt.Errorf("give up new privileges: %w", errno)
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return None, fmt.Errorf("enter landlock: %w", errno)
	}
	return achieved, nil
}

// rights is everything that a version of Landlock can take away; there are no
// exceptions to it, so nothing of it remains.
func rights(abi int) (attr unix.LandlockRulesetAttr, size uintptr, achieved string) {
	attr.Access_fs = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	if abi >= 2 {
		attr.Access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi < 4 {
		return attr, unsafe.Sizeof(attr.Access_fs), Files
	}
	attr.Access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	if abi >= 5 {
		attr.Access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	size = unsafe.Offsetof(attr.Scoped)
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size = unsafe.Sizeof(attr)
	}
	return attr, size, FilesTCP
}
