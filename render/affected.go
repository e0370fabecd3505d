package render

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"

	"sigs.k8s.io/kustomize/api/konfig"
)

// maxVisits bounds, as a multiple of Limits.Kustomizations, the directories
// that working out the closure of an overlay looks at.
const maxVisits = 20

// Closure lists the paths that rendering any component of an overlay looks at,
// sorted: a change elsewhere in the tree cannot change its manifests. It takes
// every kustomization below the overlay for a component, looks at the names that
// a kustomization file could have, and at directories on the way to a file, so
// it rather lists too much. Of an overlay that is not there it has the name.
//
// What cannot be rendered counts as far as it could be read. A change that broke
// it is in what was read before or after.
func (r *Renderer) Closure(tree fs.FS, overlay string, limits Limits) ([]string, error) {
	w, err := r.around(tree, overlay, limits)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(w.looked)), nil
}

// Files are the files of an overlay's closure that are there, sorted by path, with
// the digests of their content. What the tree names as content that was read
// before is not read again.
func (r *Renderer) Files(tree fs.FS, overlay string, limits Limits) ([]File, error) {
	w, err := r.around(tree, overlay, limits)
	if err != nil {
		return nil, err
	}
	out := make([]File, 0, len(w.files))
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		out = append(out, File{Path: name, Digest: "sha256:" + hex.EncodeToString(w.files[name].sum[:])})
	}
	return out, nil
}

// File is a file of a tree; Digest is "sha256:<hex>" of its content.
type File struct{ Path, Digest string }

// around walks every kustomization below an overlay.
func (r *Renderer) around(tree fs.FS, overlay string, limits Limits) (*walk, error) {
	limits = limits.withDefaults()
	root, err := resolve("", ".", overlay)
	if err != nil {
		return nil, err
	}
	w := r.walk(tree, limits)
	w.looked = map[string]bool{}
	roots, err := w.roots(root)
	if err != nil {
		return nil, err
	}
	visits := 0
	for _, dir := range roots {
		w.dirs, w.bytes, w.open = 0, 0, nil
		if _, err := tolerated(w.enter(dir, dir)); err != nil {
			return nil, err
		}
		if visits += w.dirs; visits > maxVisits*limits.Kustomizations {
			return nil, refuse(codeKustomizations, overlay, "more than %d kustomizations are visited", maxVisits*limits.Kustomizations)
		}
	}
	return w, nil
}

// tolerated takes a refusal for the end of what can be read.
func tolerated(err error) (refused bool, rest error) {
	var no *Refusal
	if errors.As(err, &no) {
		return true, nil
	}
	return false, err
}

// roots lists the directories with a kustomization file, from a directory down.
func (w *walk) roots(root string) ([]string, error) {
	entry, err := w.lookup(root, root)
	if refused, err := tolerated(err); refused || err != nil || !entry.IsDir() {
		return nil, err
	}
	var found []string
	queue := []string{root}
	for n := 0; n < len(queue); n++ {
		if n >= maxVisits*w.limits.Kustomizations {
			return nil, refuse(codeKustomizations, root, "more than %d directories are in the overlay", n)
		}
		dir := queue[n]
		entries, err := w.list(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			switch at := path.Join(dir, name); {
			case entries[name].IsDir():
				queue = append(queue, at)
			case !entries[name].IsRegular():
				w.look(at) // rendering refuses it where it is used
			}
		}
		if slices.ContainsFunc(konfig.RecognizedKustomizationFileNames(), func(name string) bool { _, ok := entries[name]; return ok }) {
			found = append(found, dir)
		}
	}
	return found, nil
}

// look records that a path was looked at, whether it is there or not.
func (w *walk) look(name string) {
	if w.looked != nil {
		w.looked[name] = true
	}
}
