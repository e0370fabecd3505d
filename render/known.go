package render

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"sigs.k8s.io/kustomize/api/types"
)

// file is what is known of a file of a closure.
type file struct {
	sum  [sha256.Size]byte
	size int64
	facts
	// content is nil where it was not needed yet: what a tree names by the same id
	// was read before. It is read from another path than its own where from has one.
	content []byte
	from    string
}

// known remembers what was found of content, by names that depend on nothing else:
// it is cache, and what is not in it is found again.
type known struct {
	mu sync.Mutex
	// blobs are files by the tree's own names for their content.
	blobs map[blobKey]file
	// bearable are files of YAML that were checked, read their documents; schemas is
	// how many bytes of them these hold.
	bearable map[bearableKey]facts
	read     map[bearableKey]read
	schemas  int
	// kustomizations are those that were read and allowed.
	kustomizations map[[sha256.Size]byte]*types.Kustomization
}

type blobKey struct {
	id    string
	bytes int64
}

type bearableKey struct {
	file   [sha256.Size]byte
	limits Limits
}

// knownMost bounds each memory; one that is full is forgotten as a whole.
const knownMost = 16384

func store[K comparable, V any](in *map[K]V, key K, value V) {
	if *in == nil || len(*in) >= knownMost {
		*in = map[K]V{}
	}
	(*in)[key] = value
}

// knownSchemas bounds the bytes of schemas that are remembered.
const knownSchemas = 64 << 20

// keep remembers a document.
func (k *known) keep(key bearableKey, r read) {
	if r.lifted != nil {
		for _, schema := range r.lifted.schemas {
			k.schemas += len(schema)
		}
	}
	if k.schemas > knownSchemas {
		k.read, k.schemas = nil, 0
	}
	store(&k.read, key, r)
}

// lfsPointer begins a file whose content is elsewhere (Git LFS specification).
var lfsPointer = []byte("version https://git-lfs.github.com/spec/")

// file reads a regular file, unless the tree says that it is one that was read.
func (k *known) file(tree fs.FS, name, id string, limits Limits) (*file, error) {
	key := blobKey{id, limits.FileBytes}
	k.mu.Lock()
	f, seen := k.blobs[key]
	k.mu.Unlock()
	if seen {
		return &f, nil
	}
	content, err := readFile(tree, name, limits)
	if err != nil {
		return nil, err
	}
	f = file{sum: sha256.Sum256(content), size: int64(len(content))}
	if id != "" {
		k.mu.Lock()
		store(&k.blobs, key, f)
		k.mu.Unlock()
	}
	f.content = content
	return &f, nil
}

func readFile(tree fs.FS, name string, limits Limits) ([]byte, error) {
	opened, err := tree.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	info, err := opened.Stat()
	if err == nil && info.Size() > limits.FileBytes {
		err = refuse(codeFileSize, name, "%d bytes, more than %d", info.Size(), limits.FileBytes)
	}
	if err := errors.Join(err, opened.Close()); err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	content, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	if bytes.HasPrefix(content, lfsPointer) {
		return nil, refuse(codeLFS, name, "a Git LFS pointer, not the file")
	}
	return content, nil
}

// errOtherContent is a tree that shows two contents under one name.
var errOtherContent = errors.New("the content is not what it was when the file was read before")

// content is what a file of the closure holds.
func (c closure) content(name string) ([]byte, error) {
	f := c.files[name]
	if f.content == nil {
		content, err := fs.ReadFile(c.tree, cmp.Or(f.from, name))
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", name, err)
		}
		if sha256.Sum256(content) != f.sum {
			return nil, fmt.Errorf("reading %q: %w", name, errOtherContent)
		}
		f.content = content
	}
	return f.content, nil
}

// check is checkYAML for a file that may have been checked before.
func (k *known) check(name string, f *file, in closure, limits Limits) error {
	key := bearableKey{f.sum, limits}
	k.mu.Lock()
	found, seen := k.bearable[key]
	k.mu.Unlock()
	if !seen {
		text, err := in.content(name)
		if err != nil {
			return err
		}
		if found, err = k.checked(name, text, limits); err != nil {
			return err
		}
		k.mu.Lock()
		store(&k.bearable, key, found)
		k.mu.Unlock()
	}
	f.facts = found
	return nil
}

// kustomization is parseKustomization for a file that may have been read before.
// It is not to be changed.
func (k *known) kustomization(name string, f *file, in closure) (*types.Kustomization, error) {
	k.mu.Lock()
	parsed, seen := k.kustomizations[f.sum]
	k.mu.Unlock()
	if seen {
		return parsed, nil
	}
	text, err := in.content(name)
	if err != nil {
		return nil, err
	}
	if parsed, err = parseKustomization(name, text); err != nil {
		return nil, err
	}
	k.mu.Lock()
	store(&k.kustomizations, f.sum, parsed)
	k.mu.Unlock()
	return parsed, nil
}
