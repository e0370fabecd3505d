package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sound are the files of a machine that lacks nothing.
func sound() map[string]string {
	files := map[string]string{
		"usr/sbin/nft": "x", "usr/bin/mount": "x", "usr/bin/cc": "x", "usr/bin/pkg-config": "x", "bin/umount": "x", "etc/hosts": "",
		"proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n",
	}
	for _, c := range controllers(1) {
		files["sys/fs/cgroup/"+c+"/tasks"] = ""
	}
	return files
}

// sound2 is sound with control groups of version 2.
func sound2() map[string]string {
	files := sound()
	for name := range files {
		if strings.HasPrefix(name, "sys/fs/cgroup/") {
			delete(files, name)
		}
	}
	files["sys/fs/cgroup/cgroup.controllers"] = "cpuset cpu io memory hugetlb pids rdma\n"
	files["sys/fs/cgroup/cgroup.subtree_control"] = "cpu memory pids\n"
	files["sys/fs/cgroup/cgroup.procs"] = "1\n7\n"
	return files
}

func with(files map[string]string, more ...string) map[string]string {
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return files
}

func without(files map[string]string, names ...string) map[string]string {
	for _, name := range names {
		delete(files, name)
	}
	return files
}

// disk is a disk with room and nothing against it.
func disk(change ...func(*unix.Statfs_t)) func(string) (unix.Statfs_t, error) {
	return func(string) (unix.Statfs_t, error) {
		s := unix.Statfs_t{Type: unix.EXT4_SUPER_MAGIC, Bsize: 4096, Bavail: 20 << 18}
		for _, c := range change {
			c(&s)
		}
		return s, nil
	}
}

// preflight is a machine, and what is wrong with it.
type preflight struct {
	files map[string]string
	// The zero values of these are good.
	user    int
	release string
	cache   string
	dir     string
	disk    func(string) (unix.Statfs_t, error)
	lacks   []string // reasons of kernel/…
	library error    // what looking for one says
	missing int      // programs
	want    []string // reasons
	detail  string   // in the error
}

