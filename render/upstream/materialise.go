package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	basesDir  = "bases"
	lockName  = "upstream.lock"
	targetDir = "upstream"
	// Both are siblings of upstream/, so that a rename never crosses a file
	// system; their names are ignored by Git, and left-overs are removed.
	nextDir = ".upstream-next"
	lastDir = ".upstream-last"
)

// Materialise brings bases/*/upstream/ under root to what the locks pin, for the
// named components or, without names, for all. Every component is checked in
// full before the first one is replaced. Its error is a *Refusal (no), or
// anything else (could not tell); then no upstream/ has changed.
func Materialise(ctx context.Context, root string, names []string, get Downloader) ([]Component, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open the tree: %w", err)
	}
	defer r.Close()
	names, err = components(r, names)
	if err != nil {
		return nil, err
	}
	done := make([]Component, 0, len(names))
	for _, name := range names {
		c, err := stage(ctx, r, name, get)
		if err != nil {
			return nil, errors.Join(err, discard(r, names))
		}
		done = append(done, c)
	}
	for _, c := range done {
		if c.State == Current {
			continue
		}
		if err := swap(r, c.Name); err != nil {
			return nil, fmt.Errorf("replace upstream/ of %s: %w", c.Name, errors.Join(err, discard(r, names)))
		}
	}
	return done, discard(r, names)
}

// components are the directories of bases/ that have a lock, sorted.
func components(r *os.Root, names []string) ([]string, error) {
	entries, err := fs.ReadDir(r.FS(), basesDir)
	if err != nil {
		return nil, fmt.Errorf("list components: %w", err)
	}
	var found []string
	for _, e := range entries {
		dir := path.Join(basesDir, e.Name())
		// A link could make two components one, or write elsewhere in the tree.
		if e.Type()&fs.ModeSymlink != 0 {
			return nil, lockRefusal(e.Name(), dir, "upstream/link", "a component is a directory of bases/, not a link")
		}
		if !e.IsDir() {
			continue
		}
		if _, err := r.Lstat(path.Join(dir, lockName)); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("list components: %w", err)
		}
		found = append(found, e.Name())
	}
	if len(found) > maxComponents {
		return nil, fmt.Errorf("list components: %d have a lock: %w", len(found), errTooBig)
	}
	for _, n := range names {
		if !slices.Contains(found, n) {
			return nil, lockRefusal(n, "", "upstream/no-lock", "there is no bases/"+n+"/"+lockName)
		}
	}
	if len(names) > 0 {
		found = slices.Compact(slices.Sorted(slices.Values(names)))
	}
	return found, nil
}

