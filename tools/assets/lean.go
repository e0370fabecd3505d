package assets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
)

// LeastGiB is the free disk with which a first build of everything, and a factory
// after it, get by. ManyPrograms are as many as make it a first build: what one of
// them takes is small.
const (
	LeastGiB     = 12
	ManyPrograms = 10
)

// With keptGiB free, what programs are made of is kept: 10 GiB of modules and 14 of
// compiled packages, tests among them, which the next change of a program is built from. With
// less it goes into a folder of its own, which is emptied when it holds more than
// scratchGiB at the end of a module; until then modules share what they can.
const (
	keptGiB    = 29
	scratchGiB = 2
)

// lean says whether what so many programs are made of is too much to be kept.
func lean(missing int, freeGiB uint64) bool {
	return missing >= ManyPrograms && freeGiB < keptGiB
}

// ensureLean builds module by module, and leaves nothing but programs.
func (b builder) ensureLean(ctx context.Context, modules [][]asset) (Bin, error) {
	unlock, err := b.lock(ctx, "scratch")
	if err != nil {
		return Bin{}, err
	}
	defer unlock()
	scratch := filepath.Join(b.cache, "scratch")
	b.caches = []string{
		"GOCACHE=" + filepath.Join(scratch, "compiled"), "GOMODCACHE=" + filepath.Join(scratch, "modules"),
		"GOFLAGS=" + os.Getenv("GOFLAGS") + " -modcacherw", // else only root can remove them
	}
	all := Bin{files: map[string]string{}}
	for _, assets := range modules {
		// Here, too: whoever was killed left it.
		if err := emptied(scratch, scratchGiB<<30); err != nil {
			return Bin{}, err
		}
		bin, err := b.ensureAll(ctx, [][]asset{assets}, 1)
		if err != nil {
			return Bin{}, errors.Join(err, os.RemoveAll(scratch))
		}
		maps.Copy(all.files, bin.files)
	}
	return all, os.RemoveAll(scratch)
}

// emptied removes a folder that holds more than that many bytes.
func emptied(dir string, limit int64) error {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking at what builds left: %w", err)
	case size <= limit:
		return nil
	}
	return os.RemoveAll(dir)
}

// free is the room, in GiB, on the fuller one of the disks that the go command
// keeps things on.
func (t toolchain) free() (uint64, error) {
	least := ^uint64(0)
	for _, path := range []string{t.compiled, t.modules} {
		for !exists(path) && filepath.Dir(path) != path {
			path = filepath.Dir(path)
		}
		var s syscall.Statfs_t
		if err := syscall.Statfs(path, &s); err != nil {
			return 0, fmt.Errorf("looking at the disk of %s: %w", path, err)
		}
		least = min(least, s.Bavail*uint64(s.Bsize)>>30)
	}
	return least, nil
}
