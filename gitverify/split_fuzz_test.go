package gitverify

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

const fuzzHead = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n" +
	"parent 1111111111111111111111111111111111111111\n" +
	"author A <a@example.test> 1700000000 +0000\n" +
	"committer C <c@example.test> 1700000000 +0000\n"

// FuzzSplitCommit: what is accepted falls into parts from which exactly the
// same bytes can be put together again, and has the parents that the loose
// reader sees; what is not accepted is refused with a reason.
func FuzzSplitCommit(f *testing.F) {
	signature := "gpgsig -----BEGIN SIGNED MESSAGE-----\n AAAA\n -----END SIGNED MESSAGE-----\n"
	for _, seed := range []string{
		fuzzHead + "\nmessage\n",
		fuzzHead + signature + "\nmessage\n",
		fuzzHead + "encoding ISO-8859-1\nmergetag object 1\n type commit\n \n x\n" + signature + "\n\r\nmessage",
		fuzzHead + signature + signature + "\n",
		fuzzHead + "gpgsig\n\n", fuzzHead + "gpgsig \n\n", fuzzHead + " x\n\n",
		strings.Replace(fuzzHead, "parent", "tree", 1) + "\n", "", "\n\n", "tree \n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := splitCommit(body)
		if err != nil {
			var no *Refusal
			if !errors.As(err, &no) || no.Code == "" || no.Hint == "" {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if !slices.Equal(c.parents, looseParents(body)) {
			t.Fatalf("parents %v and %v", c.parents, looseParents(body))
		}
		again := c.payload
		if c.armored != nil {
			end := bytes.Index(c.payload, []byte("\n\n")) + 1
			header := "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(string(c.armored), "\n"), "\n", "\n ") + "\n"
			again = slices.Concat(c.payload[:end], []byte(header), c.payload[end:])
		}
		if !bytes.Equal(again, body) {
			t.Fatalf("the parts of\n%q\nmake\n%q", body, again)
		}
	})
}

// FuzzParseTree: an accepted tree has unique names in git's order.
func FuzzParseTree(f *testing.F) {
	entry := func(mode, name string) string { return mode + " " + name + "\x00" + strings.Repeat("\x01", 20) }
	f.Add([]byte(entry("100644", "a") + entry("40000", "b")))
	f.Add([]byte(entry("40000", ".git")))
	f.Add([]byte(entry("100644", "a.b") + entry("40000", "a")))
	f.Fuzz(func(t *testing.T, body []byte) {
		entries, err := parseTree(body)
		if err != nil {
			return
		}
		size := 0
		for i, e := range entries {
			size += len(e.mode) + len(e.name) + 22
			if i > 0 && gitKey(entries[i-1]) >= gitKey(e) {
				t.Fatalf("%q before %q", entries[i-1].name, e.name)
			}
		}
		if size != len(body) {
			t.Fatalf("%d of %d bytes were read", size, len(body))
		}
	})
}

// gitKey orders the entries of a tree, as git's documentation has it.
func gitKey(e treeEntry) string {
	if e.mode == modeDir {
		return e.name + "/"
	}
	return e.name
}
