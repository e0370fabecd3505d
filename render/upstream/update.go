package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Update pins anew: for each component named (all, without names), at the
// version given or else at the version of its lock, it gets the module with the
// checksum database as the witness, and rewrites the lock's sums, sizes and
// digests. The list of files stays the author's. It returns what moved, and
// which further manifests lie beside those taken; it writes no upstream/.
// All locks are computed before the first is written.
func Update(ctx context.Context, root string, versions map[string]string, get Downloader) ([]Change, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open the tree: %w", err)
	}
	defer r.Close()
	names, err := components(r, slices.Collect(maps.Keys(versions)))
	if err != nil {
		return nil, err
	}
	var changes []Change
	next := make(map[string][]byte, len(names))
	for _, name := range names {
		l, moved, err := pin(ctx, r, name, versions[name], get)
		if err != nil {
			return nil, err
		}
		changes = append(changes, moved...)
		next[name] = l.encode()
	}
	for _, name := range names {
		if err := replaceLock(r, name, next[name]); err != nil {
			return changes, fmt.Errorf("write the lock of %s: %w", name, err)
		}
	}
	return changes, nil
}

func pin(ctx context.Context, r *os.Root, name, version string, get Downloader) (Lock, []Change, error) {
	data, err := readLock(r, name)
	if err != nil {
		return Lock{}, nil, err
	}
	old, err := decode(name, data)
	if err != nil {
		return Lock{}, nil, err
	}
	l := old
	if version != "" {
		l.Spec.Version = version
	}
	// Without pins: the old ones are not a reason to believe the new module.
	l.Spec.Sum, l.Spec.GoModSum = "", ""
	if err := l.check(name); err != nil {
		return Lock{}, nil, err
	}
	d, err := get(ctx, l)
	if err != nil {
		return Lock{}, nil, err
	}
	a, err := openArchive(d.Zip, l.Spec.Module, l.Spec.Version)
	if err != nil {
		return Lock{}, nil, err
	}
	if l.Spec.Sum, err = a.sum(); err != nil {
		return Lock{}, nil, err
	}
	l.Spec.GoModSum = d.GoModSum
	if l.Spec.Files, err = a.pinFiles(name, old.Spec.Files); err != nil {
		return Lock{}, nil, err
	}
	if err := l.checkPins(); err != nil {
		return Lock{}, nil, err
	}
	return l, append(moved(old, l), a.untaken(name, l.Spec.Files)...), nil
}

func (a *archive) pinFiles(component string, files []File) ([]File, error) {
	pinned := slices.Clone(files)
	for i, f := range pinned {
		data, err := a.take(component, f.From)
		if err != nil {
			return nil, err
		}
		pinned[i].Size, pinned[i].SHA256 = int64(len(data)), digest(data)
	}
	return pinned, nil
}

func moved(old, l Lock) []Change {
	name := l.Metadata.Name
	var changes []Change
	before := old.Spec.Version + " " + old.Spec.Sum
	if after := l.Spec.Version + " " + l.Spec.Sum; after != before {
		changes = append(changes, Change{Component: name, Old: before, New: after})
	}
	for i, f := range l.Spec.Files {
		if was := old.Spec.Files[i].SHA256; was != f.SHA256 {
			changes = append(changes, Change{Component: name, File: f.From, Old: was, New: f.SHA256})
		}
	}
	return changes
}

// untaken names manifests beside those taken, where a release adds its next
// CRD or role; leaving one out should be a decision.
func (a *archive) untaken(component string, files []File) []Change {
	dirs, taken := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		dirs[path.Dir(f.From)], taken[f.From] = true, true
	}
	var notes []Change
	for _, n := range slices.Sorted(slices.Values(a.names)) {
		rel := strings.TrimPrefix(n, a.prefix)
		if dirs[path.Dir(rel)] && path.Ext(rel) == ".yaml" && !taken[rel] {
			notes = append(notes, Change{Component: component, File: rel, Note: "not taken"})
		}
	}
	return notes
}

func replaceLock(r *os.Root, name string, data []byte) error {
	dir := path.Join(basesDir, name)
	next := path.Join(dir, nextDir)
	if err := r.RemoveAll(next); err != nil {
		return err
	}
	if err := r.WriteFile(next, data, 0o644); err != nil {
		return err
	}
	if err := r.Rename(next, path.Join(dir, lockName)); err != nil {
		return errors.Join(err, r.RemoveAll(next))
	}
	return nil
}
