package node

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Need is what a factory takes of the machine.
const (
	diskGiB   = 15
	memoryGiB = 6
)

// controllers of the control groups that kubelet and runc cannot do without.
var controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "pids", "devices"}

// Preflight says what is missing for a node with its data in dir, all of it at
// once, and what to do about it. It changes nothing.
func Preflight(dir string) error {
	var missing []error
	if os.Geteuid() != 0 {
		missing = append(missing, errors.New("not root: a node makes network and mount namespaces; run it with sudo"))
	}
	if _, err := exec.LookPath("nft"); err != nil {
		missing = append(missing, errors.New("no nft: services are made with it; install the package nftables"))
	}
	missing = append(missing, cgroups(), space(dir), memory(), place(dir))
	return errors.Join(missing...)
}

// cgroups finds the version 2 hierarchy, or every controller of version 1.
func cgroups() error {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return nil
	}
	var without []string
	for _, c := range controllers {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", c)); err != nil {
			without = append(without, c)
		}
	}
	if len(without) > 0 {
		return fmt.Errorf("no control group of %s in /sys/fs/cgroup: pods cannot be limited; mount it", strings.Join(without, ", "))
	}
	return nil
}

func space(dir string) error {
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("looking at the disk of %s: %w", dir, err)
	}
	if free := s.Bavail * uint64(s.Bsize) >> 30; free < diskGiB {
		return fmt.Errorf("%d GiB of disk are free at %s: a factory takes %d, and the kubelet evicts pods where there is less", free, dir, diskGiB)
	}
	return nil
}

func memory() error {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		var kib uint64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 && kib>>20 < memoryGiB {
			return fmt.Errorf("%d GiB of memory are available: a factory takes %d", kib>>20, memoryGiB)
		}
	}
	return nil
}

// place refuses folders that the node would hide from itself.
func place(dir string) error {
	for _, hidden := range []string{"/run", "/var/lib", "/var/log", "/proc", "/sys"} {
		if strings.HasPrefix(dir+"/", hidden+"/") {
			return fmt.Errorf("%s is below %s, where the node has its own files; choose another folder", dir, hidden)
		}
	}
	return nil
}

// cgroupOf is the control group of the pods of the node in dir, in every
// hierarchy: one of its own, so that it can be removed.
func cgroupOf(dir string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(dir))
	return fmt.Sprintf("/millwright-%08x", h.Sum32())
}

// hierarchies are the mounted hierarchies of control groups.
func hierarchies() []string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return []string{"/sys/fs/cgroup"}
	}
	entries, err := os.ReadDir("/sys/fs/cgroup")
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join("/sys/fs/cgroup", e.Name()))
		}
	}
	return out
}

// makeCgroup makes the group in every hierarchy: the kubelet makes groups below
// its root, never the root itself.
func makeCgroup(name string) error {
	for _, h := range hierarchies() {
		if err := os.MkdirAll(filepath.Join(h, name), 0o755); err != nil {
			return fmt.Errorf("making a control group: %w", err)
		}
	}
	return nil
}

// removeCgroup removes the group and those below it. The kernel refuses as long
// as a process is in one.
func removeCgroup(name string) error {
	var failed []error
	for _, h := range hierarchies() {
		var groups []string
		err := filepath.WalkDir(filepath.Join(h, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		failed = append(failed, err)
		for _, group := range slices.Backward(groups) {
			if err := unix.Rmdir(group); err != nil && !errors.Is(err, unix.ENOENT) {
				failed = append(failed, fmt.Errorf("removing %s: %w", group, err))
			}
		}
	}
	return errors.Join(failed...)
}
