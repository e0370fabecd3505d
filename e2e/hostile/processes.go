package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

func processes() []attempt {
	return []attempt{
		{"processes of others", func() (string, string) {
			return verdict(others(), "all "+plural(len(pids()), "process is", "processes are")+" of this container")
		}},
		{"environment of others", func() (string, string) { return ofOthers("environ") }},
		{"files of others", func() (string, string) { return ofOthers("root/.") }},
		{"ptrace", traces},
		{"become root", func() (string, string) {
			err := syscall.Setuid(0)
			if os.Getuid() == 0 {
				return found, "this is root"
			}
			return nothing, fmt.Sprint(err)
		}},
		{"new user namespace", userNamespace},
	}
}

func pids() []string {
	names, _ := filepath.Glob("/proc/[0-9]*")
	for i, n := range names {
		names[i] = filepath.Base(n)
	}
	return names
}

// others are the processes that are in another control group than this one.
func others() []string {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var all []string
	for _, pid := range pids() {
		if b, err := os.ReadFile(filepath.Join("/proc", pid, "cgroup")); err == nil && !bytes.Equal(b, own) {
			all = append(all, pid)
		}
	}
	return all
}

func ofOthers(name string) (outcome, text string) {
	var there []string
	for _, pid := range others() {
		if f, err := os.Open(filepath.Join("/proc", pid, name)); err == nil {
			_ = f.Close()
			there = append(there, pid)
		}
	}
	return verdict(there, "nobody else is to be seen")
}

const seize = 0x4206 // PTRACE_SEIZE: the other one goes on

// traces takes hold of a process of somebody else, and lets go at once: the thread
// that holds it ends.
func traces() (outcome, text string) {
	targets := others()
	if len(targets) == 0 { // Tekton's entrypoint, in this very container
		return nothing, fmt.Sprintf("nobody else is to be seen; process 1: %v", hold("1"))
	}
	var err error
	for _, target := range targets[max(0, len(targets)-5):] {
		if err = hold(target); err == nil {
			return found, "process " + target
		}
	}
	return nothing, err.Error()
}

func hold(target string) error {
	pid, err := strconv.Atoi(target)
	if err != nil {
		return err
	}
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // and never unlocked
		_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, seize, uintptr(pid), 0, 0, 0, 0)
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		return errno
	}
	return nil
}

func userNamespace() (outcome, text string) {
	exe, err := os.Executable()
	if err != nil {
		return nothing, err.Error()
	}
	cmd := exec.Command(exe)
	cmd.Env = []string{"HOSTILE_CHILD=nothing"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
	if err := cmd.Run(); err != nil {
		return nothing, err.Error()
	}
	return found, "with a network and mounts of its own"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
