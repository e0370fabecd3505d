package gitverify

import (
	"bytes"
	"context"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxTreeObject bounds one tree object: about three hundred thousand entries.
const maxTreeObject = 16 << 20

// entryMode is the mode of a tree entry; there are no others (row D04).
type entryMode string

const (
	modeDir        entryMode = "40000"
	modeFile       entryMode = "100644"
	modeExecutable entryMode = "100755"
	modeSymlink    entryMode = "120000"
	modeGitlink    entryMode = "160000"
)

type treeEntry struct {
	mode entryMode
	name string
	id   ID
}

// readTree reads one tree object. The entries are not to be changed.
func (r objectReader) readTree(ctx context.Context, id ID) ([]treeEntry, error) {
	if entries, ok := r.trees.get(id); ok {
		return entries, nil
	}
	body, err := r.read(ctx, id, "tree", maxTreeObject, codeTreeSize)
	if err != nil {
		return nil, err
	}
	entries, err := parseTree(body)
	if err == nil {
		r.trees.put(id, entries)
	}
	return entries, err
}

// parseTree parses a tree object and refuses all that git fsck warns of, and
// all names that some system takes for another name (rows D04, CVE-2026-45571).
func parseTree(body []byte) ([]treeEntry, error) {
	// One copy of the body and one of its ids in hex, of which the entries are
	// parts: an object is parsed once for every commit that changes it.
	n := bytes.Count(body, []byte{0}) // ids may hold zero bytes too
	entries := make([]treeEntry, 0, min(n, len(body)/minTreeEntry))
	ids := make([]byte, 0, 2*idSize*cap(entries))
	for text := string(body); text != ""; {
		head, rest, _ := strings.Cut(text, "\x00")
		mode, name, spaced := strings.Cut(head, " ")
		if !spaced || len(rest) < idSize {
			return nil, refuse(codeTree, "a tree entry is cut short")
		}
		e := treeEntry{mode: entryMode(mode), name: name}
		if err := e.check(); err != nil {
			return nil, err
		}
		if err := e.follows(entries); err != nil {
			return nil, err
		}
		ids = hex.AppendEncode(ids, []byte(rest[:idSize]))
		entries, text = append(entries, e), rest[idSize:]
	}
	hexIDs := string(ids)
	for i := range entries {
		entries[i].id = ID(hexIDs[2*idSize*i : 2*idSize*(i+1)])
	}
	return entries, nil
}

// idSize is the size of an object's name in a tree.
const idSize = 20

// minTreeEntry is the size of the smallest entry: mode, space, one byte of a
// name, zero, id.
const minTreeEntry = 5 + 1 + 1 + 1 + idSize

// follows makes sure that an entry may stand behind those before it: in git's
// order, and under a name of its own. A directory sorts behind the file that
// has its name, perhaps not directly.
func (e treeEntry) follows(before []treeEntry) error {
	if len(before) == 0 {
		return nil
	}
	last := before[len(before)-1]
	if last.name == e.name || e.mode == modeDir && !named(before, e.name).absent() {
		return refuse(codeTree, "two entries named %q", e.name)
	}
	if last.compare(e) >= 0 {
		return refuse(codeTree, "entry %q is out of order", e.name)
	}
	return nil
}

func (e treeEntry) check() error {
	switch e.mode {
	case modeDir, modeFile, modeExecutable, modeSymlink, modeGitlink:
	default:
		return refuse(codeTree, "entry %q has mode %q", e.name, string(e.mode))
	}
	if e.name == "" || e.name == "." || e.name == ".." || len(e.name) > 255 ||
		strings.ContainsAny(e.name, `/\`) || !utf8.ValidString(e.name) {
		return refuse(codeTree, "an entry is named %q", e.name)
	}
	for _, c := range e.name {
		if !unicode.IsPrint(c) {
			return refuse(codeTree, "entry %q has an invisible character in its name", e.name)
		}
	}
	if gitDirectory(e.name) {
		return refuse(codeTree, "entry %q is a name of git's own directory", e.name)
	}
	return nil
}

// gitDirectory finds the names that Windows, macOS or git itself take for
// .git: any case, the short name, trailing dots and spaces, and streams.
func gitDirectory(name string) bool {
	name, _, _ = strings.Cut(name, ":")
	name = strings.ToLower(strings.TrimRight(name, ". "))
	if n, ok := strings.CutPrefix(name, "git~"); ok && len(n) == 1 {
		return true
	}
	return name == ".git"
}
