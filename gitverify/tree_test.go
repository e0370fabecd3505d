package gitverify_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/gitverify"
)

// treeWith verifies a commit whose tree is the given object.
func (r *repository) treeWith(tree gitverify.ID) gitverify.Verification {
	r.t.Helper()
	anchor := r.anchor()
	return r.wantYes(r.verifier(), request(anchor, r.put("commit", r.sign(unsigned(tree, "tree", anchor), honest))))
}

func TestAVerifiedTreeIsAFileSystem(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	v := r.treeWith(r.tree(files("a/b/c", "deep\n", "a.txt", "beside\n", "100755 run", "#!\n", "empty", " ")))
	tree, err := gitverify.OpenTree(t.Context(), r, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(tree, "a/b/c", "a.txt", "run", "empty", "README", policyPath); err != nil {
		t.Error(err)
	}
	info, err := tree.Stat("run")
	if err != nil || info.Mode() != 0o555 || info.Size() != 3 {
		t.Errorf("run: %v, %v", info, err)
	}
	if _, err := tree.ReadFile("a/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	body, err := tree.ReadFile("a/b/c")
	if err != nil || string(body) != "deep\n" {
		t.Errorf("got %q, %v", body, err)
	}
	body[0] = 'X'
	if again, _ := tree.ReadFile("a/b/c"); string(again) != "deep\n" {
		t.Error("who reads a file can change what the next one reads")
	}
}

func TestSymlinksAndSubmodulesAreSeenAndNotFollowed(t *testing.T) { // rows D03, D06
	t.Parallel()
	r := newRepository(t)
	v := r.treeWith(r.tree(files("120000 link", "README", "160000 module", strings.Repeat("12", 20))))
	tree, err := gitverify.OpenTree(t.Context(), r, v)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]fs.FileMode{}
	for _, e := range entries {
		got[e.Name()] = e.Type()
	}
	want := map[string]fs.FileMode{"README": 0, "factory-config": fs.ModeDir, "link": fs.ModeSymlink, "module": fs.ModeIrregular}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"link", "module"} {
		if _, err := tree.ReadFile(name); !errors.Is(err, gitverify.ErrNotRegular) {
			t.Errorf("reading %s: %v", name, err)
		}
		if _, err := tree.Open(name); !errors.Is(err, gitverify.ErrNotRegular) {
			t.Errorf("opening %s: %v", name, err)
		}
		if info, err := tree.Stat(name); err != nil || info.Mode().IsRegular() {
			t.Errorf("stat of %s: %v, %v", name, info, err)
		}
	}
	if _, err := tree.ReadFile("module/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestAttacksOnTheTree(t *testing.T) { // row D04
	t.Parallel()
	for name, build := range map[string]func(blob, dir gitverify.ID) string{
		"git's own directory":          func(_, dir gitverify.ID) string { return treeLine("40000", ".git", dir) },
		"the same in capitals":         func(_, dir gitverify.ID) string { return treeLine("40000", ".GIT", dir) },
		"the same as Windows shortens": func(_, dir gitverify.ID) string { return treeLine("40000", "git~1", dir) },
		"the same with a trailing dot": func(_, dir gitverify.ID) string { return treeLine("40000", ".git.", dir) },
		"the same as a stream":         func(blob, _ gitverify.ID) string { return treeLine("100644", ".git::$INDEX_ALLOCATION", blob) },
		"the same with an invisible":   func(_, dir gitverify.ID) string { return treeLine("40000", ".g\u200cit", dir) },
		"parent directory":             func(_, dir gitverify.ID) string { return treeLine("40000", "..", dir) },
		"this directory":               func(_, dir gitverify.ID) string { return treeLine("40000", ".", dir) },
		"empty name":                   func(blob, _ gitverify.ID) string { return treeLine("100644", "", blob) },
		"slash in a name":              func(blob, _ gitverify.ID) string { return treeLine("100644", "a/b", blob) },
		"backslash in a name":          func(blob, _ gitverify.ID) string { return treeLine("100644", `a\b`, blob) },
		"line end in a name":           func(blob, _ gitverify.ID) string { return treeLine("100644", "a\nb", blob) },
		"name that is not UTF-8":       func(blob, _ gitverify.ID) string { return treeLine("100644", "a\xff", blob) },
		"same name twice": func(blob, _ gitverify.ID) string {
			return treeLine("100644", "a", blob) + treeLine("100644", "a", blob)
		},
		"file and directory of one name": func(blob, dir gitverify.ID) string {
			return treeLine("100644", "a", blob) + treeLine("40000", "a", dir)
		},
		"out of order": func(blob, _ gitverify.ID) string {
			return treeLine("100644", "b", blob) + treeLine("100644", "a", blob)
		},
		"directory in a file's place": func(blob, dir gitverify.ID) string {
			return treeLine("40000", "a", dir) + treeLine("100644", "a.b", blob)
		},
		"mode 777":                     func(blob, _ gitverify.ID) string { return treeLine("100777", "a", blob) },
		"mode with a leading zero":     func(_, dir gitverify.ID) string { return treeLine("040000", "a", dir) },
		"cut short":                    func(blob, _ gitverify.ID) string { return treeLine("100644", "a", blob)[:20] },
		"a file where a tree is named": func(blob, _ gitverify.ID) string { return treeLine("40000", "a", blob) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			sub := r.put("tree", []byte(build(r.put("blob", []byte("x")), r.put("tree", nil))))
			top := r.put("tree", []byte(treeLine("40000", "bad", sub)+treeLine("40000", "factory-config", r.subtree("factory-config"))))
			check := func(err error) {
				var no *gitverify.Refusal
				if !errors.As(err, &no) || no.Path != "bad" && no.Path != "bad/a" || no.Commit == "" {
					t.Fatalf("got %v", err)
				}
				if want := "obj/tree"; no.Code != want && !strings.HasPrefix(name, "a file") {
					t.Errorf("got %v", err)
				}
			}
			good := r.anchor()
			_, err := r.verifier().Verify(t.Context(), r, request(good, r.put("commit", r.sign(unsigned(top, "bad", good), honest))))
			check(err)
			// The anchor is trusted by its id, and nothing was compared with it.
			bad := r.put("commit", unsigned(top, "bad anchor"))
			_, err = gitverify.OpenTree(t.Context(), r, r.wantYes(r.verifier(), request(bad, bad)))
			check(err)
		})
	}
}