func readLock(r *os.Root, name string) ([]byte, error) {
	p := path.Join(basesDir, name, lockName)
	info, err := r.Lstat(p)
	if err != nil {
		return nil, fmt.Errorf("read the lock: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, lockRefusal(name, p, "upstream/link", "the lock is a regular file, not a link")
	}
	return readFile(r, p, maxLockBytes)
}

// stage checks one component and, unless it is current, lays its files out
// beside upstream/.
func stage(ctx context.Context, r *os.Root, name string, get Downloader) (Component, error) {
	data, err := readLock(r, name)
	if err != nil {
		return Component{}, err
	}
	l, err := DecodeLock(name, data)
	if err != nil {
		return Component{}, err
	}
	c := Component{Name: name, Module: l.Spec.Module, Version: l.Spec.Version, Sum: l.Spec.Sum, Files: len(l.Spec.Files), State: Current}
	for _, f := range l.Spec.Files {
		c.Bytes += f.Size
	}
	ok, err := current(r, l)
	if err != nil || ok {
		return c, err
	}
	files, err := fetch(ctx, l, get)
	if err != nil {
		return Component{}, err
	}
	c.State = Written
	return c, layOut(r, l, files)
}

// fetch returns the files of a lock in its order, each one checked.
func fetch(ctx context.Context, l Lock, get Downloader) ([][]byte, error) {
	d, err := get(ctx, l)
	if err != nil {
		return nil, err
	}
	a, err := openArchive(d.Zip, l.Spec.Module, l.Spec.Version)
	if err != nil {
		return nil, err
	}
	sum, err := a.sum()
	if err != nil {
		return nil, err
	}
	if sum != l.Spec.Sum {
		return nil, sumRefusal(l, sum, "the module is not the one pinned: find out why before millwright vendor --update")
	}
	files := make([][]byte, len(l.Spec.Files))
	for i, f := range l.Spec.Files {
		data, err := a.take(l.Metadata.Name, f.From)
		if err != nil {
			return nil, err
		}
		if got := digest(data); got != f.SHA256 || int64(len(data)) != f.Size {
			return nil, &Refusal{
				Reason: ReasonMismatch, Code: "upstream/digest", Component: l.Metadata.Name, File: f.From,
				Want: fmt.Sprintf("%s (%d bytes)", f.SHA256, f.Size), Got: fmt.Sprintf("%s (%d bytes)", got, len(data)),
				Hint: "the lock pins another content of this file: review the file, then millwright vendor --update",
			}
		}
		files[i] = data
	}
	return files, nil
}

// current reports whether upstream/ holds exactly the files of the lock.
func current(r *os.Root, l Lock) (bool, error) {
	dir := path.Join(basesDir, l.Metadata.Name, targetDir)
	info, err := r.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", dir, err)
	}
	if !info.IsDir() {
		return false, lockRefusal(l.Metadata.Name, dir, "upstream/link", "upstream is a directory that millwright vendor owns: remove what is there")
	}
	want := make(map[string]File, len(l.Spec.Files))
	for _, f := range l.Spec.Files {
		want[f.To] = f
	}
	same := true
	err = fs.WalkDir(r.FS(), dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel := strings.TrimPrefix(p, dir+"/")
		f, listed := want[rel]
		delete(want, rel)
		if same = listed && e.Type().IsRegular(); !same {
			return fs.SkipAll
		}
		data, err := readFile(r, p, maxFileBytes)
		if errors.Is(err, errTooBig) {
			same = false
			return fs.SkipAll
		}
		if err != nil {
			return err
		}
		if same = digest(data) == f.SHA256; !same {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", dir, err)
	}
	return same && len(want) == 0, nil
}

// layOut writes the files to a directory of its own beside upstream/.
func layOut(r *os.Root, l Lock, files [][]byte) error {
	next := path.Join(basesDir, l.Metadata.Name, nextDir)
	if err := r.RemoveAll(next); err != nil {
		return fmt.Errorf("remove a left-over: %w", err)
	}
	for i, f := range l.Spec.Files {
		p := path.Join(next, f.To)
		if err := r.MkdirAll(path.Dir(p), 0o755); err != nil {
			return fmt.Errorf("lay out %s: %w", f.To, err)
		}
		if err := r.WriteFile(p, files[i], 0o644); err != nil {
			return fmt.Errorf("lay out %s: %w", f.To, err)
		}
	}
	return nil
}

// swap puts the laid out directory in the place of upstream/. Killed between the
// two renames it leaves no upstream/, never a mixed one; the next run mends that.
func swap(r *os.Root, name string) error {
	dir := path.Join(basesDir, name)
	now, next, last := path.Join(dir, targetDir), path.Join(dir, nextDir), path.Join(dir, lastDir)
	if err := r.RemoveAll(last); err != nil {
		return err
	}
	if err := r.Rename(now, last); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.Rename(next, now); err != nil {
		return errors.Join(err, r.Rename(last, now))
	}
	return nil
}

// discard removes what this run or a killed one left beside upstream/.
func discard(r *os.Root, names []string) error {
	var errs []error
	for _, n := range names {
		for _, d := range []string{nextDir, lastDir} {
			errs = append(errs, r.RemoveAll(path.Join(basesDir, n, d)))
		}
	}
	return errors.Join(errs...)
}

func readFile(r *os.Root, name string, limit int64) ([]byte, error) {
	f, err := r.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: %w", name, errTooBig)
	}
	return data, nil
}
