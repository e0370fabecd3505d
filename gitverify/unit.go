package gitverify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// reach is what was found on the way down from a commit.
type reach struct {
	// order has parents before children.
	order []ID
	// roots have no parents; missing could not be read.
	roots   []ID
	missing map[ID]error
}

// newCommits lists what is reachable from a commit and was not judged yet,
// parents first: on all sides of merges (row C04).
func (w *walk) newCommits(ctx context.Context, tip ID) ([]ID, error) {
	found, err := w.descend(ctx, tip, func(id ID) bool {
		_, pending := w.pending[id]
		return pending || w.judged(id)
	})
	if err != nil {
		return nil, err
	}
	if len(found.roots) == 0 && len(found.missing) == 0 {
		return found.order, nil
	}
	// A side branch may have forked before the anchor: what the anchor itself
	// descends from is not in the range.
	if err := w.readAncestors(ctx); err != nil {
		return nil, err
	}
	old := func(id ID) bool { _, ok := w.ancestors[id]; return ok }
	for _, id := range slices.Sorted(maps.Keys(found.missing)) {
		if !old(id) {
			return nil, found.missing[id]
		}
	}
	for _, id := range found.roots {
		if old(id) {
			continue
		}
		if _, err := w.commit(ctx, id); err != nil {
			return nil, err
		}
		return nil, about(id, refuse(codeRoot, "a second root: it has no parent and is not the anchor"))
	}
	return slices.DeleteFunc(found.order, old), nil
}

// readAncestors numbers what the anchor descends from, as far as the objects
// are there; the names of missing ones count. All numbers are below the
// anchor's, which is 0.
func (w *walk) readAncestors(ctx context.Context) error {
	if w.ancestors != nil {
		return nil
	}
	found, err := w.descend(ctx, w.anchor(), func(ID) bool { return false })
	if err != nil {
		return err
	}
	ancestors := map[ID]int{}
	for id := range found.missing {
		ancestors[id] = -len(found.order) - 1
	}
	for i, id := range found.order {
		ancestors[id] = i + 1 - len(found.order)
	}
	w.ancestors = ancestors
	return nil
}

// descend walks down from a commit to what is known, without recursion, since
// a history may be longer than a stack.
func (w *walk) descend(ctx context.Context, tip ID, known func(ID) bool) (reach, error) {
	found := reach{missing: map[ID]error{}}
	visited := map[ID]struct{}{}
	type frame struct {
		id      ID
		parents []ID
	}
	var stack []frame
	enter := func(id ID) error {
		if _, ok := visited[id]; ok || known(id) {
			return nil
		}
		visited[id] = struct{}{}
		body, err := w.body(ctx, id)
		if errors.Is(err, ErrObjectMissing) {
			found.missing[id] = fmt.Errorf("the history is not complete: %w", err)
			return nil
		}
		if err != nil {
			return err
		}
		parents := looseParents(body)
		if len(parents) == 0 {
			found.roots = append(found.roots, id)
		}
		stack = append(stack, frame{id, parents})
		return nil
	}
	if err := enter(tip); err != nil {
		return reach{}, err
	}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if len(top.parents) == 0 {
			found.order = append(found.order, top.id)
			stack = stack[:len(stack)-1]
			continue
		}
		next := top.parents[0]
		top.parents = top.parents[1:]
		if err := enter(next); err != nil {
			return reach{}, err
		}
	}
	return found, nil
}

// parentsOf and order make the walk a graph: accepted and pending commits from
// memory, what lies before the anchor from the objects.
func (w *walk) parentsOf(ctx context.Context, id ID) ([]ID, error) {
	if r, ok := w.record(id); ok {
		return r.parents, nil
	}
	body, err := w.body(ctx, id)
	if errors.Is(err, ErrObjectMissing) {
		if _, old := w.ancestors[id]; old {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return looseParents(body), nil
}

func (w *walk) record(id ID) (*record, bool) {
	if r, ok := w.pending[id]; ok {
		return r, true
	}
	r, ok := w.known[id]
	return r, ok
}

// descent is the walk as mergeBases wants it. All searches of one unit together
// are bounded: each may visit the whole unit, and a ladder of merges has as many
// of them as it has steps (promise P6, row C48).
type descent struct{ *walk }

func (d descent) parents(ctx context.Context, id ID) ([]ID, error) {
	if err := d.memo.spend(0); err != nil {
		return nil, err
	}
	return d.parentsOf(ctx, id)
}

func (d descent) order(id ID) (int, bool) {
	if id == d.anchor() {
		return 0, true
	}
	if r, ok := d.record(id); ok {
		return r.order, true
	}
	n, ok := d.ancestors[id]
	return n, ok
}

// treeOf is the tree of any commit that the walk may compare with.
func (w *walk) treeOf(ctx context.Context, id ID) (ID, error) {
	if id == w.anchor() {
		return w.steps[0].tree, nil
	}
	if r, ok := w.record(id); ok {
		return r.tree, nil
	}
	c, err := w.commit(ctx, id)
	return c.tree, err
}
