package gitverify

import (
	"context"
	"slices"
)

// sight tells which of the changed paths a commit of a unit has seen as they
// were when the unit began. A branch that forked before somebody else changed a
// path speaks of another content than the one that is replaced: whoever vouched
// for the path there has not vouched for dropping that change. A merge that
// drops it is not mechanical, but somebody who may sign anything could put the
// old content back on the first-parent line first, and then both sides are alike
// (rule T5, row C06).
type sight struct {
	*walk
	unit  unitRange
	index map[string]int
	// bases are the merge bases of each member and of the commit before the unit.
	bases map[ID][]ID
	// missed are the paths that are not at a base what they are before the unit.
	missed map[ID]pathSet
}

func (w *walk) sightOf(ctx context.Context, u unitRange, index map[string]int) (*sight, error) {
	s := &sight{w, u, index, make(map[ID][]ID, len(u.members)), map[ID]pathSet{}}
	if err := w.memo.spend(len(u.members)); err != nil {
		return nil, err
	}
	for _, r := range u.members { // parents before children
		if err := s.fork(ctx, r); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// fork finds where a member's history meets what was accepted before the unit.
// What is no member is reachable from there.
func (s *sight) fork(ctx context.Context, r *record) error {
	var bases []ID
	for _, parent := range r.parents {
		if of, inside := s.bases[parent]; inside {
			bases = append(bases, of...)
		} else {
			bases = append(bases, parent)
		}
	}
	slices.Sort(bases)
	bases = slices.Compact(bases)
	switch {
	case slices.Contains(bases, s.unit.before.commit):
		bases = []ID{s.unit.before.commit}
	case len(bases) > 1: // some may be ancestors of others
		var err error
		if bases, err = s.forks(ctx, r.Commit); err != nil {
			return err
		}
	}
	s.bases[r.Commit] = bases
	return nil
}

// forks asks the graph, once for each commit of a unit.
func (s *sight) forks(ctx context.Context, id ID) ([]ID, error) {
	if bases, ok := s.memo.forks[id]; ok {
		return bases, nil
	}
	bases, err := mergeBases(ctx, descent{s.walk}, s.unit.before.commit, id)
	if err != nil {
		return nil, err
	}
	s.memo.keep(len(bases))
	s.memo.forks[id] = bases
	return bases, nil
}

// of leaves of some paths those that the commit has seen.
func (s *sight) of(ctx context.Context, r *record, paths pathSet) (pathSet, error) {
	for _, base := range s.bases[r.Commit] {
		if base == s.unit.before.commit {
			continue
		}
		missed, ok := s.missed[base]
		if !ok {
			var err error
			if missed, err = s.changedFrom(ctx, base, s.unit.before.tree, s.index); err != nil {
				return nil, err
			}
			s.missed[base] = missed
		}
		paths = paths.without(missed)
	}
	return paths, nil
}
