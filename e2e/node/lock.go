package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile of a node's folder is locked while a node runs there, by whoever
// started it and by all of its own processes: it is free when the last of them is
// gone, however they ended. Its content is the number of the first process.
const lockFile = "lock"

// leaving is how long a node may take that the kernel is ending: a second or two
// with all its pods, on a machine that has other work.
const leaving = 10 * time.Second

// hold takes the folder, and waits for a node that is being ended.
func hold(dir string, patience time.Duration) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, f.Truncate(0)
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("locking %s: %w", f.Name(), err), f.Close())
		case time.Now().After(deadline):
			return nil, errors.Join(refuse(reasonRunning, "a node runs with its data in %q", dir), f.Close())
		}
	}
}

// Running says whether a node runs with its data in dir, and which process is its
// first: 0 for one that is just being started. A number that stands somewhere else
// may be another process by now.
func Running(dir string) (pid int, running bool, err error) {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, false, err
	}
	data, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, true, err
	}
	pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
	return pid, true, nil
}

// Clean removes what a node that was killed has left on the machine besides its
// folder, which are control groups; the folder need not be there any more. It waits
// for a node that is being ended, and refuses while one runs.
func Clean(dir string) error { return clean(dir, leaving) }

func clean(dir string, patience time.Duration) error {
	dir, err := realPath(dir)
	if err != nil {
		return err
	}
	lock, err := hold(dir, patience)
	if err == nil {
		defer lock.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return theCgroups().remove(ControlGroup(dir), leaving)
}
