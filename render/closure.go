package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
)

// closure is what a component reaches: the files, by their path in the tree.
type closure map[string][]byte

// digest names the content of a closure with its paths.
func (c closure) digest() [sha256.Size]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c)) {
		sum := sha256.Sum256(c[name])
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(name))))
		h.Write([]byte(name))
		h.Write(sum[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// walk collects a closure as kustomize would, so that what is counted is what
// kustomize does: a base that is reached twice is read twice.
type walk struct {
	tree    fs.FS
	limits  Limits
	cleared *cleared
	files   closure
	// listings are the directories seen so far, with the type of each entry.
	listings map[string]map[string]fs.FileMode
	// checked are the files whose YAML was found to be bearable.
	checked map[string]bool
	// open are the directories between the component and here.
	open  []string
	dirs  int
	bytes int64
	// looked are the paths that were looked at, where somebody wants to know.
	looked map[string]bool
}

// reach returns the closure of the kustomization in dir.
func (r *Renderer) reach(tree fs.FS, dir string, limits Limits) (closure, error) {
	w := &walk{
		tree: tree, limits: limits, cleared: &r.cleared, files: closure{},
		listings: map[string]map[string]fs.FileMode{}, checked: map[string]bool{},
	}
	mode, err := w.lookup(dir, dir)
	if err != nil {
		return nil, err
	}
	if !mode.IsDir() {
		return nil, refuse(codeMissing, dir, "a component is a directory")
	}
	if err := w.enter(dir, dir); err != nil {
		return nil, err
	}
	return w.files, nil
}

// enter walks the kustomization of a directory that the file at refers to.
func (w *walk) enter(at, dir string) error {
	for _, above := range w.open {
		// kustomize refuses parents too: they would reach this one again.
		if dir == above || within(dir, above) {
			return refuse(codeCycle, at, "%s leads back to %s", above, dir)
		}
	}
	if w.dirs++; w.dirs > w.limits.Kustomizations {
		return refuse(codeKustomizations, at, "more than %d kustomizations are visited", w.limits.Kustomizations)
	}
	name, err := w.find(dir)
	if err != nil {
		return err
	}
	text, err := w.read(name, name, true)
	if err != nil {
		return err
	}
	k, err := parseKustomization(name, text)
	if err != nil {
		return err
	}
	w.open = append(w.open, dir)
	defer func() { w.open = w.open[:len(w.open)-1] }()
	return w.follow(name, dir, k)
}

// find returns the one kustomization file of a directory.
func (w *walk) find(dir string) (string, error) {
	entries, err := w.list(dir)
	if err != nil {
		return "", err
	}
	var found []string
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		w.look(path.Join(dir, name))
		if _, ok := entries[name]; ok {
			found = append(found, path.Join(dir, name))
		}
	}
	switch len(found) {
	case 0:
		return "", refuse(codeMissing, dir, "the directory has no kustomization.yaml")
	case 1:
		return found[0], nil
	}
	return "", refuse(codeKustomization, dir, "more than one kustomization file: %s", strings.Join(found, ", "))
}

// list returns the entries of a directory that is known to be one.
func (w *walk) list(dir string) (map[string]fs.FileMode, error) {
	if known, ok := w.listings[dir]; ok {
		return known, nil
	}
	entries, err := fs.ReadDir(w.tree, dir)
	if err != nil {
		return nil, fmt.Errorf("reading directory %q: %w", dir, err)
	}
	listing := make(map[string]fs.FileMode, len(entries))
	for _, e := range entries {
		listing[e.Name()] = e.Type()
	}
	w.listings[dir] = listing
	return listing, nil
}

// lookup returns the type of an entry. Each directory on the way is looked at
// in its parent, where a link shows as one, so none is ever followed.
func (w *walk) lookup(at, name string) (fs.FileMode, error) {
	mode := fs.ModeDir
	if name == "." {
		return mode, nil
	}
	dir := "."
	for element := range strings.SplitSeq(name, "/") {
		if !mode.IsDir() {
			return 0, refuse(codeMissing, at, "%s is not a directory", dir)
		}
		entries, err := w.list(dir)
		if err != nil {
			return 0, err
		}
		dir = path.Join(dir, element)
		w.look(dir)
		found, ok := entries[element]
		switch {
		case !ok:
			return 0, refuse(codeMissing, at, "there is no %s", dir)
		case found&fs.ModeSymlink != 0:
			return 0, refuse(codeSymlink, at, "%s is a symbolic link", dir)
		case found&fs.ModeIrregular != 0:
			return 0, refuse(codeSubmodule, at, "%s is a submodule", dir)
		case !found.IsDir() && !found.IsRegular():
			return 0, refuse(codeSymlink, at, "%s is neither a file nor a directory", dir)
		}
		mode = found
	}
	return mode, nil
}

// file adds a file that the kustomization at, in dir, names.
func (w *walk) file(at, dir, ref string, asYAML bool) error {
	name, err := resolve(at, dir, ref)
	if err != nil {
		return err
	}
	if _, err := w.lookup(at, name); err != nil {
		return err // what is missing or a link is more worth knowing
	}
	if !within(dir, name) {
		return refuse(codeOutsideRoot, at, "the file %s is not below %s", name, dir)
	}
	_, err = w.read(at, name, asYAML)
	return err
}

// lfsPointer begins a file whose content is elsewhere (Git LFS specification).
var lfsPointer = []byte("version https://git-lfs.github.com/spec/")

// read reads a regular file once and counts it every time.
func (w *walk) read(at, name string, asYAML bool) ([]byte, error) {
	content, known := w.files[name]
	if !known {
		mode, err := w.lookup(at, name)
		if err != nil {
			return nil, err
		}
		if !mode.IsRegular() {
			return nil, refuse(codeMissing, at, "%s is a directory, where a file is wanted", name)
		}
		if content, err = w.content(name); err != nil {
			return nil, err
		}
		w.files[name] = content
	}
	if w.bytes += int64(len(content)); w.bytes > w.limits.TotalBytes {
		return nil, refuse(codeTotalSize, at, "the component reads more than %d bytes", w.limits.TotalBytes)
	}
	if asYAML && !w.checked[name] {
		if err := w.cleared.check(name, content, w.limits); err != nil {
			return nil, err
		}
		w.checked[name] = true
	}
	return content, nil
}

func (w *walk) content(name string) ([]byte, error) {
	file, err := w.tree.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	info, err := file.Stat()
	if err == nil && info.Size() > w.limits.FileBytes {
		err = refuse(codeFileSize, name, "%d bytes, more than %d", info.Size(), w.limits.FileBytes)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	content, err := fs.ReadFile(w.tree, name)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	if bytes.HasPrefix(content, lfsPointer) {
		return nil, refuse(codeLFS, name, "a Git LFS pointer, not the file")
	}
	return content, nil
}
