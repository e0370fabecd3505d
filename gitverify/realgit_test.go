package gitverify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// realGit is a repository of the real git, the referee of the tests that
// compare trees and look for merge bases, and its objects in memory.
type realGit struct {
	t       testing.TB
	dir     string
	objects map[ID]realObject
	reads   map[ID]int
}

type realObject struct {
	kind string
	body []byte
}

func newRealGit(t testing.TB) *realGit {
	t.Helper()
	g := &realGit{t: t, dir: t.TempDir(), objects: map[ID]realObject{}, reads: map[ID]int{}}
	g.git("", "init", "--quiet", "--bare")
	return g
}

// git runs the real git on some input.
func (g *realGit) git(input string, args ...string) string {
	g.t.Helper()
	out, err := g.try(input, args...)
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

func (g *realGit) try(input string, args ...string) (string, error) {
	g.t.Helper()
	cmd := exec.CommandContext(g.t.Context(), "git", args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_DIR=.", "GIT_INDEX_FILE=index",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@factory.test", "GIT_COMMITTER_NAME=C", "GIT_COMMITTER_EMAIL=c@factory.test")
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// load copies all objects into memory.
func (g *realGit) load() {
	g.t.Helper()
	out := bufio.NewReader(strings.NewReader(g.git("", "cat-file", "--batch", "--batch-all-objects")))
	for {
		var id, kind string
		var size int
		if _, err := fmt.Fscanf(out, "%s %s %d\n", &id, &kind, &size); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			g.t.Fatal(err)
		}
		body := make([]byte, size+1)
		if _, err := io.ReadFull(out, body); err != nil {
			g.t.Fatal(err)
		}
		g.objects[ID(id)] = realObject{kind, body[:size]}
	}
}

func (g *realGit) Object(_ context.Context, id ID, _ int64) (string, []byte, error) {
	o, ok := g.objects[id]
	if !ok {
		return "", nil, fmt.Errorf("%s: %w", id, ErrObjectMissing)
	}
	g.reads[id]++
	return o.kind, o.body, nil
}

func (g *realGit) reader() objectReader { return objectReader{objects: g} }

// leaves are what a tree holds: mode and content by path.
type leaves map[string]leafContent

type leafContent struct {
	mode    entryMode
	content string
}

// trees stores trees with the real git, all in one run of fast-import, and
// loads all objects.
func (g *realGit) trees(all []leaves) []ID {
	g.t.Helper()
	var stream strings.Builder
	for i, tree := range all {
		fmt.Fprintf(&stream, "commit refs/heads/t%d\ncommitter C <c@factory.test> 1700000000 +0000\ndata 0\n", i)
		for _, path := range slices.Sorted(maps.Keys(tree)) {
			l := tree[path]
			if l.mode == modeGitlink {
				fmt.Fprintf(&stream, "M 160000 %040x %s\n", len(l.content)+1, path)
				continue
			}
			fmt.Fprintf(&stream, "M %s inline %s\ndata %d\n%s\n", l.mode, path, len(l.content), l.content)
		}
	}
	g.git(stream.String(), "fast-import", "--quiet", "--force")
	ids := make([]ID, len(all))
	var names strings.Builder
	for i := range all {
		fmt.Fprintf(&names, "refs/heads/t%d^{tree}\n", i)
	}
	for i, id := range strings.Fields(g.git(names.String(), "cat-file", "--batch-check=%(objectname)")) {
		ids[i] = ID(id)
	}
	g.load()
	return ids
}
