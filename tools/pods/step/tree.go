package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// Bounds of a tree, far above a source tree and far below what fills a node.
const (
	maxEntries   = 100_000
	maxTreeBytes = 4 << 30
	maxDepth     = 64
	maxPath      = 1024
)

// Reasons of trees.
const (
	reasonKind      = "tree/kind"
	reasonTooLarge  = "tree/too-large"
	reasonName      = "tree/name"
	reasonDifferent = "tree/different"
	reasonDigest    = "tree/digest"
)

var treeDigestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// digest computes the digest of a folder and compares it.
func digest(_ context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("digest", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder (required)")
	want := flags.String("want", "", "digest that it has to have, sha256:HEX")
	result := flags.String("result", "", "file for the digest")
	if err := refusal.Parse(flags, args, out); err != nil {
		return err
	}
	if *dir == "" || (*want == "" && *result == "") {
		return refusal.Usage("-dir, and one of -want and -result, are required")
	}
	if *want != "" && !treeDigestForm.MatchString(*want) {
		return refusal.New(reasonDigest, "give the digest that the producer gave as its result", "%q is no digest", *want)
	}
	got, err := treeDigest(*dir)
	if err != nil {
		return err
	}
	if *want != "" && got != *want {
		return refusal.New(reasonDifferent, "run the step again that made the folder, and look who else could write there",
			"%q is %s, not %s", *dir, got, *want)
	}
	fmt.Fprintln(out, got)
	return writeResult(*result, got)
}

// entry is a line of what the digest is taken of.
type entry struct{ path, mode, sum string }

// treeDigest is the sha256 over all entries of a folder, sorted by the bytes of
// their path: PATH NUL MODE NUL SHA256 LF. The mode is 100644 or 100755 for a
// file, whose content the sum is of, and 040000 for a folder, without a sum.
//
// Of the mode only the owner's right to execute counts, because the kubelet
// changes the others. A link, a socket or a device has no digest.
func treeDigest(dir string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("opening the folder: %w", err)
	}
	defer root.Close()
	var entries []entry
	var size int64
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if len(entries) >= maxEntries || len(name) > maxPath || strings.Count(name, "/") >= maxDepth {
			return refusal.New(reasonTooLarge, "make the tree smaller", "more than %d entries, %d levels or %d bytes of a path", maxEntries, maxDepth, maxPath)
		}
		e, n, err := entryOf(root, name, d, maxTreeBytes-size)
		if err != nil {
			return err
		}
		entries = append(entries, e)
		size += n
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("reading the folder: %w", err)
	}
	return digestOf(entries), nil
}

func digestOf(entries []entry) string {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.path, b.path) })
	h := sha256.New()
	for _, e := range entries {
		fmt.Fprintf(h, "%s\x00%s\x00%s\n", e.path, e.mode, e.sum)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// entryOf reads one entry, and at most limit bytes of it.
func entryOf(root *os.Root, name string, d fs.DirEntry, limit int64) (entry, int64, error) {
	if d.IsDir() {
		return entry{path: name, mode: "040000"}, 0, nil
	}
	f, info, err := openRegular(root, name)
	if err != nil {
		return entry{}, 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, limit+1))
	if err != nil {
		return entry{}, 0, err
	}
	if n > limit {
		return entry{}, 0, refusal.New(reasonTooLarge, "make the tree smaller", "more than %d bytes", int64(maxTreeBytes))
	}
	mode := "100644"
	if info.Mode()&0o100 != 0 {
		mode = "100755"
	}
	return entry{path: name, mode: mode, sum: hex.EncodeToString(h.Sum(nil))}, n, nil
}

// openRegular opens a file that is one: a link that a build has left, or a
// device, or a pipe that would never end, is refused before it is opened.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, refusal.New(reasonKind, "leave files and folders only", "%q is neither a file nor a folder", name)
	}
	f, err := root.Open(name)
	return f, info, err
}

// cleanName refuses names of files below a folder that mean another place, or
// that cannot be printed.
func cleanName(name string) error {
	if name == "" || len(name) > maxPath || path.Clean(name) != name || !fs.ValidPath(name) || strings.ContainsAny(name, "\x00\\") {
		return refusal.New(reasonName, "name a file below the folder", "%q is not the clean name of a file below a folder", name)
	}
	return nil
}
