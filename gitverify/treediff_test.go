package gitverify

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// randomTree is a small tree, made to collide with others of its kind: few
// names, some of which git sorts apart when they are directories.
func randomTree(random *rand.Rand) leaves {
	tree := leaves{"keep": {modeFile, "k"}}
	for range random.IntN(8) {
		tree.put(randomPath(random), randomLeaf(random))
	}
	return tree
}

func randomPath(random *rand.Rand) string {
	names := []string{"a", "a.b", "a0", "b", "B", "ä"}
	path := names[random.IntN(len(names))]
	for random.IntN(2) == 0 {
		path += "/" + names[random.IntN(len(names))]
	}
	return path
}

func randomLeaf(random *rand.Rand) leafContent {
	modes := []entryMode{modeFile, modeFile, modeFile, modeExecutable, modeSymlink, modeGitlink}
	return leafContent{modes[random.IntN(len(modes))], []string{"1", "22", "333"}[random.IntN(3)]}
}

// put adds a leaf and removes what cannot be beside it.
func (l leaves) put(path string, leaf leafContent) {
	for p := range l {
		if strings.HasPrefix(p, path+"/") || strings.HasPrefix(path, p+"/") {
			delete(l, p)
		}
	}
	l[path] = leaf
}

// changed is the tree with a few changes.
func (l leaves) changed(random *rand.Rand) leaves {
	tree := maps.Clone(l)
	for range random.IntN(4) {
		paths := slices.Sorted(maps.Keys(tree))
		switch path := paths[random.IntN(len(paths))]; random.IntN(4) {
		case 0:
			delete(tree, path)
			tree["keep"] = leafContent{modeFile, "k"}
		case 1:
			tree.put(path, randomLeaf(random))
		default:
			tree.put(randomPath(random), randomLeaf(random))
		}
	}
	return tree
}

// raw is a change as git diff-tree prints it.
func (c change) raw() string {
	status := "M"
	switch {
	case c.before.absent():
		status = "A"
	case c.after.absent():
		status = "D"
	case c.before.mode[:3] != c.after.mode[:3]:
		status = "T" // another type of leaf
	}
	return fmt.Sprintf(":%s %s %s %s %s\t%s", c.before.rawMode(), c.after.rawMode(), c.before.rawID(), c.after.rawID(), status, c.path)
}

func (e treeEntry) rawMode() string {
	if e.absent() {
		return "000000"
	}
	return string(e.mode)
}

func (e treeEntry) rawID() string {
	if e.absent() {
		return strings.Repeat("0", 40)
	}
	return string(e.id)
}

func TestTheDifferenceOfTwoTreesIsThatOfGit(t *testing.T) { // rule T4
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const pairs = 300
	var all []leaves
	for range pairs {
		before := randomTree(random)
		all = append(all, before, before.changed(random))
	}
	g := newRealGit(t)
	ids := g.trees(all)
	var input strings.Builder
	for i := range pairs {
		fmt.Fprintf(&input, "%s %s\n", ids[2*i], ids[2*i+1])
	}
	want := g.git(input.String(), "-c", "core.quotePath=false", "diff-tree", "--stdin", "-r", "--raw", "--no-renames", "--no-abbrev")
	var got strings.Builder
	for i := range pairs {
		changes, err := g.reader().diff(t.Context(), ids[2*i], ids[2*i+1])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s %s\n", ids[2*i], ids[2*i+1])
		for _, c := range inGitsOrder(changes) {
			fmt.Fprintln(&got, c.raw())
		}
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Error(diff)
	}
}

// inGitsOrder sorts as git diff-tree does, which is by path as well.
func inGitsOrder(changes []change) []change {
	if !slices.IsSortedFunc(changes, func(a, b change) int { return strings.Compare(a.path, b.path) }) {
		return nil // the promise of diff is broken
	}
	return changes
}

// bodyOfTree is the body of a tree object.
func bodyOfTree(entries ...treeEntry) []byte {
	slices.SortFunc(entries, treeEntry.compare)
	var b []byte
	for _, e := range entries {
		id, err := hex.DecodeString(string(e.id))
		if err != nil {
			panic(err)
		}
		b = append(append(b, string(e.mode)+" "+e.name+"\x00"...), id...)
	}
	return b
}

