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
	found, err := w.descend(ctx, tip)
	if err != nil {
		return nil, err
	}
	if len(found.roots) == 0 && len(found.missing) == 0 {
		return found.order, nil
	}
	// A side branch may have forked before the anchor: what the anchor itself
	// descends from is not in the range.
	if w.ancestors == nil {
		if w.ancestors, err = w.ancestorsOf(ctx, w.request.Anchor); err != nil {
			return nil, err
		}
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

// descend walks down from a commit to what was judged, without recursion,
// since a history may be longer than a stack.
func (w *walk) descend(ctx context.Context, tip ID) (reach, error) {
	found := reach{missing: map[ID]error{}}
	visited := map[ID]struct{}{}
	type frame struct {
		id      ID
		parents []ID
	}
	var stack []frame
	enter := func(id ID) error {
		if w.judged(id) {
			return nil
		}
		if _, ok := visited[id]; ok {
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

func (w *walk) judged(id ID) bool {
	_, accepted := w.seen[id]
	_, pending := w.unitSeen[id]
	return accepted || pending
}

// policyOf reads the trust policy of a tree.
func (w *walk) policyOf(ctx context.Context, tree ID) (Policy, ID, error) {
	path := w.options.PolicyPath
	e, ok, err := w.reader.find(ctx, tree, path)
	if err != nil {
		return Policy{}, "", fmt.Errorf("reading the trust policy: %w", err)
	}
	if !ok {
		return Policy{}, "", at(path, refuse(codePolicy, "the file is not there"))
	}
	if w.frontier != nil && e.id == w.policyBlob && e.mode == modeFile {
		return w.policy, e.id, nil
	}
	if e.mode != modeFile {
		return Policy{}, "", at(path, refuse(codePolicy, "not a regular file"))
	}
	body, err := w.reader.read(ctx, e.id, "blob", maxPolicy, codePolicy)
	if err != nil {
		return Policy{}, "", at(path, err)
	}
	policy, err := DecodePolicy(body)
	return policy, e.id, at(path, err)
}

// at names the file in a refusal.
func at(path string, err error) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	named := *r
	named.Path = path
	return &named
}

// checkPolicyChange fills in the policy that the step brings, and refuses one
// that is not newer than that of the last accepted commit and of every parent
// it differs from (rule T8): an old policy must not come back by a merge or a
// plain revert.
func (w *walk) checkPolicyChange(ctx context.Context, s *step) error {
	var err error
	if s.policy, s.policyBlob, err = w.policyOf(ctx, s.tree); err != nil {
		return about(s.commit, err)
	}
	if err := s.newerThan(w.policy, w.policyBlob, w.head, w.options.PolicyPath); err != nil {
		return err
	}
	for _, parent := range s.parents {
		if _, old := w.ancestors[parent]; old || parent == w.head {
			continue // trusted by the anchor's id, or compared already
		}
		c, err := w.commit(ctx, parent)
		if err != nil {
			return err
		}
		policy, blob, err := w.policyOf(ctx, c.tree)
		// Bytes that are not the parent's own must not hide the version it states.
		if no, ok := errors.AsType[*Refusal](err); ok && no.Code != codeHash && no.Code != codeCollision {
			continue // it states no version to be compared with
		}
		if err != nil {
			return err
		}
		if err := s.newerThan(policy, blob, parent, w.options.PolicyPath); err != nil {
			return err
		}
	}
	return nil
}

func (s *step) newerThan(old Policy, blob, commit ID, path string) error {
	if s.policyBlob == blob || s.policy.Version > old.Version {
		return nil
	}
	return about(s.commit, at(path, refuse(codePolicyVersion,
		"the policy changed, but its version %d is not higher than version %d of %s", s.policy.Version, old.Version, commit)))
}
