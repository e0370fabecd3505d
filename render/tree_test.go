package render_test

import (
	"errors"
	"io/fs"
	"sync"
	"testing/fstest"
)

// retyped shows one entry of a tree with another type, as a verified tree shows
// symbolic links and submodules, and fails when it is followed.
type retyped struct {
	fstest.MapFS
	name string
	mode fs.FileMode
}

func (r retyped) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == r.name {
		return nil, errors.New("followed")
	}
	entries, err := r.MapFS.ReadDir(name)
	for i, e := range entries {
		if name+"/"+e.Name() == r.name || name == "." && e.Name() == r.name {
			entries[i] = retypedEntry{e, r.mode}
		}
	}
	return entries, err
}

func (r retyped) ReadFile(name string) ([]byte, error) {
	if name == r.name {
		return nil, errors.New("followed")
	}
	return r.MapFS.ReadFile(name)
}

type retypedEntry struct {
	fs.DirEntry
	mode fs.FileMode
}

func (e retypedEntry) Type() fs.FileMode { return e.mode }
func (e retypedEntry) IsDir() bool       { return e.mode.IsDir() }

// watched records which files are opened or read.
type watched struct {
	fstest.MapFS
	mu   sync.Mutex
	seen map[string]bool
}

func (w *watched) note(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[name] = true
}

func (w *watched) Open(name string) (fs.File, error) {
	w.note(name)
	return w.MapFS.Open(name)
}

func (w *watched) ReadFile(name string) ([]byte, error) {
	w.note(name)
	return w.MapFS.ReadFile(name)
}