func preflights() map[string]preflight {
	readOnly := func(path string) (unix.Statfs_t, error) {
		s, err := disk()(path)
		if strings.Contains(path, "cgroup") {
			s.Flags = unix.ST_RDONLY
		}
		return s, err
	}
	return map[string]preflight{
		"a machine that lacks nothing":                   {files: sound()},
		"one with control groups of version 2":           {files: sound2()},
		"not root":                                       {files: sound(), user: 1000, want: []string{reasonRoot}, detail: "user 1000"},
		"an old kernel":                                  {files: sound(), release: "5.4.0-generic", want: []string{reasonKernel}, detail: "5.4.0-generic"},
		"no nft":                                         {files: without(sound(), "usr/sbin/nft"), want: []string{reasonPrograms}, detail: "no nft in"},
		"no compiler":                                    {files: without(sound(), "usr/bin/cc"), want: []string{reasonCompiler}, detail: "no cc in"},
		"nothing that finds libraries":                   {files: without(sound(), "usr/bin/pkg-config"), want: []string{reasonCompiler}, detail: "no pkg-config in"},
		"a library is missing":                           {files: sound(), library: errors.New("exit status 1"), want: []string{reasonCompiler}, detail: "no libseccomp"},
		"little memory":                                  {files: with(sound(), "proc/meminfo", "MemAvailable: 6000000 kB\n"), want: []string{reasonMemory}, detail: "5.7 GiB"},
		"no file of names":                               {files: without(sound(), "etc/hosts"), want: []string{reasonHosts}},
		"version 1 without a controller":                 {files: without(sound(), "sys/fs/cgroup/pids/tasks"), want: []string{reasonCgroups}, detail: "(version 1) of pids"},
		"version 1 beside an empty one of version 2":     {files: with(sound(), "sys/fs/cgroup/unified/cgroup.controllers", "")},
		"no control groups at all":                       {files: without(sound(), cgroupFiles()...), want: []string{reasonCgroups}, detail: "cpu, cpuacct"},
		"version 2 without a controller":                 {files: with(sound2(), "sys/fs/cgroup/cgroup.controllers", "cpu memory"), want: []string{reasonCgroups}, detail: "(version 2) of cpuset, pids"},
		"read-only control groups":                       {files: sound2(), disk: readOnly, want: []string{reasonReadOnly}},
		"a container with processes in its root":         {files: with(sound2(), "sys/fs/cgroup/cgroup.type", "domain\n"), want: []string{reasonOccupied}, detail: "2 processes"},
		"one that passes everything on already":          {files: with(sound2(), "sys/fs/cgroup/cgroup.type", "domain\n", "sys/fs/cgroup/cgroup.subtree_control", "cpuset cpu io memory hugetlb pids")},
		"one whose root is empty":                        {files: with(sound2(), "sys/fs/cgroup/cgroup.type", "domain\n", "sys/fs/cgroup/cgroup.procs", "")},
		"a kernel that makes no namespaces":              {files: sound(), lacks: []string{reasonSpaces}, want: []string{reasonSpaces}},
		"a kernel without bridges":                       {files: sound(), lacks: []string{reasonBridge}, want: []string{reasonBridge}},
		"a kernel without veth":                          {files: sound(), lacks: []string{reasonVeth}, want: []string{reasonVeth}},
		"a kernel whose bridges no rule sees":            {files: sound(), lacks: []string{reasonNetfilter}, want: []string{reasonNetfilter}},
		"a kernel without nftables":                      {files: sound(), lacks: []string{reasonTables}, want: []string{reasonTables}},
		"a kernel without overlayfs":                     {files: sound(), lacks: []string{reasonOverlay}, want: []string{reasonOverlay}},
		"a folder that the node hides":                   {files: sound(), dir: "/var/lib/factory", want: []string{reasonHidden}, detail: `"/var/lib/factory" is below /var/lib`},
		"a folder whose name begins like it":             {files: sound(), dir: "/var/library"},
		"programs in one":                                {files: sound(), cache: "/run/user/0", want: []string{reasonCache}},
		"a full disk":                                    {files: sound(), disk: disk(func(s *unix.Statfs_t) { s.Bavail = 5 << 18 }), want: []string{reasonDisk}, detail: "5 GiB"},
		"a disk on which nothing can be built":           {files: sound(), disk: disk(func(s *unix.Statfs_t) { s.Bavail = 11 << 18 }), missing: 40, want: []string{reasonBuilding}, detail: "building 40 programs"},
		"one on which everything can, just so":           {files: sound(), disk: disk(func(s *unix.Statfs_t) { s.Bavail = 12 << 18 }), missing: 40},
		"one on which almost everything is built":        {files: sound(), disk: disk(func(s *unix.Statfs_t) { s.Bavail = 11 << 18 }), missing: 9},
		"a container's disk":                             {files: sound(), disk: disk(func(s *unix.Statfs_t) { s.Type = unix.OVERLAYFS_SUPER_MAGIC }), want: []string{reasonUnfit}, detail: "overlayfs"},
		"a disk that no program may run from":            {files: sound(), disk: disk(func(s *unix.Statfs_t) { s.Flags = unix.ST_NOEXEC }), want: []string{reasonUnfit}, detail: "noexec"},
		"an ordinary user's machine, everything at once": {files: without(sound(), "usr/sbin/nft", "etc/hosts"), user: 1, dir: "/run/x", want: []string{reasonHidden, reasonHosts, reasonRoot, reasonPrograms}},
	}
}

func cgroupFiles() []string {
	var names []string
	for name := range sound() {
		if strings.HasPrefix(name, "sys/fs/cgroup/") {
			names = append(names, name)
		}
	}
	return names
}

func TestAPreflightSaysAllThatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range preflights() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := c.machine(t)
			err := errors.Join(m.preflight(c.folder()), m.building())
			var got []string
			for _, r := range Refusals(err) {
				got = append(got, r.Reason)
				if r.Hint == "" || r.Detail == "" || strings.Contains(r.Error(), "\n") {
					t.Errorf("says too little, or too much: %v", r)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v: %v", got, c.want, err)
			}
			if (err == nil) != (c.want == nil) || c.detail != "" && !strings.Contains(err.Error(), c.detail) {
				t.Errorf("error is %v, want in it %q", err, c.detail)
			}
		})
	}
}

func TestEveryReasonHasAHintAndARow(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{reasonRunning: true, reasonPort: true} // have tests of their own
	for _, c := range preflights() {
		for _, reason := range c.want {
			seen[reason] = true
		}
	}
	for reason, hint := range hints() {
		if !seen[reason] || hint == "" {
			t.Errorf("%s has no row, or no hint", reason)
		}
	}
	for reason := range seen {
		if hints()[reason] == "" {
			t.Errorf("%s has no hint", reason)
		}
	}
}

func TestANodeThatWasThereBeforeNeedsLessRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := machine{disk: disk(func(s *unix.Statfs_t) { s.Bavail = 4 << 18 })}
	if got := Refusals(m.folder(dir)); len(got) != 1 || got[0].Reason != reasonDisk {
		t.Errorf("a new one: %v", got)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "data"), 0o700), m.folder(dir)); err != nil {
		t.Errorf("started again: %v", err)
	}
}

func TestALinkDoesNotHideWhereAFolderIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink("/var/lib", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	got, err := realPath(filepath.Join(dir, "link", "not", "yet"))
	if err != nil || got != "/var/lib/not/yet" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestPortsThatTheNodeTakesAreRefused(t *testing.T) {
	t.Parallel()
	for _, port := range []int{0, 6443, 10250, 70000} {
		_, err := Start(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "n"), Servers: map[int]int{port: 1}})
		if got := Refusals(err); len(got) != 1 || got[0].Reason != reasonPort {
			t.Errorf("port %d: %v", port, err)
		}
	}
}

func TestVersionsOfNftThatKubeProxyTakes(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"nftables v1.0.6 (Lester Gooch #5)": true, "nftables v1.0.1 (Fearless Fosdick #3)": true, "nftables v1.1.0 (x)": true,
		"nftables v2.0.0": true, "nftables v1.0.0 (x)": false, "nftables v0.9.8 (E.D.S.)": false, "": false,
	} {
		if got := fitsProxy(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func TestTryingTheKernelLeavesNothing(t *testing.T) {
	asRoot(t)
	before := stateOfTheMachine(t)
	possible(t, tryKernel())
	unchanged(t, before)
}

func TestWhoMayNotMakeNamespacesIsToldSo(t *testing.T) {
	t.Parallel()
	asRoot(t)
	cmd := be(t, "try", 0)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "refused: "+reasonSpaces+": making namespaces: operation not permitted") {
		t.Errorf("%v: %s", err, out)
	}
}

func (p preflight) folder() string {
	if p.dir != "" {
		return p.dir
	}
	return "/srv/factory"
}

// machine writes the files of the machine and describes it.
func (p preflight) machine(t *testing.T) machine {
	t.Helper()
	m := machine{root: t.TempDir(), user: p.user, release: p.release, cache: p.cache, disk: p.disk}
	for name, content := range p.files {
		file := filepath.Join(m.root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	m.missing = make([]string, p.missing)
	m.library = func(string, string) error { return p.library }
	m.kernel = func() error {
		var all []error
		for _, reason := range p.lacks {
			all = append(all, refuse(reason, "not supported"))
		}
		return errors.Join(all...)
	}
	if m.release == "" {
		m.release = "6.1.0-29-amd64"
	}
	if m.cache == "" {
		m.cache = "/srv/cache" // where anybody may look
	}
	if m.disk == nil {
		m.disk = disk()
	}
	return m
}
