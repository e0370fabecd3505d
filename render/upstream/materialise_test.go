package upstream_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/dirhash"

	"millwright.dev/millwright/render/upstream"
)

const (
	modulePath = "example.test/parts"
	version    = "v1.2.3"
	goModSum   = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
)

// entry is one entry of a module zip.
type entry struct {
	name, content string
	mode          fs.FileMode
}

// part is a component under test: what its module has and what its lock says.
type part struct {
	entries []entry
	sum     string // of the lock; computed where empty
	lock    string // the files of the lock; pinned as they are where empty
}

func writeZip(t *testing.T, entries []entry) (file, sum string) {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: modulePath + "@" + version + "/" + e.name, Method: zip.Deflate}
		h.SetMode(e.mode | 0o644)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "module.zip")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := dirhash.HashZip(file, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	return file, sum
}

func pin(from, to, content string) string {
	d := sha256.Sum256([]byte(content))
	return fmt.Sprintf("  - {from: %q, to: %q, size: %d, sha256: %q}\n", from, to, len(content), hex.EncodeToString(d[:]))
}

// tree lays a component "part" out and returns the root and a downloader that
// counts its calls.
func tree(t *testing.T, p part) (root string, get upstream.Downloader, calls *int) {
	t.Helper()
	zipFile, sum := writeZip(t, p.entries)
	if p.sum != "" {
		sum = p.sum
	}
	root = t.TempDir()
	writeLock(t, root, "part", sum, p.lock)
	calls = new(int)
	return root, func(context.Context, upstream.Lock) (upstream.Download, error) {
		*calls++
		return upstream.Download{Zip: zipFile, GoModSum: goModSum}, nil
	}, calls
}