// put stores an object in memory only.
func (g *realGit) put(kind string, body []byte) ID {
	g.t.Helper()
	id := ID(strings.TrimSpace(g.git(string(body), "hash-object", "-t", kind, "--stdin", "--literally")))
	g.objects[id] = realObject{kind, body}
	return id
}

func TestAnEmptyDirectoryIsAChange(t *testing.T) { // row C41: git never writes one, an attacker may
	t.Parallel()
	g := newRealGit(t)
	empty := g.put("tree", nil)
	if empty != emptyTree {
		t.Fatalf("the empty tree is %s", empty)
	}
	file := treeEntry{modeFile, "file", g.put("blob", []byte("x"))}
	before := g.put("tree", bodyOfTree(file))
	after := g.put("tree", bodyOfTree(file, treeEntry{modeDir, "hollow", g.put("tree", bodyOfTree(treeEntry{modeDir, "within", empty}))}))
	changes, err := g.reader().diff(t.Context(), before, after)
	if err != nil {
		t.Fatal(err)
	}
	want := []change{{path: "hollow/within", after: treeEntry{modeDir, "within", empty}}}
	if diff := cmp.Diff(want, changes, cmp.AllowUnexported(change{}, treeEntry{})); diff != "" {
		t.Error(diff)
	}
}

func TestEqualSubtreesAreNotRead(t *testing.T) {
	t.Parallel()
	g := newRealGit(t)
	tree := leaves{"deep/er/file": {modeFile, "1"}}
	for i := range 100 {
		tree[fmt.Sprintf("same/%d/file", i)] = leafContent{modeFile, "same"}
	}
	other := maps.Clone(tree)
	other["deep/er/file"] = leafContent{modeFile, "2"}
	ids := g.trees([]leaves{tree, other})
	clear(g.reads)
	if changes, err := g.reader().diff(t.Context(), ids[0], ids[1]); err != nil || len(changes) != 1 {
		t.Fatalf("%v, %v", changes, err)
	}
	if len(g.reads) != 6 {
		t.Errorf("%d objects were read, not the three trees on the way on either side", len(g.reads))
	}
}

func TestATreeIsReadAndHashedOnce(t *testing.T) {
	t.Parallel()
	g := newRealGit(t)
	base := leaves{"a/b/file": {modeFile, "1"}, "a/c/file": {modeFile, "1"}}
	other := maps.Clone(base)
	other["a/b/file"] = leafContent{modeFile, "2"}
	ids := g.trees([]leaves{base, other})
	clear(g.reads)
	r := objectReader{objects: g, trees: &treeCache{}}
	for range 3 {
		if _, err := r.diff(t.Context(), ids[0], ids[1]); err != nil {
			t.Fatal(err)
		}
		if e, err := r.entry(t.Context(), ids[1], "a/c/file"); err != nil || e.absent() {
			t.Fatalf("%v, %v", e, err)
		}
	}
	for id, n := range g.reads {
		if n != 1 {
			t.Errorf("%s was read %d times", id, n)
		}
	}
}

func TestTheCacheOfTreesIsBounded(t *testing.T) {
	t.Parallel()
	c := &treeCache{limit: 10_000}
	tree := []treeEntry{{modeFile, strings.Repeat("n", 200), emptyTree}}
	for i := range 1000 {
		c.put(ID(fmt.Sprintf("%040x", i)), tree)
		if _, ok := c.get(ID(strings.Repeat("0", 40))); !ok {
			t.Fatalf("what is used all the time is forgotten after %d others", i)
		}
		if n := len(c.young) + len(c.old); n*treeMemory(tree) > c.limit+2*treeMemory(tree) {
			t.Fatalf("%d trees are kept", n)
		}
	}
	if _, ok := c.get(ID(fmt.Sprintf("%040x", 1))); ok {
		t.Error("nothing is forgotten")
	}
}

func TestAnEntryIsFoundByItsPath(t *testing.T) {
	t.Parallel()
	g := newRealGit(t)
	id := g.trees([]leaves{{
		"a.b": {modeFile, "1"}, "a/b": {modeExecutable, "2"}, "a0": {modeSymlink, "a"}, "z": {modeGitlink, "1"},
	}})[0]
	for path, want := range map[string]entryMode{
		"a": modeDir, "a.b": modeFile, "a/b": modeExecutable, "a0": modeSymlink, "z": modeGitlink,
		"": "", "b": "", "a/c": "", "a0/b": "", "z/a": "", "a/b/c": "", "/a": "", "a/": "", "a//b": "", "A": "", ".": "",
	} {
		if e, err := g.reader().entry(t.Context(), id, path); err != nil || e.mode != want {
			t.Errorf("%q: got %q, want %q, %v", path, e.mode, want, err)
		}
	}
}

