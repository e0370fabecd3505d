package render

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
)

// closure is what a component reaches: the files, by their path in the tree, and
// the kustomizations, by their directory.
type closure struct {
	tree           fs.FS
	files          map[string]*file
	kustomizations map[string]*types.Kustomization
	// resources are the files that are read for their objects, asides those that
	// are for something else. touched says that a patch in a kustomization may be
	// about a definition.
	resources, asides map[string]bool
	touched           bool
}

// digest names the content of a closure with its paths.
func (c closure) digest() [sha256.Size]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(name))))
		h.Write([]byte(name))
		h.Write(c.files[name].sum[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// walk collects a closure as kustomize would, so that what is counted is what
// kustomize does: a base that is reached twice is read twice.
type walk struct {
	closure

	limits Limits
	known  *known
	// listings are the directories seen so far.
	listings map[string]map[string]listed
	// checked are the files whose YAML was found to be bearable.
	checked map[string]bool
	// open are the directories between the component and here.
	open  []string
	dirs  int
	bytes int64
	// looked are the paths that were looked at, where somebody wants to know.
	looked map[string]bool
}

// listed is an entry of a directory: its type, and the name of its content where
// the tree has one.
type listed struct {
	fs.FileMode

	id string
}

func (r *Renderer) walk(tree fs.FS, limits Limits) *walk {
	return &walk{
		closure: closure{tree: tree, files: map[string]*file{}, kustomizations: map[string]*types.Kustomization{}, resources: map[string]bool{}, asides: map[string]bool{}},
		limits:  limits, known: &r.known, listings: map[string]map[string]listed{}, checked: map[string]bool{},
	}
}

// reach returns the closure of the kustomization in dir.
func (r *Renderer) reach(tree fs.FS, dir string, limits Limits) (closure, error) {
	w := r.walk(tree, limits)
	entry, err := w.lookup(dir, dir)
	if err != nil {
		return closure{}, err
	}
	if !entry.IsDir() {
		return closure{}, refuse(codeMissing, dir, "a component is a directory")
	}
	if err := w.enter(dir, dir); err != nil {
		return closure{}, err
	}
	return w.closure, nil
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
	f, err := w.read(name, name, true)
	if err != nil {
		return err
	}
	k, err := w.known.kustomization(name, f, w.closure)
	if err != nil {
		return err
	}
	w.kustomizations[dir] = k
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
func (w *walk) list(dir string) (map[string]listed, error) {
	if known, ok := w.listings[dir]; ok {
		return known, nil
	}
	entries, err := fs.ReadDir(w.tree, dir)
	if err != nil {
		return nil, fmt.Errorf("reading directory %q: %w", dir, err)
	}
	listing := make(map[string]listed, len(entries))
	for _, e := range entries {
		entry := listed{FileMode: e.Type()}
		if named, ok := e.(interface{ ObjectID() string }); ok {
			entry.id = named.ObjectID()
		}
		listing[e.Name()] = entry
	}
	w.listings[dir] = listing
	return listing, nil
}

// lookup returns the type of an entry. Each directory on the way is looked at
// in its parent, where a link shows as one, so none is ever followed.
func (w *walk) lookup(at, name string) (listed, error) {
	entry := listed{FileMode: fs.ModeDir}
	if name == "." {
		return entry, nil
	}
	dir := "."
	for element := range strings.SplitSeq(name, "/") {
		if !entry.IsDir() {
			return listed{}, refuse(codeMissing, at, "%s is not a directory", dir)
		}
		entries, err := w.list(dir)
		if err != nil {
			return listed{}, err
		}
		dir = path.Join(dir, element)
		w.look(dir)
		found, ok := entries[element]
		switch {
		case !ok:
			return listed{}, refuse(codeMissing, at, "there is no %s", dir)
		case found.FileMode&fs.ModeSymlink != 0:
			return listed{}, refuse(codeSymlink, at, "%s is a symbolic link", dir)
		case found.FileMode&fs.ModeIrregular != 0:
			return listed{}, refuse(codeSubmodule, at, "%s is a submodule", dir)
		case !found.IsDir() && !found.IsRegular():
			return listed{}, refuse(codeSymlink, at, "%s is neither a file nor a directory", dir)
		}
		entry = found
	}
	return entry, nil
}

// aside adds a file that is read for something else than its objects.
func (w *walk) aside(at, dir, ref string, asYAML bool) error {
	if name, err := resolve(at, dir, ref); err == nil {
		w.asides[name] = true
	}
	return w.file(at, dir, ref, asYAML)
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

// read reads a regular file once and counts it every time.
func (w *walk) read(at, name string, asYAML bool) (*file, error) {
	f, known := w.files[name]
	if !known {
		entry, err := w.lookup(at, name)
		if err != nil {
			return nil, err
		}
		if !entry.IsRegular() {
			return nil, refuse(codeMissing, at, "%s is a directory, where a file is wanted", name)
		}
		if f, err = w.known.file(w.tree, name, entry.id, w.limits); err != nil {
			return nil, err
		}
		w.files[name] = f
	}
	if w.bytes += f.size; w.bytes > w.limits.TotalBytes {
		return nil, refuse(codeTotalSize, at, "the component reads more than %d bytes", w.limits.TotalBytes)
	}
	if asYAML && !w.checked[name] {
		if err := w.known.check(name, f, w.closure, w.limits); err != nil {
			return nil, err
		}
		w.checked[name] = true
	}
	return f, nil
}
