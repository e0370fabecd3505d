package gitverify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"
)

// ErrNotRegular is wrapped when a symlink or a submodule is opened: they can be
// seen in a directory and by Stat, and never followed.
var ErrNotRegular = errors.New("not a regular file")

// TreeLimits bound a verified tree; zero fields have the defaults.
type TreeLimits struct {
	// FileBytes bounds one file (16 MiB), TotalBytes all files that are read
	// (256 MiB), Entries all files and directories (100 000), Depth the nesting
	// of directories (64).
	FileBytes, TotalBytes int64
	Entries, Depth        int
}

func (l TreeLimits) withDefaults() TreeLimits {
	if l.FileBytes == 0 {
		l.FileBytes = 16 << 20
	}
	if l.TotalBytes == 0 {
		l.TotalBytes = 256 << 20
	}
	if l.Entries == 0 {
		l.Entries = 100_000
	}
	if l.Depth == 0 {
		l.Depth = 64
	}
	return l
}

// Tree is the tree of a verified commit as a read-only file system: fs.FS,
// fs.ReadDirFS, fs.ReadFileFS and fs.StatFS. Every object is hashed again when
// it is read. Errors are *fs.PathError and wrap a [*Refusal] where the content
// is at fault. It may be used by many goroutines at once.
type Tree struct {
	// The context is that of the one pass that the tree is opened for: the
	// methods of fs.FS have no room for one, and reading may block.
	ctx    context.Context
	reader objectReader
	limits TreeLimits
	commit ID
	root   *treeNode

	mu    sync.Mutex
	blobs map[ID][]byte
	total int64
}

type treeNode struct {
	entry    treeEntry
	children map[string]*treeNode
	names    []string
}

// OpenTree opens the tree of a verified commit with the default limits. All
// tree objects are read and checked at once, files when they are asked for.
func OpenTree(ctx context.Context, objects Objects, v Verification) (*Tree, error) {
	return TreeLimits{}.Open(ctx, objects, v)
}

// Open is [OpenTree] with these limits.
func (l TreeLimits) Open(ctx context.Context, objects Objects, v Verification) (*Tree, error) {
	if v.commit == "" {
		return nil, errors.New("opening a tree: nothing has been verified")
	}
	t := &Tree{
		ctx: ctx, reader: objectReader{objects: objects}, limits: l.withDefaults(), commit: v.commit, blobs: map[ID][]byte{},
		root: &treeNode{entry: treeEntry{mode: modeDir, name: ".", id: v.tree}},
	}
	left := t.limits.Entries
	if err := t.load(t.root, ".", 0, &left); err != nil {
		return nil, err
	}
	return t, nil
}

// load reads a directory and all below it.
func (t *Tree) load(n *treeNode, at string, depth int, left *int) error {
	if depth > t.limits.Depth {
		return t.blame(at, refuse(codeTreeSize, "directories nested deeper than %d", t.limits.Depth))
	}
	entries, err := t.reader.readTree(t.ctx, n.entry.id)
	if err != nil {
		return t.blame(at, fmt.Errorf("opening the tree of %s: %w", t.commit, err))
	}
	if *left -= len(entries); *left < 0 {
		return t.blame(at, refuse(codeTreeSize, "more than %d files and directories", t.limits.Entries))
	}
	n.children = make(map[string]*treeNode, len(entries))
	for _, e := range entries {
		child := &treeNode{entry: e}
		n.children[e.name] = child
		n.names = append(n.names, e.name)
		if e.mode == modeDir {
			if err := t.load(child, path.Join(at, e.name), depth+1, left); err != nil {
				return err
			}
		}
	}
	slices.Sort(n.names)
	return nil
}

// blame names commit and path in a refusal.
func (t *Tree) blame(at string, err error) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	named := *r
	named.Commit, named.Path = t.commit, at
	return &named
}

// Commit is the verified commit that the tree belongs to.
func (t *Tree) Commit() ID { return t.commit }

