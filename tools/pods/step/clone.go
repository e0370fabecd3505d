package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// Reasons of sources.
const (
	reasonURL      = "source/url"
	reasonCommit   = "source/commit"
	reasonNoCommit = "source/no-such-commit"
	reasonCorrupt  = "source/corrupt"
	reasonEntry    = "source/entry"
	reasonTarget   = "source/target"
	reasonSize     = "source/too-large"
)

// clone writes the tree of one commit to an empty folder. No .git is left
// there: what a build finds is the tree, and nothing that git would run.
func clone(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("clone", flag.ContinueOnError)
	source := flags.String("url", "", "repository, http:// or https:// (required)")
	commit := flags.String("commit", "", "commit, 40 hex digits (required)")
	dir := flags.String("dir", "", "empty folder for the tree; made if it is not there (required)")
	timeout := flags.Duration("timeout", 2*time.Minute, "when to give up")
	limit := flags.Int64("max-bytes", 64<<20, "how much the server may send")
	resultURL := flags.String("result-url", "", "file for the URL (CHAINS-GIT_URL)")
	resultCommit := flags.String("result-commit", "", "file for the commit (CHAINS-GIT_COMMIT)")
	resultDigest := flags.String("result-digest", "", "file for the digest of the tree")
	resultTime := flags.String("result-time", "", "file for the committer's time in seconds (SOURCE_DATE_EPOCH)")
	if err := refusal.Parse(flags, args, out); err != nil {
		return err
	}
	if *dir == "" || *limit <= 0 {
		return refusal.Usage("-dir is required, -max-bytes is positive")
	}
	want, err := parseSource(*source, *commit)
	if err != nil {
		return err
	}
	root, err := openEmpty(*dir)
	if err != nil {
		return err
	}
	defer root.Close()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	objects, err := fetchCommit(ctx, *source, want, *limit)
	if err != nil {
		return err
	}
	c := checkout{objects: objects, root: root}
	when, err := c.write(want)
	if err != nil {
		return err
	}
	tree, err := treeDigest(*dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %s\n", want, tree)
	for file, value := range map[string]string{*resultURL: *source, *resultCommit: want.String(), *resultDigest: tree, *resultTime: strconv.FormatInt(when, 10)} {
		if err := writeResult(file, value); err != nil {
			return err
		}
	}
	return nil
}

var commitForm = regexp.MustCompile(`^[0-9a-f]{40}$`)

func parseSource(source, commit string) (plumbing.Hash, error) {
	u, err := url.Parse(source)
	plain := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && u.String() == source && len(source) <= 1024
	if !plain || path.Clean(u.Path) != u.Path || u.Path == "/" {
		return plumbing.ZeroHash, refusal.New(reasonURL, "write http://HOST/PATH, without user, query and fragment", "%q is no plain address of a repository", source)
	}
	if !commitForm.MatchString(commit) || commit == plumbing.ZeroHash.String() {
		return plumbing.ZeroHash, refusal.New(reasonCommit, "give the whole id in lower case: branches and tags move", "%q is no id of a commit", commit)
	}
	return plumbing.NewHash(commit), nil
}

// openEmpty opens a folder in which nothing is, so that all that is there
// afterwards is of the commit.
func openEmpty(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the folder: %w", err)
	}
	if len(entries) > 0 {
		return nil, refusal.New(reasonTarget, "give an empty folder", "%q is in the folder already", entries[0].Name())
	}
	return os.OpenRoot(dir)
}

// checkout writes a tree. Every object is hashed again as it is read: what is
// written is what the id of the commit says.
type checkout struct {
	objects storer.EncodedObjectStorer
	root    *os.Root
	entries int
	bytes   int64
}

// write returns the committer's time in seconds since 1970.
func (c *checkout) write(commit plumbing.Hash) (int64, error) {
	raw, err := c.read(plumbing.CommitObject, commit)
	if err != nil {
		return 0, err
	}
	var decoded object.Commit
	if err := decode(&decoded, plumbing.CommitObject, raw); err != nil {
		return 0, err
	}
	return max(0, decoded.Committer.When.Unix()), c.tree(".", decoded.TreeHash, 0)
}

func (c *checkout) tree(dir string, hash plumbing.Hash, depth int) error {
	if depth > maxDepth {
		return refusal.New(reasonSize, "build from a smaller tree", "more than %d levels of folders", maxDepth)
	}
	raw, err := c.read(plumbing.TreeObject, hash)
	if err != nil {
		return err
	}
	var decoded object.Tree
	if err := decode(&decoded, plumbing.TreeObject, raw); err != nil {
		return err
	}
	for _, e := range decoded.Entries {
		if c.entries++; c.entries > maxEntries {
			return refusal.New(reasonSize, "build from a smaller tree", "more than %d entries", maxEntries)
		}
		if err := c.entry(path.Join(dir, e.Name), e, depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkout) entry(name string, e object.TreeEntry, depth int) error {
	if err := checkEntryName(e.Name); err != nil {
		return err
	}
	if len(name) > maxPath {
		return refusal.New(reasonSize, "build from a tree with shorter names", "a path of more than %d bytes", maxPath)
	}
	mode := os.FileMode(0o644)
	switch e.Mode {
	case filemode.Dir:
		if err := c.root.Mkdir(name, 0o755); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
		return c.tree(name, e.Hash, depth+1)
	case filemode.Executable:
		mode = 0o755
	case filemode.Regular:
	default:
		return refusal.New(reasonEntry, "take links and submodules out of the tree", "%q has mode %q", name, e.Mode)
	}
	raw, err := c.read(plumbing.BlobObject, e.Hash)
	if err != nil {
		return err
	}
	// With O_EXCL: two entries of one name are refused, and links do not exist.
	f, err := c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("making a file: %w", err)
	}
	if _, err := f.Write(raw); err != nil {
		_ = f.Close()
		return fmt.Errorf("writing a file: %w", err)
	}
	return f.Close()
}

// checkEntryName refuses names that are more than a name, and git's own folder,
// from which a git that comes along later would take its orders.
func checkEntryName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") || !utf8.ValidString(name) || strings.EqualFold(name, ".git") {
		return refusal.New(reasonEntry, "rename it", "an entry is named %q", name)
	}
	return nil
}

func (c *checkout) read(kind plumbing.ObjectType, hash plumbing.Hash) ([]byte, error) {
	o, err := c.objects.EncodedObject(kind, hash)
	if err != nil {
		return nil, refusal.New(reasonCorrupt, "repair the repository", "%s %s: %v", kind, hash, err)
	}
	if c.bytes += o.Size(); o.Size() < 0 || c.bytes > maxTreeBytes {
		return nil, refusal.New(reasonSize, "build from a smaller tree", "more than %d bytes", int64(maxTreeBytes))
	}
	r, err := o.Reader()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", hash, err)
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, o.Size()+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", hash, err)
	}
	if got := plumbing.ComputeHash(kind, raw); got != hash {
		return nil, refusal.New(reasonCorrupt, "repair the repository", "%s %s has the content of %s", kind, hash, got)
	}
	return raw, nil
}

func decode(into interface {
	Decode(o plumbing.EncodedObject) error
}, kind plumbing.ObjectType, raw []byte,
) error {
	o := &plumbing.MemoryObject{}
	o.SetType(kind)
	if _, err := o.Write(raw); err != nil {
		return err
	}
	if err := into.Decode(o); err != nil {
		return refusal.New(reasonCorrupt, "repair the repository", "%s %s: %v", kind, o.Hash(), err)
	}
	return nil
}
