package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// errNoAgent means that the node is not ready yet, not that the volume is wrong.
var errNoAgent = errors.New("the agent's folder is not there yet")

// mountFlags go with every mount: a socket needs no more.
const mountFlags = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// publish mounts source at the target.
//
// The mount is made read-only before it is attached anywhere. With the older
// calls (bind, then remount) it is writable in between, and stays so in every
// other mount namespace: the flags of a remount do not propagate, and the
// container runtime of the node is in another namespace than this driver.
func publish(source, podsDir, target string) error {
	src, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: %s", errNoAgent, source)
	}
	if err != nil {
		return fmt.Errorf("opening the agent's folder: %w", err)
	}
	defer closeFD(src)
	want, err := statOf(src)
	if err != nil {
		return err
	}
	if want.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%w: %s is no folder", errNoAgent, source)
	}
	attr := unix.MountAttr{Attr_set: mountFlags}
	if err := unix.MountSetattr(src, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("making the mount read-only: %w", err)
	}
	dst, err := openTarget(podsDir, target, true)
	if err != nil {
		return err
	}
	defer closeFD(dst)
	there, err := statOf(dst)
	if err != nil {
		return err
	}
	if there.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return alreadyMounted(dst, there, want, target)
	}
	if err := unix.MoveMount(src, "", dst, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("attaching the mount: %w", err)
	}
	return nil
}

// alreadyMounted accepts what an earlier call has mounted, and nothing else.
func alreadyMounted(dst int, there, want unix.Statx_t, target string) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dst, &fs); err != nil {
		return fmt.Errorf("looking at what is mounted at the target: %w", err)
	}
	same := there.Ino == want.Ino && there.Dev_major == want.Dev_major && there.Dev_minor == want.Dev_minor
	if !same || fs.Flags&unix.ST_RDONLY == 0 {
		return refusal.New(reasonTarget, "unmount it, or wait until the kubelet does", "something else is mounted at %q", target)
	}
	return nil
}

// unpublish leaves neither mount nor folder at the target, whether there was
// one or not.
func unpublish(podsDir, target string) error {
	// Several, if somebody else has mounted there as well: a bound, not a plan.
	for range 8 {
		mounted, err := isMounted(podsDir, target)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		if !mounted {
			return removeTarget(target)
		}
		if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmounting: %w", err)
		}
	}
	return fmt.Errorf("mounts are piled up at %q", target)
}

func removeTarget(target string) error {
	// Not RemoveAll: what is in there, nobody but the agent has put there.
	if err := unix.Rmdir(target); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing the target: %w", err)
	}
	return nil
}

func isMounted(podsDir, target string) (bool, error) {
	fd, err := openTarget(podsDir, target, false)
	if err != nil {
		return false, err
	}
	defer closeFD(fd)
	stat, err := statOf(fd)
	return stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, err
}

// openTarget opens the target without following any symbolic link below the
// folder of pods, and makes it if it should.
func openTarget(podsDir, target string, create bool) (int, error) {
	rel := strings.TrimPrefix(target, podsDir+"/")
	root, err := os.Open(podsDir)
	if err != nil {
		return -1, fmt.Errorf("opening the kubelet's folder of pods: %w", err)
	}
	defer root.Close()
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if create {
		parent, err := unix.Openat2(int(root.Fd()), filepath.Dir(rel), &how)
		if err != nil {
			return -1, openError(target, err)
		}
		err = unix.Mkdirat(parent, filepath.Base(rel), 0o750)
		closeFD(parent)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, fmt.Errorf("making the target: %w", err)
		}
	}
	fd, err := unix.Openat2(int(root.Fd()), rel, &how)
	if err != nil {
		return -1, openError(target, err)
	}
	return fd, nil
}

// openError tells a link from what may be otherwise the next time.
func openError(target string, err error) error {
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOTDIR) {
		return refusal.New(reasonTarget, "remove the link", "the target %q leads elsewhere", target)
	}
	return fmt.Errorf("opening the target: %w", err)
}

// closeFD closes what was opened to look at or to mount: nothing was written
// that could be lost.
func closeFD(fd int) { _ = unix.Close(fd) }

func statOf(fd int) (unix.Statx_t, error) {
	var s unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE|unix.STATX_INO, &s); err != nil {
		return s, fmt.Errorf("looking at a folder: %w", err)
	}
	return s, nil
}