func (t *Tree) lookup(op, name string) (*treeNode, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n := t.root
	for name, rest := name, ""; name != "" && name != "."; name = rest {
		name, rest = cutPath(name)
		child, ok := n.children[name]
		if !ok {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		n = child
	}
	return n, nil
}

func cutPath(name string) (first, rest string) {
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

// content reads and keeps one file.
func (t *Tree) content(op, name string, n *treeNode) ([]byte, error) {
	if n.entry.mode != modeFile && n.entry.mode != modeExecutable {
		return nil, &fs.PathError{Op: op, Path: name, Err: ErrNotRegular}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if body, ok := t.blobs[n.entry.id]; ok {
		return body, nil
	}
	body, err := t.reader.read(t.ctx, n.entry.id, "blob", t.limits.FileBytes, codeFileSize)
	if err == nil && t.total+int64(len(body)) > t.limits.TotalBytes {
		err = refuse(codeTreeSize, "the files together are larger than %d bytes", t.limits.TotalBytes)
	}
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: t.blame(name, err)}
	}
	t.blobs[n.entry.id] = body
	t.total += int64(len(body))
	return body, nil
}

// ReadFile returns a copy of a file's content.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	n, err := t.lookup("readfile", name)
	if err != nil {
		return nil, err
	}
	body, err := t.content("readfile", name, n)
	return slices.Clone(body), err
}

// ReadDir lists a directory, sorted by name.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	if n.entry.mode != modeDir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries := make([]fs.DirEntry, 0, len(n.names))
	for _, child := range n.names {
		entries = append(entries, dirEntry{t, path.Join(name, child), n.children[child]})
	}
	return entries, nil
}

// Stat describes an entry. Symlinks and submodules are described as what they
// are: fs.ModeSymlink and fs.ModeIrregular.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return t.info("stat", name, n)
}

func (t *Tree) info(op, name string, n *treeNode) (fs.FileInfo, error) {
	info := fileInfo{name: path.Base(name), mode: n.mode()}
	if info.mode.IsRegular() {
		body, err := t.content(op, name, n)
		if err != nil {
			return nil, err
		}
		info.size = int64(len(body))
	}
	return info, nil
}

// Open opens a file or a directory.
func (t *Tree) Open(name string) (fs.File, error) {
	n, err := t.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if n.entry.mode == modeDir {
		entries, err := t.ReadDir(name)
		return &openDir{fileInfo{name: path.Base(name), mode: n.mode()}, entries}, err
	}
	body, err := t.content("open", name, n)
	if err != nil {
		return nil, err
	}
	info := fileInfo{name: path.Base(name), mode: n.mode(), size: int64(len(body))}
	return &openFile{info, bytes.NewReader(body)}, nil
}

func (n *treeNode) mode() fs.FileMode {
	switch n.entry.mode {
	case modeDir:
		return fs.ModeDir | 0o555
	case modeSymlink:
		return fs.ModeSymlink | 0o444
	case modeGitlink:
		return fs.ModeIrregular
	case modeExecutable:
		return 0o555
	case modeFile:
	}
	return 0o444
}

type fileInfo struct {
	name string
	mode fs.FileMode
	size int64
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) ModTime() time.Time { return time.Time{} } // trees have no times
func (i fileInfo) Sys() any           { return nil }

type dirEntry struct {
	tree *Tree
	path string
	node *treeNode
}

func (e dirEntry) Name() string               { return e.node.entry.name }
func (e dirEntry) IsDir() bool                { return e.Type().IsDir() }
func (e dirEntry) Type() fs.FileMode          { return e.node.mode().Type() }
func (e dirEntry) Info() (fs.FileInfo, error) { return e.tree.info("stat", e.path, e.node) }

// ObjectID names the content of a file: what was read under it once is what would
// be read under it again, since every object is hashed when it is read, and one
// that is built to collide is refused (row A28). Other entries have none.
func (e dirEntry) ObjectID() string {
	if !e.Type().IsRegular() {
		return ""
	}
	return string(e.node.entry.id)
}

type openFile struct {
	info fileInfo
	*bytes.Reader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info    fileInfo
	entries []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: errors.New("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(d.entries) {
		if n > 0 && len(d.entries) == 0 {
			return nil, io.EOF
		}
		n = len(d.entries)
	}
	out := d.entries[:n]
	d.entries = d.entries[n:]
	return out, nil
}
