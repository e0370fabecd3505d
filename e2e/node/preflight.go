package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"millwright.dev/millwright/tools/assets"
)

// What a factory takes of the machine. Measured on two cores: 3.7 GiB of data and
// 2.6 of memory. What building takes, tools/assets knows.
const (
	diskGiB      = 6
	diskAgainGiB = 3 // where a node has been before: most of it is there
	memoryGiB    = 6
)

// programPath is where the node finds programs of the machine, whoever starts it:
// the PATH of an ordinary user lacks half of it.
const programPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// machine is what a preflight looks at.
type machine struct {
	root    string // of its file system
	user    int
	release string // of the kernel
	cache   string // of the programs that the node runs
	disk    func(path string) (unix.Statfs_t, error)
	kernel  func() error // what the kernel can do, by trying
	library func(program, name string) error
	missing []string // programs that are to be built
}

func thisMachine(ctx context.Context) (machine, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return machine{}, fmt.Errorf("asking the kernel for its version: %w", err)
	}
	cache, err := assets.Cache()
	if err != nil {
		return machine{}, err
	}
	missing, err := assets.Missing(ctx, assets.Factory()...)
	if err != nil {
		return machine{}, err
	}
	return machine{
		missing: missing,
		root:    "/", user: os.Geteuid(), release: unix.ByteSliceToString(name.Release[:]), cache: cache, kernel: tryKernel,
		library: func(program, name string) error { return exec.Command(program, "--exists", name).Run() },
		disk:    func(path string) (s unix.Statfs_t, err error) { return s, unix.Statfs(path, &s) },
	}, nil
}

// Preflight says what is missing for a node with its data in dir, all of it at
// once: each is a [Refusal]. It changes nothing, other than that the kernel may
// load a module of its own when it is asked whether it has it.
func Preflight(ctx context.Context, dir string) error {
	m, err := thisMachine(ctx)
	if err != nil {
		return err
	}
	dir, err = realPath(dir)
	if err != nil {
		return err
	}
	return errors.Join(m.preflight(dir), m.building(), m.running(dir))
}

// preflight is what a node needs whose programs are there.
func (m machine) preflight(dir string) error {
	found := []error{m.version(), m.programs(), m.compiler(), m.cgroups().check(m.disk), m.memory(), m.hosts(), m.places(dir), m.folder(dir)}
	if m.user == 0 {
		found = append(found, m.kernel())
	} else {
		found = append(found, refuse(reasonRoot, "this is the user %d", m.user))
	}
	return errors.Join(found...)
}

func (m machine) path(parts ...string) string {
	return filepath.Join(append([]string{m.root}, parts...)...)
}

func (m machine) cgroups() cgroups { return cgroups{root: m.path("/sys/fs/cgroup")} }

// version refuses kernels that kube-proxy refuses. An older one than 5.3 would
// besides have one switch for the bridges of all networks.
func (m machine) version() error {
	var major, minor int
	if _, err := fmt.Sscanf(m.release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("the kernel's version %q: %w", m.release, err)
	}
	if major < 5 || major == 5 && minor < 13 {
		return refuse(reasonKernel, "the kernel is %s", m.release)
	}
	return nil
}

