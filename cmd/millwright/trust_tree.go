package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/trustpolicy"
	"millwright.dev/millwright/reconciler/source"
)

// Bounds on what is listed of a repository that nobody has verified.
const (
	maxListed     = 200_000
	maxTreeObject = 16 << 20
	maxTreeDepth  = 64
)

var errListed = errors.New("the tree has more files than lint looks at")

// shownTree is the tree of a commit as it lies there. Nothing is verified: it is
// for showing and warning, and no decision rests on it.
type shownTree struct {
	objects *source.Store
	root    gitverify.ID
}

type shownEntry struct {
	mode, name string
	id         gitverify.ID
}

func openShownTree(ctx context.Context, repo, rev string) (shownTree, error) {
	store, err := source.OpenLocal(repo)
	if err != nil {
		return shownTree{}, local(err)
	}
	id, err := store.Resolve(rev)
	if err != nil {
		return shownTree{}, local(err)
	}
	kind, body, err := store.Object(ctx, id, maxTreeObject)
	if err != nil {
		return shownTree{}, local(err)
	}
	tree, _, _ := strings.Cut(strings.TrimPrefix(string(body), "tree "), "\n")
	if kind != "commit" || !strings.HasPrefix(string(body), "tree ") {
		return shownTree{}, usageError{fmt.Errorf("%s is a %s, not a commit", id, kind)}
	}
	return shownTree{store, gitverify.ID(tree)}, nil
}

// readCommitted reads a regular file of a commit.
func readCommitted(ctx context.Context, repo, rev, path string) ([]byte, error) {
	t, err := openShownTree(ctx, repo, rev)
	if err != nil {
		return nil, err
	}
	at := shownEntry{mode: "40000", id: t.root}
	for segment := range strings.SplitSeq(path, "/") {
		entries, err := t.entries(ctx, at)
		if err != nil {
			return nil, err
		}
		at = shownEntry{}
		for _, e := range entries {
			if e.name == segment {
				at = e
			}
		}
	}
	switch {
	case at.id == "":
		return nil, noPolicy(fmt.Errorf("%s has no file %s", rev, path))
	case at.mode != "100644":
		return nil, &policyError{path, &trustpolicy.Invalid{Detail: "not a regular file"}}
	}
	_, body, err := t.objects.Object(ctx, at.id, trustpolicy.MaxSize+1)
	return body, local(err)
}

// entries lists a directory; anything else has none.
func (t shownTree) entries(ctx context.Context, dir shownEntry) ([]shownEntry, error) {
	if dir.mode != "40000" {
		return nil, nil
	}
	kind, body, err := t.objects.Object(ctx, dir.id, maxTreeObject)
	if err != nil {
		return nil, local(err)
	}
	if kind != "tree" {
		return nil, fmt.Errorf("object %s is a %s, not a tree", dir.id, kind)
	}
	var entries []shownEntry
	for len(body) > 0 {
		head, rest, ok := bytes.Cut(body, []byte{0})
		mode, name, spaced := strings.Cut(string(head), " ")
		if !ok || !spaced || len(rest) < 20 {
			return nil, fmt.Errorf("tree %s is cut short", dir.id)
		}
		entries = append(entries, shownEntry{mode, name, gitverify.ID(hex.EncodeToString(rest[:20]))})
		body = rest[20:]
	}
	return entries, nil
}

// files lists everything below a directory.
func (t shownTree) files(ctx context.Context, dir shownEntry, prefix string, into *[]string) error {
	if strings.Count(prefix, "/") > maxTreeDepth {
		return errListed
	}
	entries, err := t.entries(ctx, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.mode == "40000" {
			if err := t.files(ctx, e, prefix+e.name+"/", into); err != nil {
				return err
			}
			continue
		}
		if len(*into) >= maxListed {
			return errListed
		}
		*into = append(*into, prefix+e.name)
	}
	return nil
}

// listFiles lists what a policy is about: the files of HEAD, or those of a
// directory that has no commit yet.
func listFiles(ctx context.Context, repo string) ([]string, error) {
	var files []string
	if t, err := openShownTree(ctx, repo, "HEAD"); err == nil {
		return files, t.files(ctx, shownEntry{mode: "40000", id: t.root}, "", &files)
	}
	err := filepath.WalkDir(repo, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && path != repo:
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return ctx.Err()
		case len(files) >= maxListed:
			return errListed
		}
		name, err := filepath.Rel(repo, path)
		files = append(files, filepath.ToSlash(name))
		return err
	})
	return files, err
}
