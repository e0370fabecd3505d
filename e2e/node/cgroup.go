package node

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups are the hierarchies of control groups below a folder (cgroups(7)).
type cgroups struct{ root string }

// theCgroups are the machine's.
func theCgroups() cgroups { return cgroups{root: "/sys/fs/cgroup"} }

// controllers that kubelet and runc cannot do without, by version. In version 2,
// cpu has what cpuacct was, and devices is a program in the kernel.
func controllers(version int) []string {
	if version == 2 {
		return []string{"cpu", "cpuset", "memory", "pids"}
	}
	return []string{"cpu", "cpuacct", "cpuset", "memory", "pids", "devices"}
}

// passed are the controllers of version 2 that the kubelet wants in the group of
// its pods as soon as the machine has them.
func passed() []string { return []string{"cpu", "cpuset", "memory", "pids", "hugetlb"} }

// version is 2, or 1 when some controllers are in hierarchies of their own, even
// if there is one of version 2 beside them.
func (c cgroups) version() int {
	if exists(filepath.Join(c.root, "cgroup.controllers")) == nil {
		return 2
	}
	return 1
}

// hierarchies are the roots of all that are mounted.
func (c cgroups) hierarchies() ([]string, error) {
	if c.version() == 2 {
		return []string{c.root}, nil
	}
	entries, err := os.ReadDir(c.root)
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() { // not the links, cpu to cpu,cpuacct
			out = append(out, filepath.Join(c.root, e.Name()))
		}
	}
	return out, nil
}

// check refuses what pods cannot be put into.
func (c cgroups) check(disk func(string) (unix.Statfs_t, error)) error {
	version := c.version()
	var without []string
	for _, name := range controllers(version) {
		if !c.has(version, name) {
			without = append(without, name)
		}
	}
	if len(without) > 0 {
		return refuse(reasonCgroups, "there is no control group (version %d) of %s in /sys/fs/cgroup", version, strings.Join(without, ", "))
	}
	hierarchies, err := c.hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		s, err := disk(h)
		if err != nil {
			return fmt.Errorf("looking at %s: %w", h, err)
		}
		if s.Flags&unix.ST_RDONLY != 0 {
			return refuse(reasonReadOnly, "%s is mounted read-only", h)
		}
	}
	if version == 2 {
		return c.passable()
	}
	return nil
}

func (c cgroups) has(version int, name string) bool {
	if version == 2 {
		return slices.Contains(words(filepath.Join(c.root, "cgroup.controllers")), name)
	}
	return exists(filepath.Join(c.root, name)) == nil
}

// passable refuses a root that cannot pass controllers on. That of the machine
// always can; that of a container cannot while processes are in it.
func (c cgroups) passable() error {
	kind := words(filepath.Join(c.root, "cgroup.type")) // the machine's root has none
	processes := words(filepath.Join(c.root, "cgroup.procs"))
	if len(kind) > 0 && len(processes) > 0 && len(off(c.root)) > 0 {
		return refuse(reasonOccupied, "%d processes are in the root of the control groups, which does not pass on %s", len(processes), strings.Join(off(c.root), ", "))
	}
	return nil
}

// off are the controllers that a group of version 2 has and does not pass on.
func off(group string) []string {
	has, on := words(filepath.Join(group, "cgroup.controllers")), words(filepath.Join(group, "cgroup.subtree_control"))
	return slices.DeleteFunc(passed(), func(name string) bool { return !slices.Contains(has, name) || slices.Contains(on, name) })
}

func words(file string) []string {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

// ControlGroup is the control group of the pods of the node in dir, in every
// hierarchy: one of its own, so that it can be removed.
func ControlGroup(dir string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(dir))
	return fmt.Sprintf("/millwright-%08x", h.Sum32())
}

// make makes the group in every hierarchy: the kubelet makes groups below its
// root, never the root itself. In version 2 it passes controllers on to it, which
// stay on for the machine: by the time the node ends, somebody else may use them.
func (c cgroups) make(name string) error {
	hierarchies, err := c.hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if err := os.MkdirAll(filepath.Join(h, name), 0o755); err != nil {
			return fmt.Errorf("making a control group: %w", err)
		}
	}
	if c.version() == 1 {
		return nil
	}
	for _, group := range []string{c.root, filepath.Join(c.root, name)} {
		for _, controller := range off(group) {
			if err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+controller), 0o600); err != nil {
				return fmt.Errorf("passing the controller %s on: %w", controller, err)
			}
		}
	}
	return nil
}

// remove removes the group and those below it, and gives processes that are being
// ended the time to be gone: the kernel refuses as long as one is in a group.
func (c cgroups) remove(name string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := c.removeOnce(name)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

func (c cgroups) removeOnce(name string) error {
	hierarchies, err := c.hierarchies()
	failed := []error{err}
	for _, h := range hierarchies {
		var groups []string
		err := filepath.WalkDir(filepath.Join(h, name), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // never made, or it has just gone
			}
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return err
		})
		failed = append(failed, err)
		for _, group := range slices.Backward(groups) {
			if err := unix.Rmdir(group); err != nil && !errors.Is(err, unix.ENOENT) {
				failed = append(failed, fmt.Errorf("removing the control group %s: %w", group, err))
			}
		}
	}
	return errors.Join(failed...)
}