// subtree is the id of a directory of the usual files.
func (r *repository) subtree(dir string) gitverify.ID {
	sub := map[string]string{}
	for path, content := range files() {
		if rest, ok := strings.CutPrefix(path, dir+"/"); ok {
			sub[rest] = content
		}
	}
	return r.tree(sub)
}

func TestATreeIsBounded(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	v := r.treeWith(r.tree(files("a/b/c", strings.Repeat("x", 100), "d", strings.Repeat("y", 100))))
	open := func(l gitverify.TreeLimits) (*gitverify.Tree, error) { return l.Open(t.Context(), r, v) }
	var no *gitverify.Refusal
	if _, err := open(gitverify.TreeLimits{Entries: 4}); !errors.As(err, &no) || no.Code != "limits/tree" {
		t.Errorf("entries: %v", err)
	}
	if _, err := open(gitverify.TreeLimits{Depth: 1}); !errors.As(err, &no) || no.Code != "limits/tree" {
		t.Errorf("depth: %v", err)
	}
	tree, err := open(gitverify.TreeLimits{FileBytes: 99})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadFile("d"); !errors.As(err, &no) || no.Code != "limits/file-size" || no.Path != "d" {
		t.Errorf("file: %v", err)
	}
	if tree, err = open(gitverify.TreeLimits{TotalBytes: 150}); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadFile("d"); err != nil {
		t.Error(err)
	}
	if _, err := tree.ReadFile("a/b/c"); !errors.As(err, &no) || no.Code != "limits/tree" {
		t.Errorf("total: %v", err)
	}
}

func TestAFileThatHoldsOtherBytesThanItsNameSaysIsRefused(t *testing.T) { // row A29
	t.Parallel()
	r := newRepository(t)
	v := r.treeWith(r.tree(files("a", "good")))
	tree, err := gitverify.OpenTree(t.Context(), r, v)
	if err != nil {
		t.Fatal(err)
	}
	r.objects[r.put("blob", []byte("good"))] = object{"blob", []byte("evil")}
	_, err = tree.ReadFile("a")
	var no *gitverify.Refusal
	if !errors.As(err, &no) || no.Code != "obj/hash" || no.Path != "a" {
		t.Errorf("got %v", err)
	}
}

func TestAnUnverifiedTreeDoesNotOpen(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	if _, err := gitverify.OpenTree(t.Context(), r, gitverify.Verification{}); err == nil {
		t.Error("the zero verification opened a tree")
	}
}

func TestWhatATreeHasNotCannotBeListedOrDescribed(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	tree, err := gitverify.OpenTree(t.Context(), r, r.treeWith(r.tree(files("a/b", "1"))))
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := tree.ReadDir("a"); err != nil || len(entries) != 1 {
		t.Errorf("a folder: %v, %v", entries, err)
	}
	if _, err := tree.ReadDir("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	if _, err := tree.ReadDir("a/b"); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file as a folder: %v", err)
	}
	if _, err := tree.Stat("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	r.broken[r.put("blob", []byte("1"))] = errors.New("the disk is gone")
	if info, err := tree.Stat("a/b"); err == nil {
		t.Errorf("a file that cannot be read has %d bytes", info.Size())
	}
}
