package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func kernel() []attempt {
	return []attempt{
		{"mount", mount},
		{"make a device", func() (string, string) {
			name := filepath.Join(os.TempDir(), "hostile-null")
			defer os.Remove(name)
			if err := syscall.Mknod(name, syscall.S_IFCHR|0o600, 1<<8|3); err != nil {
				return nothing, err.Error()
			}
			return found, "the null device again"
		}},
		{"devices", devices},
		{"the kernel's switches", switches},
		{"limit of memory", func() (string, string) {
			return limit("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max")
		}},
	}
}

// mount makes an empty file system, and a workspace writable.
func mount() (outcome, text string) {
	dir, err := os.MkdirTemp("", "mount")
	if err != nil {
		return nothing, err.Error()
	}
	defer os.Remove(dir)
	if err = syscall.Mount("hostile", dir, "tmpfs", 0, "size=64k"); err == nil {
		_ = syscall.Unmount(dir, 0)
		return found, "an empty file system"
	}
	if again := syscall.Mount("", "/workspace/source", "", syscall.MS_REMOUNT|syscall.MS_BIND, ""); again == nil {
		return found, "/workspace/source is writable now"
	}
	return nothing, err.Error()
}

// harmless are the devices that every container has.
var harmless = []string{"console", "full", "null", "ptmx", "random", "tty", "urandom", "zero", "termination-log"}

func devices() (outcome, text string) {
	there := slices.Clone(tree().devices)
	entries, err := os.ReadDir("/dev")
	if err != nil {
		return nothing, err.Error()
	}
	for _, e := range entries {
		if e.Type()&os.ModeDevice != 0 && !slices.Contains(harmless, e.Name()) {
			there = append(there, "/dev/"+e.Name())
		}
	}
	return verdict(there, plural(len(entries), "entry", "entries")+" of every container")
}

// switches are opened and left alone.
func switches() (outcome, text string) {
	var there []string
	names := []string{
		"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches",
		"/sys/kernel/uevent_helper", "/sys/power/state", "/dev/mem", "/dev/kmsg",
	}
	agents, _ := filepath.Glob("/sys/fs/cgroup/*/release_agent")
	for _, name := range append(names, agents...) {
		if f, err := os.OpenFile(name, os.O_WRONLY, 0); err == nil {
			_ = f.Close()
			there = append(there, name)
		}
	}
	for _, name := range []string{"/proc/kcore", "/proc/kmsg", "/proc/timer_list"} {
		if b := make([]byte, 1); readable(name, b) {
			there = append(there, name)
		}
	}
	return verdict(there, "none opens")
}

// readable says whether anything comes: what the runtime hides is an empty file.
func readable(name string, b []byte) bool {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	n, _ := f.Read(b)
	return n > 0
}

// limit is found when there is none.
func limit(names ...string) (outcome, text string) {
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		value := strings.TrimSpace(string(b))
		if value == "max" || len(value) > 15 {
			return found, "there is none"
		}
		return nothing, value
	}
	return found, "nobody says"
}
