package gitverify

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A tree is compared with another as a set of leaves: files, symlinks,
// submodules, and directories with nothing in them. Git does not write empty
// directories, but it reads them; were they not leaves, a tree could change
// without any path to find a rule for (rule T4).
const emptyTree ID = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// Bounds of one comparison (promise P6). The tree objects of a bomb are few and
// small: each names the next one many times, and a thousand of them stand for
// more paths than there is memory.
const (
	maxDepth     = 64
	maxChanges   = 200_000
	maxPathBytes = 32 << 20
	maxEntries   = 5_000_000
)

// change is one leaf that two trees do not have alike; the zero entry stands
// for a leaf that is not there.
type change struct {
	path          string
	before, after treeEntry
}

func (e treeEntry) absent() bool { return e.mode == "" }

// dir tells whether there are leaves below the entry rather than at it.
func (e treeEntry) dir() bool { return e.mode == modeDir && e.id != emptyTree }

// leaf is the entry if it is a leaf, or else the zero entry.
func (e treeEntry) leaf() treeEntry {
	if e.dir() {
		return treeEntry{}
	}
	return e
}

// same compares mode and id, which is all that there is besides the name.
func (e treeEntry) same(f treeEntry) bool { return e.mode == f.mode && e.id == f.id }

// diff lists the leaves that two trees do not have alike, sorted by path. A
// mode is part of a leaf; a rename is a deletion and an addition. Subtrees with
// one id are not read, so that the cost follows the change. There is no change
// only if the trees are one.
func (r objectReader) diff(ctx context.Context, before, after ID) ([]change, error) {
	c := comparison{ctx: ctx, reader: r}
	if err := c.diff("", 0, rootEntry(before), rootEntry(after)); err != nil {
		return nil, fmt.Errorf("comparing trees %s and %s: %w", before, after, err)
	}
	slices.SortFunc(c.changes, func(a, b change) int { return strings.Compare(a.path, b.path) })
	return c.changes, nil
}

func rootEntry(tree ID) treeEntry { return treeEntry{mode: modeDir, id: tree} }

// comparison is one walk down several trees at once.
type comparison struct {
	ctx     context.Context
	reader  objectReader
	changes []change

	entries, pathBytes int
}

// diff compares what two trees have at one path and below it.
func (c *comparison) diff(path string, depth int, before, after treeEntry) error {
	if before.same(after) {
		return nil
	}
	if b, a := before.leaf(), after.leaf(); !b.same(a) {
		if err := c.record(path, b, a); err != nil {
			return err
		}
	}
	if !before.dir() && !after.dir() {
		return nil
	}
	return c.below(path, depth, []treeEntry{before, after}, func(path string, at []treeEntry) error {
		return c.diff(path, depth+1, at[0], at[1])
	})
}

// record keeps a leaf. The top of a tree is none, even of one that is empty.
func (c *comparison) record(path string, before, after treeEntry) error {
	if path == "" {
		return nil
	}
	c.pathBytes += len(path)
	if len(c.changes) == maxChanges || c.pathBytes > maxPathBytes {
		return at(path, refuse(codeUnit, "more than %d paths, or %d bytes of them, differ", maxChanges, maxPathBytes))
	}
	c.changes = append(c.changes, change{path, before, after})
	return nil
}

// below visits the names under a path that are not one and the same in all of
// the directories; what is not a directory has nothing below it.
func (c *comparison) below(path string, depth int, dirs []treeEntry, visit func(string, []treeEntry) error) error {
	if depth == maxDepth {
		return at(path, refuse(codeUnit, "directories nested deeper than %d", maxDepth))
	}
	lists := make([][]treeEntry, len(dirs))
	for i, d := range dirs {
		if !d.dir() {
			continue
		}
		var err error
		if lists[i], err = c.reader.readTree(c.ctx, d.id); err != nil {
			return at(orDot(path), err)
		}
		if c.entries += len(lists[i]); c.entries > maxEntries {
			return at(orDot(path), refuse(codeUnit, "more than %d directory entries to compare", maxEntries))
		}
	}
	return align(lists, func(name string, entries []treeEntry) error {
		if path != "" {
			name = path + "/" + name
		}
		return visit(name, entries)
	})
}

func orDot(path string) string {
	if path == "" {
		return "."
	}
	return path
}

// align visits every name that some of the lists have, with the entry that each
// list has for it, unless all have the same. The entries are in git's order, in
// which a directory stands elsewhere than a file of the same name would.
func align(lists [][]treeEntry, visit func(string, []treeEntry) error) error {
	rest := slices.Clone(lists)
	at := make([]treeEntry, len(lists))
	for {
		first, ok := lowest(rest)
		if !ok {
			return nil
		}
		alike := true
		for i, list := range rest {
			at[i] = treeEntry{}
			if len(list) > 0 && list[0].compare(first) == 0 {
				at[i], rest[i] = list[0], list[1:]
			}
			alike = alike && at[i].same(first)
		}
		if alike || other(lists, first, at) && first.mode == modeDir {
			continue // a file of this name came first, and this with it
		}
		if err := visit(first.name, slices.Clone(at)); err != nil {
			return err
		}
	}
}

// lowest is the first entry of all the lists in git's order.
func lowest(lists [][]treeEntry) (first treeEntry, ok bool) {
	for _, list := range lists {
		if len(list) > 0 && (!ok || list[0].compare(first) < 0) {
			first, ok = list[0], true
		}
	}
	return first, ok
}

// other fills in the entries of the same name and the other kind, a directory
// for a file and the reverse, and tells whether there are any.
func other(lists [][]treeEntry, e treeEntry, at []treeEntry) bool {
	probe := treeEntry{mode: modeDir, name: e.name}
	if e.mode == modeDir {
		probe.mode = modeFile
	}
	found := false
	for i, list := range lists {
		if n, ok := slices.BinarySearchFunc(list, probe, treeEntry.compare); ok {
			at[i], found = list[n], true
		}
	}
	return found
}

// compare is git's order of the entries of a tree: that of their sort keys.
func (e treeEntry) compare(f treeEntry) int {
	n := min(len(e.name), len(f.name))
	if c := strings.Compare(e.name[:n], f.name[:n]); c != 0 {
		return c
	}
	return int(e.keyByte(n)) - int(f.keyByte(n))
}

func (e treeEntry) keyByte(n int) byte {
	switch {
	case n < len(e.name):
		return e.name[n]
	case e.mode == modeDir:
		return '/'
	default:
		return 0
	}
}

// entry looks up what a tree has at a path, a directory too; the zero entry
// means that it has nothing there. Symlinks are entries, not ways.
func (r objectReader) entry(ctx context.Context, tree ID, path string) (treeEntry, error) {
	e := rootEntry(tree)
	for part := range strings.SplitSeq(path, "/") {
		if !e.dir() {
			return treeEntry{}, nil
		}
		entries, err := r.readTree(ctx, e.id)
		if err != nil {
			return treeEntry{}, at(path, err)
		}
		e = named(entries, part)
	}
	return e, nil
}

// named finds the entry of a name, which may stand in two places in git's order.
func named(entries []treeEntry, name string) treeEntry {
	for _, mode := range []entryMode{modeFile, modeDir} {
		if n, ok := slices.BinarySearchFunc(entries, treeEntry{mode: mode, name: name}, treeEntry.compare); ok {
			return entries[n]
		}
	}
	return treeEntry{}
}
