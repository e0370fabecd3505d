package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// folders of the node that outlive it, and where the programs look for them.
func folders() map[string]string {
	return map[string]string{
		"kubelet":    "/var/lib/kubelet",
		"containerd": "/var/lib/containerd",
		"cni":        "/var/lib/cni",
		"volumes":    "/var/lib/millwright-volumes",
		"pods":       "/var/log/pods",
		"containers": "/var/log/containers",
		"spire":      "/var/lib/spire",
	}
}

// emptied are folders of the machine in which programs keep their data.
func emptied() []string { return []string{"/run", "/var/lib", "/var/log"} }

// tunables are what the kubelet wants of the kernel as a whole. It would set
// them: this is a machine that is not ours alone, so it gets to read what it
// wants to read.
func tunables() map[string]string {
	return map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
}

// mounts makes the mount namespace the node's own. Nothing of it reaches the
// machine; mounts of a pod reach the other pods that ask for it.
func (f floor) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("/: %w", err)
	}
	for _, step := range []func() error{f.kernel, f.places, f.files} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("/: %w", err)
	}
	return unix.Sethostname([]byte(Name))
}

// kernel mounts /proc and /sys anew, since they show the namespaces of whoever
// mounted them. The control groups stay as they are.
func (f floor) kernel() error {
	kept := filepath.Join(f.Dir, "run", "cgroup")
	if err := os.MkdirAll(kept, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("/sys/fs/cgroup", kept, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping /sys/fs/cgroup: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/sys: %w", err)
	}
	if err := unix.Mount(kept, "/sys/fs/cgroup", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("/sys/fs/cgroup: %w", err)
	}
	for name, value := range tunables() {
		file := filepath.Join(f.Dir, "run", filepath.Base(name))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			return err
		}
		if err := bind(file, filepath.Join("/proc/sys", name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// places puts empty folders over those of the machine, and the node's own ones
// into them.
func (f floor) places() error {
	for _, dir := range emptied() {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	for name, place := range folders() {
		from := filepath.Join(f.Dir, "data", name)
		if err := errors.Join(os.MkdirAll(from, 0o755), os.MkdirAll(place, 0o755)); err != nil {
			return err
		}
		if err := bind(from, place); err != nil {
			return err
		}
	}
	return nil
}

// files are the two files of /etc by which names are found.
func (f floor) files() error {
	for name, content := range map[string]string{
		"hosts":       "127.0.0.1 localhost\n" + IP + " " + Name + " registry.localhost git.factory.test\n",
		"resolv.conf": "nameserver " + DNS + "\noptions ndots:0 timeout:1 attempts:1\n",
	} {
		file := filepath.Join(f.Dir, "run", name)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return err
		}
		if err := cover(file, filepath.Join("/etc", name)); err != nil {
			return err
		}
	}
	return nil
}

// cover puts a file over another one, at the end of the links that lead there: on
// many machines resolv.conf is one to a file below /run, where nothing is by now. A
// file that is not there either on the machine is left away, since to make it
// would be to change the machine.
func cover(file, at string) error {
	for links := 0; ; links++ {
		to, err := os.Readlink(at)
		switch {
		case errors.Is(err, unix.EINVAL): // no link
			return bind(file, at)
		case errors.Is(err, fs.ErrNotExist):
			return coverNew(file, at)
		case err != nil:
			return err
		case links > 40:
			return fmt.Errorf("%s: %w", at, unix.ELOOP)
		case !filepath.IsAbs(to):
			to = filepath.Join(filepath.Dir(at), to)
		}
		at = to
	}
}

func coverNew(file, at string) error {
	at, err := realPath(at)
	if err != nil || !slices.Contains(emptied(), hides(at)) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(at, nil, 0o644); err != nil {
		return err
	}
	return bind(file, at)
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	return nil
}
