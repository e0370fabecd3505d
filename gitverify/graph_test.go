package gitverify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// testGraph is a graph in memory; commits below unnumbered have no number.
type testGraph struct {
	up         map[ID][]ID
	number     map[ID]int
	unnumbered int
	asked      int
}

func (g *testGraph) parents(_ context.Context, id ID) ([]ID, error) {
	g.asked++
	up, ok := g.up[id]
	if !ok {
		return nil, fmt.Errorf("%s: %w", id, ErrObjectMissing)
	}
	return up, nil
}

func (g *testGraph) order(id ID) (int, bool) {
	n := g.number[id]
	return n, n >= g.unnumbered
}

// history makes commits with the real git: the parents of each by number, with
// dates that say nothing about their order.
func (g *realGit) history(random *rand.Rand, parents [][]int) []ID {
	g.t.Helper()
	var stream strings.Builder
	for i, up := range parents {
		fmt.Fprintf(&stream, "reset refs/heads/h%d\ncommit refs/heads/h%d\nmark :%d\ncommitter C <c@factory.test> %d +0000\ndata 0\n",
			i, i, i+1, 1_600_000_000+random.IntN(1000)*86400)
		for n, p := range up {
			fmt.Fprintf(&stream, "%s :%d\n", []string{"from", "merge"}[min(n, 1)], p+1)
		}
		fmt.Fprintf(&stream, "M 100644 inline f\ndata <<E\n%d\nE\n\n", i)
	}
	g.git(stream.String(), "fast-import", "--quiet", "--force")
	ids := make([]ID, len(parents))
	for i := range parents {
		ids[i] = ID(strings.TrimSpace(g.git("", "rev-parse", fmt.Sprintf("refs/heads/h%d", i))))
	}
	return ids
}

func randomParents(random *rand.Rand, commits int) [][]int {
	parents := make([][]int, commits)
	for i := 1; i < commits; i++ {
		if random.IntN(20) == 0 {
			continue // another root
		}
		for range 1 + random.IntN(3) {
			if p := max(0, i-1-random.IntN(6)); !slices.Contains(parents[i], p) {
				parents[i] = append(parents[i], p)
			}
		}
	}
	return parents
}

func TestMergeBasesAreThoseOfGit(t *testing.T) { // rule T6
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	several := 0
	for range 4 {
		g := newRealGit(t)
		parents := randomParents(random, 30)
		parents[24], parents[25] = []int{23}, []int{23}
		parents[26], parents[27] = []int{24, 25}, []int{25, 24} // a criss-cross in each
		ids := g.history(random, parents)
		graph := &testGraph{up: map[ID][]ID{}, number: map[ID]int{}}
		for i, up := range parents {
			graph.up[ids[i]], graph.number[ids[i]] = []ID{}, i
			for _, p := range up {
				graph.up[ids[i]] = append(graph.up[ids[i]], ids[p])
			}
		}
		for n := range 30 {
			a, b := ids[random.IntN(len(ids))], ids[random.IntN(len(ids))]
			if n == 0 {
				a, b = ids[26], ids[27]
			}
			out, _ := g.try("", "merge-base", "--all", string(a), string(b)) // it fails when there is none
			want := strings.Fields(out)
			slices.Sort(want)
			for _, graph.unnumbered = range []int{0, 10, 30} {
				got, err := mergeBases(t.Context(), graph, a, b)
				if err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("of %s and %s with %d commits without a number:\ngot  %v\nwant %v", a, b, graph.unnumbered, got, want)
				}
			}
			if len(want) > 1 {
				several++
			}
		}
	}
	if several < 4 {
		t.Error("a criss-cross without several merge bases")
	}
}

// line makes a graph in which each commit has the one before as its parent, and
// the given ones have further parents.
func line(n int, merges map[int][]int) *testGraph {
	g := &testGraph{up: map[ID][]ID{numberedID(0): nil}, number: map[ID]int{}}
	for i := range n {
		g.number[numberedID(i)] = i
		if i > 0 {
			g.up[numberedID(i)] = []ID{numberedID(i - 1)}
		}
		if up, ok := merges[i]; ok {
			g.up[numberedID(i)] = nil
			for _, p := range up {
				g.up[numberedID(i)] = append(g.up[numberedID(i)], numberedID(p))
			}
		}
	}
	return g
}

func numberedID(n int) ID { return ID(fmt.Sprintf("%040x", n)) }

func TestACrissCrossHasSeveralMergeBases(t *testing.T) { // row C06
	t.Parallel()
	// 0 forks into 1 and 2; 3 and 4 each merge both.
	g := line(5, map[int][]int{1: {0}, 2: {0}, 3: {1, 2}, 4: {2, 1}})
	got, err := mergeBases(t.Context(), g, numberedID(3), numberedID(4))
	if err != nil || !slices.Equal(got, []ID{numberedID(1), numberedID(2)}) {
		t.Errorf("got %v, %v", got, err)
	}
	// Its twin, without one of the crossings, has one.
	g = line(5, map[int][]int{1: {0}, 2: {0}, 3: {1, 2}, 4: {2}})
	got, err = mergeBases(t.Context(), g, numberedID(3), numberedID(4))
	if err != nil || !slices.Equal(got, []ID{numberedID(2)}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTheSearchForMergeBasesFollowsTheFork(t *testing.T) {
	t.Parallel()
	// A branch of one commit that left a line of ten thousand at its end.
	g := line(10_002, map[int][]int{10_001: {9_998}})
	got, err := mergeBases(t.Context(), g, numberedID(10_000), numberedID(10_001))
	if err != nil || !slices.Equal(got, []ID{numberedID(9_998)}) {
		t.Fatalf("got %v, %v", got, err)
	}
	if g.asked > 6 {
		t.Errorf("%d commits were visited", g.asked)
	}
}

func TestMergeBasesCannotBeToldWhenHistoryIsMissing(t *testing.T) { // row C09
	t.Parallel()
	g := line(5, map[int][]int{4: {1}})
	delete(g.up, numberedID(2))
	if got, err := mergeBases(t.Context(), g, numberedID(3), numberedID(4)); !errors.Is(err, ErrObjectMissing) {
		t.Errorf("got %v, %v", got, err)
	}
}