func (m machine) programs() error {
	var missing []string
	for _, name := range []string{"nft", "mount", "umount"} {
		if m.find(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return refuse(reasonPrograms, "there is no %s in %s", strings.Join(missing, ", "), programPath)
	}
	return nil
}

// compiler asks for what the node's programs with C in them are built with; that
// they are built already is found out only later.
func (m machine) compiler() error {
	for _, name := range []string{"cc", "pkg-config"} {
		if m.find(name) == "" {
			return refuse(reasonCompiler, "there is no %s in %s", name, programPath)
		}
	}
	if err := m.library(m.find("pkg-config"), "libseccomp"); err != nil {
		return refuse(reasonCompiler, "pkg-config finds no libseccomp: %v", err)
	}
	return nil
}

// find is the file of a program as the node would find it, "" if it would not.
func (m machine) find(name string) string {
	for _, dir := range filepath.SplitList(programPath) {
		file := m.path(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

func (m machine) memory() error {
	data, err := os.ReadFile(m.path("/proc/meminfo"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		var kib uint64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 && kib>>20 < memoryGiB {
			return refuse(reasonMemory, "%.1f GiB of memory are available: a factory takes %d", float64(kib)/(1<<20), memoryGiB)
		}
	}
	return nil
}

func (m machine) hosts() error {
	if _, err := os.Lstat(m.path("/etc/hosts")); errors.Is(err, fs.ErrNotExist) {
		return refuse(reasonHosts, "there is no /etc/hosts")
	}
	return nil
}

// hidden are the folders of the machine that the node does not see.
func hidden() []string { return append(emptied(), "/proc", "/sys") }

// hides says which of them a path is in, "" for none.
func hides(path string) string {
	for _, folder := range hidden() {
		if strings.HasPrefix(path+"/", folder+"/") {
			return folder
		}
	}
	return ""
}

// places refuses folders that the node would hide from itself.
func (m machine) places(dir string) error {
	var found []error
	if folder := hides(dir); folder != "" {
		found = append(found, refuse(reasonHidden, "%q is below %s", dir, folder))
	}
	cache, err := realPath(m.cache)
	if folder := hides(cache); folder != "" {
		found = append(found, refuse(reasonCache, "the programs are kept in %q, below %s", cache, folder))
	}
	return errors.Join(append(found, err)...)
}

// unfit are file systems that overlayfs does not write on, by their magic numbers
// (statfs(2)).
func unfit() map[int64]string {
	return map[int64]string{
		unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
		unix.NFS_SUPER_MAGIC:       "NFS",
		unix.SMB_SUPER_MAGIC:       "SMB",
		unix.SMB2_SUPER_MAGIC:      "SMB",
		unix.CIFS_SUPER_MAGIC:      "CIFS",
		unix.V9FS_MAGIC:            "9p",
		unix.FUSE_SUPER_MAGIC:      "FUSE",
		unix.ECRYPTFS_SUPER_MAGIC:  "eCryptfs",
		unix.MSDOS_SUPER_MAGIC:     "FAT",
	}
}

// folder looks at the file system that has, or would have, the node's data.
func (m machine) folder(dir string) error {
	at := there(dir)
	s, err := m.disk(at)
	if err != nil {
		return fmt.Errorf("looking at the disk of %s: %w", at, err)
	}
	need := uint64(diskGiB)
	if exists(filepath.Join(dir, "data")) == nil {
		need = diskAgainGiB
	}
	var found []error
	if free := s.Bavail * uint64(s.Bsize) >> 30; free < need {
		found = append(found, refuse(reasonDisk, "%d GiB are free at %q: a factory takes %d", free, at, need))
	}
	if name := unfit()[int64(s.Type)]; name != "" { //nolint:unconvert,nolintlint // 32 bits on some machines
		found = append(found, refuse(reasonUnfit, "%q is on %s", at, name))
	}
	if s.Flags&(unix.ST_RDONLY|unix.ST_NOEXEC) != 0 {
		found = append(found, refuse(reasonUnfit, "%q is on a file system that is mounted read-only or noexec", at))
	}
	return errors.Join(found...)
}

// building asks for room where programs are built: a disk that fills up in the middle
// of it is found out after half an hour.
func (m machine) building() error {
	if len(m.missing) < assets.ManyPrograms {
		return nil
	}
	at := there(m.cache)
	s, err := m.disk(at)
	if err != nil {
		return fmt.Errorf("looking at the disk of %s: %w", at, err)
	}
	if free := s.Bavail * uint64(s.Bsize) >> 30; free < assets.LeastGiB {
		return refuse(reasonBuilding, "%d GiB are free at %q: building %d programs for the first time, and a factory of them, take up to %d", free, at, len(m.missing), assets.LeastGiB)
	}
	return nil
}

// there is the part of a path that exists.
func there(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || filepath.Dir(path) == path {
			return path
		}
		path = filepath.Dir(path)
	}
}

func (m machine) running(dir string) error {
	pid, running, err := Running(dir)
	if running {
		return refuse(reasonRunning, "a node runs with its data in %q, process %d", dir, pid)
	}
	return err
}

// realPath is the path without symbolic links, as far as it exists: what is asked
// of a path has to be asked of that one.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		found, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(found, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path {
			return "", fmt.Errorf("following %s: %w", path, err)
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}
