package gitverify

import (
	"context"
	"fmt"
	"slices"
)

// threeWay are the trees of a merge: of the one merge base, of the two parents,
// and of the merge itself.
type threeWay struct{ base, ours, theirs, got ID }

// unmechanical lists the paths for which whoever made the merge answers (rule
// T6): those where it has something else than a comparison of the other three
// gives without opening a file, and those that both sides changed, and not
// alike. The latter count as content whatever the merge made of them: that git
// can put the lines of two versions together says nothing about what they mean
// together. A merge is mechanical if there are none.
func (r objectReader) unmechanical(ctx context.Context, m threeWay) ([]string, error) {
	c := comparison{ctx: ctx, reader: r}
	err := c.merge("", 0, [4]treeEntry{rootEntry(m.base), rootEntry(m.ours), rootEntry(m.theirs), rootEntry(m.got)})
	if err != nil {
		return nil, fmt.Errorf("comparing the merged tree %s with its sides: %w", m.got, err)
	}
	paths := make([]string, len(c.changes))
	for i, change := range c.changes {
		paths[i] = change.path
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// merge compares what base, ours, theirs and the merge have at one path and
// below it. Where one side left everything alone, or both did the same, only
// the merge is looked at, and not at all if it is the expected subtree.
func (c *comparison) merge(path string, depth int, at [4]treeEntry) error {
	got := at[3]
	if want, conflict := threeWayEntry(at); !conflict {
		return c.diff(path, depth, want, got)
	}
	want, conflict := threeWayEntry([4]treeEntry{at[0].leaf(), at[1].leaf(), at[2].leaf()})
	if conflict || !want.same(got.leaf()) || mixed(at[0], at[1], at[2]) {
		if err := c.record(path, want, got.leaf()); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(at[:], treeEntry.dir) {
		return nil
	}
	return c.below(path, depth, at[:], func(path string, below []treeEntry) error {
		return c.merge(path, depth+1, [4]treeEntry(below))
	})
}

// mixed tells whether a path that both sides changed is a leaf on one side and
// a directory on the other, so that no tree can hold what both want, or was a
// leaf that became a directory.
func mixed(base, ours, theirs treeEntry) bool {
	leaf := func(e treeEntry) bool { return !e.leaf().absent() }
	return leaf(ours) && theirs.dir() || leaf(theirs) && ours.dir() || leaf(base) && (ours.dir() || theirs.dir())
}

// threeWayEntry is the entry that a merge must have, given those of the base
// and of the two sides, unless both sides changed it and not alike.
func threeWayEntry(at [4]treeEntry) (want treeEntry, conflict bool) {
	base, ours, theirs := at[0], at[1], at[2]
	switch {
	case ours.same(base), ours.same(theirs):
		return theirs, false
	case theirs.same(base):
		return ours, false
	default:
		return treeEntry{}, true
	}
}
