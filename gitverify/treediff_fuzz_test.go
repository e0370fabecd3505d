package gitverify

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// objectHeap holds objects without any git.
type objectHeap map[ID]realObject

func (h objectHeap) put(kind string, body []byte) ID {
	sum := sha1.Sum(append(fmt.Appendf(nil, "%s %d\x00", kind, len(body)), body...))
	id := ID(hex.EncodeToString(sum[:]))
	h[id] = realObject{kind, bytes.Clone(body)}
	return id
}

func (h objectHeap) Object(_ context.Context, id ID, _ int64) (string, []byte, error) {
	o, ok := h[id]
	if !ok {
		return "", nil, fmt.Errorf("%s: %w", id, ErrObjectMissing)
	}
	return o.kind, o.body, nil
}

// FuzzTreeDiff compares hostile trees: each is two levels, the lower one the
// fuzzer's bytes. Whatever they are, the difference is empty only if the trees
// are one, it is the same seen from the other end, and a merge that takes the
// only changed side is mechanical.
func FuzzTreeDiff(f *testing.F) {
	a := bodyOfTree(treeEntry{modeFile, "a", emptyTree}, treeEntry{modeDir, "b", emptyTree})
	f.Add([]byte(nil), a)
	f.Add(a, bodyOfTree(treeEntry{modeDir, "a", emptyTree}, treeEntry{modeFile, "a.b", emptyTree}))
	f.Fuzz(func(t *testing.T, x, y []byte) {
		h := objectHeap{}
		h.put("tree", nil)
		top := func(body []byte) ID {
			return h.put("tree", bodyOfTree(treeEntry{modeDir, "d", h.put("tree", body)}, treeEntry{modeFile, "f", emptyTree}))
		}
		before, after := top(x), top(y)
		r := objectReader{objects: h}
		there, err := r.diff(t.Context(), before, after)
		if err != nil {
			var no *Refusal
			if !errors.As(err, &no) && !errors.Is(err, ErrObjectMissing) {
				t.Fatalf("neither a refusal nor an object that is not there: %v", err)
			}
			return
		}
		if (len(there) == 0) != (before == after) {
			t.Fatalf("%d changes between %q and %q", len(there), x, y)
		}
		back, err := r.diff(t.Context(), after, before)
		if err != nil || len(back) != len(there) {
			t.Fatalf("%d changes there and %d back, %v", len(there), len(back), err)
		}
		for i := range there {
			if there[i].path != back[i].path || !there[i].before.same(back[i].after) {
				t.Fatalf("%v there and %v back", there[i], back[i])
			}
		}
		if !slices.IsSortedFunc(there, func(a, b change) int { return bytes.Compare([]byte(a.path), []byte(b.path)) }) {
			t.Fatalf("not in order: %v", there)
		}
		if paths, err := r.unmechanical(t.Context(), threeWay{before, before, after, after}); err != nil || len(paths) > 0 {
			t.Fatalf("the one changed side was taken, and %q are listed, %v", paths, err)
		}
	})
}

// BenchmarkDiffOfNeighbours walks a history of a thousand trees of a thousand
// files, each with one file changed, with and without the cache of a walk.
func BenchmarkDiffOfNeighbours(b *testing.B) {
	h := objectHeap{}
	dirs := make([]treeEntry, 50)
	build := func(dir, version int) treeEntry {
		var files []treeEntry
		for i := range 20 {
			v := 0
			if i == 0 {
				v = version
			}
			files = append(files, treeEntry{modeFile, fmt.Sprintf("file-%02d", i), ID(fmt.Sprintf("%040x", v+1))})
		}
		return treeEntry{modeDir, fmt.Sprintf("dir-%02d", dir), h.put("tree", bodyOfTree(files...))}
	}
	for i := range dirs {
		dirs[i] = build(i, 0)
	}
	trees := make([]ID, 1000)
	for i := range trees {
		dirs[i%len(dirs)] = build(i%len(dirs), i)
		trees[i] = h.put("tree", bodyOfTree(slices.Clone(dirs)...))
	}
	for name, cache := range map[string]func() *treeCache{
		"cached":   func() *treeCache { return &treeCache{} },
		"uncached": func() *treeCache { return nil },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := objectReader{objects: h, trees: cache()}
				for i := 1; i < len(trees); i++ {
					if c, err := r.diff(b.Context(), trees[i-1], trees[i]); err != nil || len(c) == 0 {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*(len(trees)-1)), "µs/step")
		})
	}
}
