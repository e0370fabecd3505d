package node

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMountsStayInTheNode has a machine of its own kind: a mount namespace, in
// which the node's is made. So the test's machine may be of any kind, and what
// comes out of the node is seen.
func TestMountsStayInTheNode(t *testing.T) {
	t.Parallel()
	asRoot(t)
	possible(t, tryKernel())
	for name, machine := range map[string]string{
		"a machine whose mounts are private":               "private",
		"a machine whose mounts are shared, as of systemd": "shared",
		"resolv.conf is a link into /run":                  "shared link",
		"resolv.conf leads nowhere":                        "shared dangling",
		"resolv.conf is not there":                         "shared absent",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := be(t, "machine", syscall.CLONE_NEWNS, "MACHINE="+machine, "DIR="+t.TempDir())
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "the node was there") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// beMachine makes this mount namespace a machine of some kind, runs the node's
// mounts in one of its own, and looks at what is different then.
func beMachine() int {
	kind := strings.Fields(os.Getenv("MACHINE"))
	shared := map[string]uintptr{"private": unix.MS_PRIVATE, "shared": unix.MS_SHARED}
	// Never a peer of the real machine's.
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	err = errors.Join(err, unix.Mount("", "/", "", unix.MS_REC|shared[kind[0]], ""))
	if len(kind) > 1 {
		err = errors.Join(err, makeEtc(kind[1]))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	before, err := machineState()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helper+"=mounts")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	out, err := cmd.CombinedOutput()
	fmt.Printf("%s", out)
	if err != nil {
		fmt.Println("in the node:", err)
		return 1
	}
	after, err := machineState()
	if before != after || err != nil {
		fmt.Printf("before:\n%s\nafter:\n%s\n%v\n", before, after, err)
		return 1
	}
	return 0
}

// makeEtc puts an /etc there whose resolv.conf is of some kind.
func makeEtc(kind string) error {
	err := errors.Join(unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"), unix.Mount("tmpfs", "/etc", "tmpfs", 0, "mode=755"), os.WriteFile("/etc/hosts", nil, 0o600))
	switch kind {
	case "link":
		// As systemd-resolved has it, and once more.
		return errors.Join(err, os.MkdirAll("/run/systemd/resolve", 0o700), os.WriteFile("/run/systemd/resolve/stub-resolv.conf", []byte("theirs"), 0o600),
			os.Symlink("../run/systemd/resolve/stub-resolv.conf", "/etc/link"), os.Symlink("link", "/etc/resolv.conf"))
	case "dangling":
		return errors.Join(err, os.Symlink("/srv/none/resolv.conf", "/etc/resolv.conf"))
	}
	return err
}

// machineState is what a node must not change.
func machineState() (string, error) {
	var b strings.Builder
	files := []string{"/proc/self/mountinfo", "/proc/sys/kernel/hostname"}
	for _, name := range slices.Sorted(maps.Keys(tunables())) {
		files = append(files, filepath.Join("/proc/sys", name))
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s: %s\n", file, data)
	}
	for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		data, err := os.ReadFile(file)
		fmt.Fprintf(&b, "%s: %q %v\n", file, data, errors.Is(err, os.ErrNotExist))
	}
	return b.String(), nil
}

// beMounts makes the node's mounts and says whether they are what they should be.
func beMounts() int {
	f := floor{Dir: os.Getenv("DIR")}
	if err := errors.Join(os.MkdirAll(filepath.Join(f.Dir, "run"), 0o700), f.mounts()); err != nil {
		fmt.Println(err)
		return 1
	}
	read := func(file string) string {
		data, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(data))
	}
	want := map[string]string{"/proc/sys/kernel/hostname": Name}
	for name, value := range tunables() {
		want["/proc/sys/"+name] = value
	}
	switch os.Getenv("MACHINE") {
	case "shared dangling", "shared absent":
		if exists("/etc/resolv.conf") == nil || exists("/srv/none") == nil {
			fmt.Println("a file was made on the machine")
			return 1
		}
	default:
		want["/etc/resolv.conf"] = read(filepath.Join(f.Dir, "run", "resolv.conf"))
	}
	want["/etc/hosts"] = read(filepath.Join(f.Dir, "run", "hosts"))
	for file, content := range want {
		if got := read(file); got != content {
			fmt.Printf("%s is %q, want %q\n", file, got, content)
			return 1
		}
	}
	if self, err := os.Readlink("/proc/self"); err != nil || self != "1" {
		fmt.Printf("/proc is another's: %q %v\n", self, err)
		return 1
	}
	if entries, err := os.ReadDir("/sys/fs/cgroup"); err != nil || len(entries) == 0 {
		fmt.Printf("no control groups: %v\n", err)
		return 1
	}
	for _, place := range folders() {
		if err := os.WriteFile(filepath.Join(place, "written"), nil, 0o600); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	for name := range folders() {
		if err := exists(filepath.Join(f.Dir, "data", name, "written")); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("the node was there")
	return 0
}