func TestATreeThatStandsForTooManyPathsIsRefused(t *testing.T) { // row C49
	t.Parallel()
	g := newRealGit(t)
	bomb := func(content string, depth int) ID {
		e := treeEntry{modeFile, "", g.put("blob", []byte(content))}
		for range depth {
			var entries []treeEntry
			for i := range 10 {
				entries = append(entries, treeEntry{e.mode, fmt.Sprintf("d%d", i), e.id})
			}
			e = treeEntry{modeDir, "", g.put("tree", bodyOfTree(entries...))}
		}
		return e.id
	}
	var no *Refusal
	for name, depth := range map[string]int{"wide": 12, "deep": 70} {
		base, ours := bomb("base", depth), bomb("ours", depth)
		r := objectReader{objects: g, trees: &treeCache{}}
		if _, err := r.diff(t.Context(), base, ours); !errors.As(err, &no) || no.Code != codeUnit {
			t.Errorf("%s: %v", name, err)
		}
		m := threeWay{base: base, ours: ours, theirs: bomb("theirs", depth), got: ours}
		if _, err := r.unmechanical(t.Context(), m); !errors.As(err, &no) || no.Code != codeUnit {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAMergeOfBombsThatLeavesNoPathToNameIsRefused(t *testing.T) { // row C49
	t.Parallel()
	h := objectHeap{}
	bomb := func(x, y string, depth int) ID {
		top := h.put("tree", bodyOfTree(
			treeEntry{modeFile, "x", h.put("blob", []byte(x))}, treeEntry{modeFile, "y", h.put("blob", []byte(y))}))
		for range depth {
			var entries []treeEntry
			for i := range 10 {
				entries = append(entries, treeEntry{modeDir, fmt.Sprintf("d%d", i), top})
			}
			top = h.put("tree", bodyOfTree(entries...))
		}
		return top
	}
	merge := func(depth int) ([]string, error) {
		m := threeWay{base: bomb("0", "0", depth), ours: bomb("1", "0", depth), theirs: bomb("0", "1", depth), got: bomb("1", "1", depth)}
		return objectReader{objects: h, trees: &treeCache{}}.unmechanical(t.Context(), m)
	}
	var no *Refusal
	if _, err := merge(12); !errors.As(err, &no) || no.Code != codeUnit {
		t.Errorf("got %v", err)
	}
	if paths, err := merge(3); err != nil || len(paths) != 0 { // the same, of a size that is no attack
		t.Errorf("got %q, %v", paths, err)
	}
}

func TestDirectoriesNestedWithoutEndAreRefused(t *testing.T) { // row C49
	t.Parallel()
	h := objectHeap{}
	nested := func(content string, depth int) ID {
		e := treeEntry{modeFile, "f", h.put("blob", []byte(content))}
		for range depth {
			e = treeEntry{modeDir, "d", h.put("tree", bodyOfTree(e))}
		}
		return e.id
	}
	var no *Refusal
	if _, err := (objectReader{objects: h}).diff(t.Context(), nested("1", maxDepth+1), nested("2", maxDepth+1)); !errors.As(err, &no) || no.Code != codeUnit {
		t.Errorf("got %v", err)
	}
	if changes, err := (objectReader{objects: h}).diff(t.Context(), nested("1", maxDepth), nested("2", maxDepth)); err != nil || len(changes) != 1 {
		t.Errorf("got %v, %v", changes, err)
	}
}

func TestAFileAndADirectoryOfOneNameAreRefusedAlsoWhenApart(t *testing.T) { // row D04
	t.Parallel()
	file, between, dir := treeEntry{modeFile, "a", emptyTree}, treeEntry{modeFile, "a.b", emptyTree}, treeEntry{modeDir, "a", emptyTree}
	var no *Refusal
	if _, err := parseTree(bodyOfTree(file, between, dir)); !errors.As(err, &no) || no.Code != codeTree {
		t.Errorf("got %v", err)
	}
	if entries, err := parseTree(bodyOfTree(between, dir)); err != nil || len(entries) != 2 {
		t.Errorf("got %v, %v", entries, err)
	}
}