func writeLock(t *testing.T, root, name, sum, files string) {
	t.Helper()
	dir := filepath.Join(root, "bases", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`apiVersion: millwright.dev/v1alpha1
kind: UpstreamLock
metadata: {name: %s}
spec:
  module: %s
  version: %s
  sum: %s
  goModSum: %s
  files:
%s`, name, modulePath, version, sum, goModSum, files)
	if err := os.WriteFile(filepath.Join(dir, "upstream.lock"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		out[strings.TrimPrefix(filepath.ToSlash(p), filepath.ToSlash(root)+"/")] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var good = []entry{{name: "config/a.yaml", content: "a: 1\n"}, {name: "config/sub/b.yaml", content: "b: 2\n"}, {name: "go.mod", content: "module example.test/parts\n"}}

func goodLock() string {
	return pin("config/a.yaml", "a.yaml", "a: 1\n") + pin("config/sub/b.yaml", "sub/b.yaml", "b: 2\n")
}

func TestAComponentIsMaterialisedOnceAndThenLeftAlone(t *testing.T) {
	t.Parallel()
	root, get, calls := tree(t, part{entries: good, lock: goodLock()})
	readme := filepath.Join(root, "bases/README.md")
	if err := os.WriteFile(readme, []byte("# bases\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(root, "bases/part/upstream/old.yaml")
	if err := os.MkdirAll(filepath.Dir(stale), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale, []byte("old: true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, want := range []upstream.State{upstream.Written, upstream.Current} {
		got, err := upstream.Materialise(t.Context(), root, nil, get)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].State != want || got[0].Files != 2 || got[0].Bytes != 10 {
			t.Fatalf("got %+v, want state %s of 2 files with 10 bytes", got, want)
		}
	}
	if *calls != 1 {
		t.Errorf("the module was fetched %d times, want once", *calls)
	}
	files := snapshot(t, root)
	delete(files, "bases/part/upstream.lock")
	delete(files, "bases/README.md")
	want := map[string]string{"bases/part/upstream/a.yaml": "a: 1\n", "bases/part/upstream/sub/b.yaml": "b: 2\n"}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

func TestAFileChangedByHandIsPutBack(t *testing.T) {
	t.Parallel()
	root, get, _ := tree(t, part{entries: good, lock: goodLock()})
	if _, err := upstream.Materialise(t.Context(), root, nil, get); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "bases/part/upstream/a.yaml")
	if err := os.WriteFile(file, []byte("a: 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := upstream.Materialise(t.Context(), root, []string{"part"}, get)
	if err != nil || got[0].State != upstream.Written {
		t.Fatalf("got %+v, %v; want written", got, err)
	}
	if data, _ := os.ReadFile(file); string(data) != "a: 1\n" {
		t.Errorf("the file holds %q", data)
	}
}

// Each row differs from the accepted tree above in one thing.
func TestWhatDiffersFromTheLockIsRefusedAndNothingChanges(t *testing.T) {
	t.Parallel()
	other := "h1:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
	first := pin("config/a.yaml", "a.yaml", "a: 1\n")
	rows := map[string]struct {
		part part
		code string
		file string
	}{
		"a module with another sum":          {part{entries: good, sum: other, lock: goodLock()}, "upstream/sum", ""},
		"a file with another digest":         {part{entries: good, lock: pin("config/a.yaml", "a.yaml", "a: 9\n")}, "upstream/digest", "config/a.yaml"},
		"a file that the module lacks":       {part{entries: good, lock: first + pin("config/c.yaml", "c.yaml", "")}, "upstream/file-missing", "config/c.yaml"},
		"an entry that is a link":            {part{entries: append([]entry{{"config/l.yaml", "a.yaml", fs.ModeSymlink}}, good...), lock: pin("config/l.yaml", "l.yaml", "a.yaml")}, "upstream/not-regular", "config/l.yaml"},
		"a target outside":                   {part{entries: good, lock: pin("config/a.yaml", "../a.yaml", "a: 1\n")}, "upstream/path", "../a.yaml"},
		"a target with an absolute path":     {part{entries: good, lock: pin("config/a.yaml", "/etc/a.yaml", "a: 1\n")}, "upstream/path", "/etc/a.yaml"},
		"a target with a backslash":          {part{entries: good, lock: pin("config/a.yaml", `..\a.yaml`, "a: 1\n")}, "upstream/path", `..\a.yaml`},
		"a hidden target":                    {part{entries: good, lock: pin("config/a.yaml", ".git/config", "a: 1\n")}, "upstream/path", ".git/config"},
		"a source outside the module":        {part{entries: good, lock: pin("../other@v1.0.0/a.yaml", "a.yaml", "a: 1\n")}, "upstream/path", "../other@v1.0.0/a.yaml"},
		"two targets that differ in case":    {part{entries: good, lock: first + pin("config/sub/b.yaml", "A.yaml", "b: 2\n")}, "upstream/path-twice", "config/sub/b.yaml"},
		"a target below another one":         {part{entries: good, lock: first + pin("config/sub/b.yaml", "a.yaml/b.yaml", "b: 2\n")}, "upstream/path-twice", "a.yaml"},
		"a digest that is none":              {part{entries: good, lock: `  - {from: a, to: a, size: 1, sha256: "x"}`}, "upstream/lock-field", "a"},
		"a size beyond the bound":            {part{entries: good, lock: strings.Replace(first, "size: 5", "size: 999999999", 1)}, "upstream/lock-field", "config/a.yaml"},
		"an unknown field":                   {part{entries: good, lock: goodLock() + "  insecure: true\n"}, "upstream/lock-syntax", ""},
		"a field given twice":                {part{entries: good, lock: goodLock() + "  version: v1.2.4\n"}, "upstream/lock-syntax", ""},
		"a second document":                  {part{entries: good, lock: goodLock() + "---\n{}\n"}, "upstream/lock-documents", ""},
		"a version that is a branch":         {part{entries: good, lock: goodLock()}, "upstream/lock-field", ""},
		"a name that is not the directory's": {part{entries: good, lock: goodLock()}, "upstream/lock-field", ""},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, get, _ := tree(t, row.part)
			switch name {
			case "a version that is a branch":
				edit(t, filepath.Join(root, "bases/part/upstream.lock"), "version: v1.2.3", "version: main")
			case "a name that is not the directory's":
				edit(t, filepath.Join(root, "bases/part/upstream.lock"), "name: part", "name: other")
			}
			before := snapshot(t, root)
			_, err := upstream.Materialise(t.Context(), root, nil, get)
			var no *upstream.Refusal
			if !errors.As(err, &no) {
				t.Fatalf("got %v, want a refusal", err)
			}
			if no.Code != row.code || no.File != row.file || no.Hint == "" || no.Component != "part" {
				t.Errorf("got %+v, want code %s of file %q with a hint", no, row.code, row.file)
			}
			if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
				t.Errorf("the tree changed (-before +after):\n%s", diff)
			}
		})
	}
}

func edit(t *testing.T, file, from, to string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), from, to, 1)
	if text == string(data) {
		t.Fatalf("%s does not contain %q", file, from)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestARefusedComponentKeepsAllOthersAsTheyWere(t *testing.T) {
	t.Parallel()
	root, get, _ := tree(t, part{entries: good, lock: goodLock()})
	_, sum := writeZip(t, good)
	writeLock(t, root, "quite", sum, pin("config/a.yaml", "a.yaml", "a: 9\n"))
	before := snapshot(t, root)
	_, err := upstream.Materialise(t.Context(), root, nil, get)
	var no *upstream.Refusal
	if !errors.As(err, &no) || no.Component != "quite" {
		t.Fatalf("got %v, want a refusal of quite", err)
	}
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Errorf("the tree changed (-before +after):\n%s", diff)
	}
}

func TestALinkIsNeverFollowed(t *testing.T) {
	t.Parallel()
	for _, link := range []string{"bases/part/upstream", "bases/part/upstream.lock", "bases/linked"} {
		t.Run(link, func(t *testing.T) {
			t.Parallel()
			root, get, _ := tree(t, part{entries: good, lock: goodLock()})
			outside := t.TempDir()
			target := outside
			switch link {
			case "bases/part/upstream.lock":
				target = filepath.Join(outside, "lock")
				if err := os.Rename(filepath.Join(root, link), target); err != nil {
					t.Fatal(err)
				}
			case "bases/linked":
				target = "part"
			}
			if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, outside)
			_, err := upstream.Materialise(t.Context(), root, nil, get)
			var no *upstream.Refusal
			if !errors.As(err, &no) || no.Code != "upstream/link" {
				t.Fatalf("got %v, want upstream/link", err)
			}
			if diff := cmp.Diff(before, snapshot(t, outside)); diff != "" {
				t.Errorf("outside changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestWhenTheModuleCannotBeHadNothingIsDecided(t *testing.T) {
	t.Parallel()
	root, _, _ := tree(t, part{entries: good, lock: goodLock()})
	away := errors.New("proxy is away")
	_, err := upstream.Materialise(t.Context(), root, nil, func(context.Context, upstream.Lock) (upstream.Download, error) {
		return upstream.Download{}, away
	})
	var no *upstream.Refusal
	if !errors.Is(err, away) || errors.As(err, &no) {
		t.Fatalf("got %v, want the proxy's error and no refusal", err)
	}
}

func TestAnUpdatePinsWhatTheModuleHasAndNamesWhatMoved(t *testing.T) {
	t.Parallel()
	entries := append([]entry{{name: "config/new.yaml", content: "c: 3\n"}}, good...)
	stale := pin("config/a.yaml", "a.yaml", "a: 0\n") + pin("config/sub/b.yaml", "sub/b.yaml", "b: 2\n")
	root, get, _ := tree(t, part{entries: entries, sum: goModSum, lock: stale})
	changes, err := upstream.Update(t.Context(), root, nil, func(ctx context.Context, l upstream.Lock) (upstream.Download, error) {
		if l.Spec.Sum != "" || l.Spec.GoModSum != "" {
			t.Errorf("an update was given the old pins %+v", l.Spec)
		}
		return get(ctx, l)
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, strings.TrimSpace(c.File+" "+c.Note))
	}
	if diff := cmp.Diff([]string{"", "config/a.yaml", "config/new.yaml not taken"}, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if _, err := upstream.Materialise(t.Context(), root, nil, get); err != nil {
		t.Errorf("after the update: %v", err)
	}
	if again, err := upstream.Update(t.Context(), root, nil, get); err != nil || len(again) != 1 {
		t.Errorf("a second update: %+v, %v; want the note only", again, err)
	}
}

func TestWhatAKilledRunLeftIsMended(t *testing.T) {
	t.Parallel()
	root, get, _ := tree(t, part{entries: good, lock: goodLock()})
	for _, state := range []upstream.State{upstream.Written, upstream.Current} {
		for _, left := range []string{".upstream-next", ".upstream-last"} {
			dir := filepath.Join(root, "bases/part", left)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("half"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := upstream.Materialise(t.Context(), root, nil, get)
		if err != nil || got[0].State != state {
			t.Fatalf("got %+v, %v; want %s", got, err, state)
		}
		if files := snapshot(t, root); len(files) != 3 {
			t.Errorf("the tree has %d files, want the lock and two", len(files))
		}
	}
}
