package gitverify

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wantUnmechanical is the rule path by path, over all leaves and without any
// short cut.
func wantUnmechanical(base, ours, theirs, got leaves) []string {
	paths := map[string]bool{}
	all := map[string]bool{}
	for _, tree := range []leaves{base, ours, theirs, got} {
		for path := range tree {
			all[path] = true
		}
	}
	for path := range all {
		b, o, th, g := base[path], ours[path], theirs[path], got[path]
		want, conflict := th, false
		switch {
		case o == b || o == th:
		case th == b:
			want = o
		default:
			conflict = true
		}
		if conflict || g != want {
			paths[path] = true
		}
	}
	for path := range all {
		b, o, th := entryOf(path, base), entryOf(path, ours), entryOf(path, theirs)
		kinds := leafAndDir(o, th) || leafAndDir(th, o) || leafAndDir(b, o) || leafAndDir(b, th)
		if o != b && th != b && o != th && kinds {
			paths[path] = true
		}
	}
	list := []string{}
	for path := range paths {
		list = append(list, path)
	}
	slices.Sort(list)
	return list
}

// wholeEntry is what a tree has at a path and below it.
type wholeEntry struct {
	leaf  leafContent
	below string
}

func entryOf(path string, tree leaves) wholeEntry {
	return wholeEntry{tree[path], below(path, tree)}
}

func leafAndDir(leaf, dir wholeEntry) bool { return leaf.leaf.mode != "" && dir.below != "" }

// below prints all that a tree has below a path.
func below(path string, tree leaves) string {
	var b []string
	for p, l := range tree {
		if strings.HasPrefix(p, path+"/") {
			b = append(b, fmt.Sprint(p, l))
		}
	}
	slices.Sort(b)
	return strings.Join(b, "\n")
}

func TestWhatIsNotMechanicalIsListedPathByPath(t *testing.T) { // rule T6
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const merges = 1000
	var all []leaves
	for range merges {
		base := randomTree(random)
		ours, theirs := base.changed(random), base.changed(random)
		all = append(all, base, ours, theirs, []leaves{ours, theirs, ours.changed(random), union(base, ours, theirs)}[random.IntN(4)])
	}
	g := newRealGit(t)
	ids := g.trees(all)
	mechanical := 0
	for i := 0; i < len(all); i += 4 {
		got, err := g.reader().unmechanical(t.Context(), threeWay{ids[i], ids[i+1], ids[i+2], ids[i+3]})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			mechanical++
			got = []string{}
		}
		if diff := cmp.Diff(wantUnmechanical(all[i], all[i+1], all[i+2], all[i+3]), got); diff != "" {
			t.Errorf("base %v\nours %v\ntheirs %v\ngot %v\n%s", all[i], all[i+1], all[i+2], all[i+3], diff)
		}
	}
	if mechanical < merges/10 || mechanical > merges*9/10 {
		t.Errorf("%d of %d are mechanical: the test is lopsided", mechanical, merges)
	}
}

// union makes the merge that an honest tool would make.
func union(base, ours, theirs leaves) leaves {
	tree := leaves{"keep": {modeFile, "k"}}
	for _, side := range []leaves{ours, theirs, base} {
		for path, l := range side {
			b, o, th := base[path], ours[path], theirs[path]
			if (l == o && (th == b || o == th)) || (l == th && o == b) {
				tree.put(path, l)
			}
		}
	}
	return tree
}

