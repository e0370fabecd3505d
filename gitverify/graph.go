package gitverify

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"slices"
)

// maxPainted bounds the commits that one search for merge bases visits.
const maxPainted = 1_000_000

// graph answers questions about descent. The order is a topological numbering:
// a commit has a higher number than its parents. Commits may be without a
// number if all of their ancestors are, too, such as those before the anchor.
type graph interface {
	parents(ctx context.Context, id ID) ([]ID, error)
	order(id ID) (number int, ok bool)
}

// What is known of a commit in the search for merge bases: that it is one of
// the sides or an ancestor of it, and that it is an ancestor of a common one.
const (
	ofA paint = 1 << iota
	ofB
	stale

	common = ofA | ofB
)

type paint uint8

// mergeBases lists all the best common ancestors of two commits: those that are
// no ancestor of another common one. There are several after a criss-cross
// merge, and none for unrelated histories.
//
// Commits are visited children first, so that all that is to be known of one is
// known when it is visited, and the search ends when only ancestors of common
// ones are left. Git orders by date and therefore has to look twice.
func mergeBases(ctx context.Context, g graph, a, b ID) ([]ID, error) {
	s := search{graph: g, paints: map[ID]paint{}, queued: map[ID]bool{}}
	s.add(a, ofA)
	s.add(b, ofB)
	for s.queue.Len() > 0 && (s.fresh > 0 || s.unordered) {
		if err := s.visit(ctx); err != nil {
			return nil, fmt.Errorf("looking for the merge bases of %s and %s: %w", a, b, err)
		}
	}
	bases := slices.DeleteFunc(s.bases, func(id ID) bool { return s.paints[id] != common })
	slices.Sort(bases)
	return slices.Compact(bases), nil
}

// search is the state of one search for merge bases.
type search struct {
	graph  graph
	paints map[ID]paint
	queue  numbered
	queued map[ID]bool
	// fresh counts the queued commits that are not stale.
	fresh int
	bases []ID
	// unordered means that a base has no number: then every ancestor has to be
	// visited, because one of another base may be found late.
	unordered bool
}

// add paints a commit, and queues it if there is news for its ancestors.
func (s *search) add(id ID, p paint) {
	before := s.paints[id]
	after := before | p
	if after == before {
		return
	}
	s.paints[id] = after
	if s.queued[id] {
		if before&stale == 0 && after&stale != 0 {
			s.fresh--
		}
		return
	}
	n, ok := s.graph.order(id)
	if !ok {
		n = math.MinInt
	}
	s.queued[id] = true
	heap.Push(&s.queue, numberedCommit{n, id})
	if after&stale == 0 {
		s.fresh++
	}
}

// visit passes on to its parents what is known of the highest queued commit.
func (s *search) visit(ctx context.Context) error {
	if len(s.paints) > maxPainted {
		return refuse(codeCommits, "more than %d commits between two sides of a merge", maxPainted)
	}
	c, _ := heap.Pop(&s.queue).(numberedCommit)
	s.queued[c.id] = false
	p := s.paints[c.id]
	if p&stale == 0 {
		s.fresh--
	}
	if p == common {
		s.bases = append(s.bases, c.id)
		s.unordered = s.unordered || c.number == math.MinInt
		p |= stale
	}
	parents, err := s.graph.parents(ctx, c.id)
	if err != nil {
		return err
	}
	for _, parent := range parents {
		s.add(parent, p)
	}
	return nil
}

// numbered is a heap with the highest number on top.
type numbered []numberedCommit

type numberedCommit struct {
	number int
	id     ID
}

func (q numbered) Len() int           { return len(q) }
func (q numbered) Less(i, j int) bool { return q[i].number > q[j].number }
func (q numbered) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *numbered) Push(x any) {
	c, _ := x.(numberedCommit)
	*q = append(*q, c)
}

// Pop implements heap.Interface.
func (q *numbered) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
