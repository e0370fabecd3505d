package gitverify

import (
	"context"
	"math/bits"
	"slices"
)

// Vouching is rule T5 path by path. Content *stands* in a commit as long as a
// chain of parent links from the unit's tip leads to it along which the path's
// entry stays what it is at the tip. Who signed such a commit vouches for the
// path in one of three ways: as the origin of the content, by an approval, or
// by signing as a human the merge that brought it to the first-parent line.
//
// Where a merge's entry is not what a mechanical merge gives, the merge is the
// last change of the path and its signer answers for it: nothing stands beyond
// it. Otherwise a merge that drops a fix could carry an old approval over it. For
// the same reason nobody vouches for a path from a branch that has not seen what
// the path was before the unit (see sight).

// maxStanding bounds commits × changed paths of one unit, in words of 64 paths.
const maxStanding = 4 << 20

// unitRange is what is judged together: some commits, from one tree to the tip's.
type unitRange struct {
	// members have parents before children; the last is the tip.
	members []*record
	// onLine tells which of them are on the first-parent line.
	onLine func(ID) bool
	// before is the step that they come after.
	before *acceptedStep
	// paths are the changed paths, from the tree before to the tip's.
	paths []string
}

// paths is a set of indices into unitRange.paths.
type pathSet []uint64

func newPathSet(n int) pathSet { return make(pathSet, (n+63)/64) }

func allPaths(n int) pathSet {
	s := newPathSet(n)
	for i := range n {
		s.add(i)
	}
	return s
}

func (s pathSet) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s pathSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s pathSet) merge(other pathSet) {
	for i := range s {
		s[i] |= other[i]
	}
}

func (s pathSet) and(other pathSet) pathSet {
	out := make(pathSet, len(s))
	for i := range s {
		out[i] = s[i] & other[i]
	}
	return out
}

func (s pathSet) without(other pathSet) pathSet {
	out := make(pathSet, len(s))
	for i := range s {
		out[i] = s[i] &^ other[i]
	}
	return out
}

func (s pathSet) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// vouched is one commit's word for some of the paths.
type vouched struct {
	by    *record
	paths pathSet
}

// vouchers finds who vouches for what, in the order of the commits.
func (w *walk) vouchers(ctx context.Context, u unitRange) ([]vouched, error) {
	if len(u.members)*(len(u.paths)/64+1) > maxStanding {
		return nil, refuse(codeUnit, "%d commits change %d paths at once", len(u.members), len(u.paths))
	}
	index := make(map[string]int, len(u.paths))
	for i, p := range u.paths {
		index[p] = i
	}
	standing := newStanding(u)
	sight, err := w.sightOf(ctx, u, index)
	if err != nil {
		return nil, err
	}
	var found []vouched
	for _, r := range slices.Backward(u.members) { // children before parents
		stands := standing.paths[r.Commit]
		if stands == nil || stands.count() == 0 {
			continue
		}
		own, passed, err := w.split(ctx, r, stands, index, u.onLine(r.Commit))
		if err != nil {
			return nil, err
		}
		standing.pass(passed)
		if r.Kind == KindApproval {
			own = stands
		}
		if r.Signer.Person == "" || own.count() == 0 {
			continue
		}
		if own, err = sight.of(ctx, r, own); err != nil {
			return nil, err
		}
		if own.count() > 0 {
			found = append(found, vouched{by: r, paths: own})
		}
	}
	return found, nil
}

// standing is what stands in each commit of a unit.
type standing struct {
	paths map[ID]pathSet
	size  int
}

// newStanding begins with the tip, in which all stands.
func newStanding(u unitRange) standing {
	s := standing{paths: map[ID]pathSet{}, size: len(u.paths)}
	for _, r := range u.members {
		s.paths[r.Commit] = nil
	}
	s.paths[u.members[len(u.members)-1].Commit] = allPaths(s.size)
	return s
}

// pass adds what stands in the parents of a commit. What is not of the unit was
// accepted before, and vouches for nothing in it.
func (s standing) pass(passed map[ID]pathSet) {
	for parent, paths := range passed {
		before, inside := s.paths[parent]
		if !inside {
			continue
		}
		if before == nil {
			before = newPathSet(s.size)
			s.paths[parent] = before
		}
		before.merge(paths)
	}
}

// split tells, of the paths that stand in a commit, which its signer answers for,
// as their origin or for having merged them into the first-parent line, and which
// each of its parents passed on to it. A merge speaks of what it brings to its
// first parent, and not of what was there: it may be made on top of something
// that waits for somebody else.
func (w *walk) split(ctx context.Context, r *record, stands pathSet, index map[string]int, onLine bool) (own pathSet, passed map[ID]pathSet, err error) {
	changed := make([]pathSet, len(r.parents))
	for i, parent := range r.parents {
		if changed[i], err = w.changedFrom(ctx, parent, r.tree, index); err != nil {
			return nil, nil, err
		}
	}
	decided := changed[0]
	if len(r.parents) > 1 {
		if decided, err = w.decided(ctx, r, changed, index); err != nil {
			return nil, nil, err
		}
	}
	passed = map[ID]pathSet{}
	for i, parent := range r.parents {
		passed[parent] = stands.without(changed[i]).without(decided)
	}
	own = stands.and(decided)
	if onLine {
		own.merge(stands.and(changed[0]))
	}
	return own, passed, nil
}

// decided are the paths of a merge that its signer answers for: all that is not
// mechanical, or, where nothing mechanical exists, all that differs from one of
// the parents (rule T6).
func (w *walk) decided(ctx context.Context, r *record, changed []pathSet, index map[string]int) (pathSet, error) {
	answer, err := w.answersFor(ctx, r)
	if err != nil {
		return nil, err
	}
	decided := newPathSet(len(index))
	if !answer.mechanical {
		for _, c := range changed {
			decided.merge(c)
		}
		return decided, nil
	}
	for _, p := range answer.paths {
		if i, ok := index[p]; ok {
			decided.add(i)
		}
	}
	return decided, nil
}

// changedFrom are the paths whose entry in a tree differs from that in a commit's.
func (w *walk) changedFrom(ctx context.Context, commit, tree ID, index map[string]int) (pathSet, error) {
	before, err := w.treeOf(ctx, commit)
	if err != nil {
		return nil, err
	}
	changes, err := w.diff(ctx, before, tree)
	if err != nil {
		return nil, err
	}
	set := newPathSet(len(index))
	if err := w.memo.spend(len(set) + len(changes)); err != nil {
		return nil, err
	}
	for _, c := range changes {
		if i, ok := index[c.path]; ok {
			set.add(i)
		}
	}
	return set, nil
}