func TestWhatGitMergesWithoutOpeningAFileIsMechanical(t *testing.T) { // rule T6
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var all []leaves
	for range 80 {
		base := randomTree(random)
		all = append(all, base, base.changed(random), base.changed(random))
	}
	g := newRealGit(t)
	ids := g.trees(all)
	clean := 0
	for i := 0; i < len(all); i += 3 {
		g.git("", "read-tree", "--empty")
		g.git("", "read-tree", "-i", "-m", "--aggressive", string(ids[i]), string(ids[i+1]), string(ids[i+2]))
		conflicts := map[string]bool{}
		for line := range strings.Lines(g.git("", "-c", "core.quotePath=false", "ls-files", "--unmerged")) {
			_, path, _ := strings.Cut(strings.TrimSpace(line), "\t")
			conflicts[path] = true
		}
		m := threeWay{ids[i], ids[i+1], ids[i+2], ids[i+1]}
		if len(conflicts) == 0 {
			m.got = ID(strings.TrimSpace(g.git("", "write-tree", "--missing-ok")))
			g.load()
		}
		got, err := g.reader().unmechanical(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if len(conflicts) == 0 && len(got) == 0 {
			clean++
		}
		if len(conflicts) == 0 && len(got) > 0 && !bothKinds(all[i:i+3], got) {
			t.Errorf("git merges %v\nand %v\nover %v\nand %q are listed", all[i+1], all[i+2], all[i], got)
		}
		for path := range conflicts {
			if !slices.Contains(got, path) && !bothKinds(all[i:i+3], []string{path}) {
				t.Errorf("git finds a conflict in %s, which is not listed: %q\nbase %v\nours %v\ntheirs %v", path, got, all[i], all[i+1], all[i+2])
			}
		}
	}
	if clean == 0 {
		t.Error("not one merge was clean")
	}
}

// bothKinds tells whether each path is a file in one of the trees and a directory
// in another, where git read-tree finds a conflict even if only one side made it so.
func bothKinds(trees []leaves, paths []string) bool {
	return !slices.ContainsFunc(paths, func(path string) bool {
		for at := path; ; at = at[:strings.LastIndexByte(at, '/')] {
			file := slices.ContainsFunc(trees, func(l leaves) bool { return l[at].mode != "" })
			dir := slices.ContainsFunc(trees, func(l leaves) bool { return below(at, l) != "" })
			if file && dir {
				return false
			}
			if !strings.Contains(at, "/") {
				return true
			}
		}
	})
}

func TestMergesThatLookMechanicalAndAreNot(t *testing.T) { // rule T6
	t.Parallel()
	file := func(content string) leafContent { return leafContent{modeFile, content} }
	for name, tt := range map[string]struct {
		base, ours, theirs, got leaves
		want                    []string
	}{
		"T6 each side its own file": {
			leaves{"a": file("0"), "b": file("0")},
			leaves{"a": file("1"), "b": file("0")},
			leaves{"a": file("0"), "b": file("1")},
			leaves{"a": file("1"), "b": file("1")},
			nil,
		},
		"T6 both sides the same change": {
			leaves{"a": file("0")}, leaves{"a": file("1")}, leaves{"a": file("1")}, leaves{"a": file("1")}, nil,
		},
		"C05 an evil merge adds a file": {
			leaves{"a": file("0"), "b": file("0")},
			leaves{"a": file("1"), "b": file("0")},
			leaves{"a": file("0"), "b": file("1")},
			leaves{"a": file("1"), "b": file("1"), "evil": file("x")},
			[]string{"evil"},
		},
		"C06 a merge keeps its own side only": {
			leaves{"a": file("0"), "b": file("0")},
			leaves{"a": file("1"), "b": file("0")},
			leaves{"a": file("0"), "b": file("1")},
			leaves{"a": file("1"), "b": file("0")},
			[]string{"b"},
		},
		"T6 lines of one file put together": {
			leaves{"a": file("0\n0\n")}, leaves{"a": file("1\n0\n")}, leaves{"a": file("0\n1\n")}, leaves{"a": file("1\n1\n")}, []string{"a"},
		},
		"T6 a mode on one side and the content on the other": {
			leaves{"a": file("0")}, leaves{"a": {modeExecutable, "0"}}, leaves{"a": file("1")}, leaves{"a": {modeExecutable, "1"}}, []string{"a"},
		},
		"T6 a rename that git follows": {
			leaves{"a": file("0"), "z": file("0")},
			leaves{"b": file("0"), "z": file("0")},
			leaves{"a": file("1"), "z": file("0")},
			leaves{"b": file("1"), "z": file("0")},
			[]string{"a", "b"},
		},
		"T6 a new file in a directory that the other side renamed": {
			leaves{"d/a": file("0")},
			leaves{"e/a": file("0")},
			leaves{"d/a": file("0"), "d/b": file("1")},
			leaves{"e/a": file("0"), "e/b": file("1")},
			[]string{"d/b", "e/b"},
		},
		"T6 a file here and a directory there": {
			leaves{"z": file("0")},
			leaves{"z": file("0"), "d": file("1")},
			leaves{"z": file("0"), "d/f": file("1")},
			leaves{"z": file("0"), "d": file("1")},
			[]string{"d", "d/f"},
		},
		"T6 a deletion against a change": {
			leaves{"a": file("0"), "z": file("0")}, leaves{"z": file("0")}, leaves{"a": file("1"), "z": file("0")}, leaves{"z": file("0")}, []string{"a"},
		},
		"T6 one side alone turns a directory into a file": {
			leaves{"d/f": file("0"), "z": file("0")},
			leaves{"d": file("1"), "z": file("0")},
			leaves{"d/f": file("0"), "z": file("1")},
			leaves{"d": file("1"), "z": file("1")},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRealGit(t)
			ids := g.trees([]leaves{tt.base, tt.ours, tt.theirs, tt.got})
			got, err := g.reader().unmechanical(t.Context(), threeWay{ids[0], ids[1], ids[2], ids[3]})
			if diff := cmp.Diff(tt.want, got, cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
			swapped, err := g.reader().unmechanical(t.Context(), threeWay{ids[0], ids[2], ids[1], ids[3]})
			if err != nil || !slices.Equal(got, swapped) {
				t.Errorf("with the sides swapped: %q, %v", swapped, err)
			}
		})
	}
}
