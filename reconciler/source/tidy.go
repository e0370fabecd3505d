package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// Each fetch leaves a pack. An object is looked for in the index of one pack after the
// other, and who opens the store reads them all, so a year of commits would make every
// start slower. When there are manyPacks that are small, together at most smallPacks
// bytes, they become one; what grows beyond that is left alone.
const (
	manyPacks  = 64
	smallPacks = 32 << 20
)

// Tidy puts small packs together, when there are many. An old pack goes only when each of
// its objects is in the new one, which has got to the disk before. Whatever ends it in
// between leaves objects twice, and none less. Where it fails it is not tried again.
func (s *Store) Tidy(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	small := s.smallPacks()
	if len(small) < manyPacks || s.untidy {
		return nil
	}
	s.untidy = true // what fails would fail again, and takes time
	var objects []plumbing.Hash
	for _, pack := range small {
		found, err := objectsOf(pack)
		if err != nil {
			return fmt.Errorf("tidying the object store: %w", err)
		}
		objects = slices.AppendSeq(objects, maps.Keys(found))
	}
	slices.SortFunc(objects, func(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) })
	objects = slices.Compact(objects)
	pack, err := s.together(ctx, objects)
	if err == nil {
		err = replaced(pack, small, objects)
	}
	s.reopen()
	if err != nil {
		return fmt.Errorf("tidying the object store: %w", err)
	}
	s.untidy = false
	return nil
}

func (s *Store) packPath(name string) string { return filepath.Join(s.dir, "objects", "pack", name) }

// smallPacks are the paths of the smallest packs, without their endings.
func (s *Store) smallPacks() []string {
	sizes := map[string]int64{}
	packs, _ := filepath.Glob(s.packPath("pack-*.pack")) // the pattern is good
	for _, path := range packs {
		if info, err := os.Stat(path); err == nil {
			sizes[strings.TrimSuffix(path, ".pack")] = info.Size()
		}
	}
	out := slices.SortedFunc(maps.Keys(sizes), func(a, b string) int { return cmp.Or(cmp.Compare(sizes[a], sizes[b]), cmp.Compare(a, b)) })
	sum := int64(0)
	for i, pack := range out {
		if sum += sizes[pack]; sum > smallPacks {
			return out[:i]
		}
	}
	return out
}

// objectsOf reads what a pack has from its index.
func objectsOf(pack string) (map[plumbing.Hash]bool, error) {
	file, err := os.Open(pack + ".idx")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	index := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(file).Decode(index); err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Base(file.Name()), err)
	}
	entries, err := index.Entries()
	if err != nil {
		return nil, err
	}
	defer entries.Close() //nolint:errcheck // it is in memory
	out := map[plumbing.Hash]bool{}
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out[entry.Hash] = true
	}
}

// together makes one pack of objects, and takes it in as if it had been fetched.
func (s *Store) together(ctx context.Context, objects []plumbing.Hash) (pack string, err error) {
	read, write := io.Pipe()
	var name plumbing.Hash
	made := make(chan struct{})
	go func() {
		defer close(made)
		var err error
		name, err = packfile.NewEncoder(write, s.disk, false).Encode(objects, 0)
		write.CloseWithError(err) // only now is the pack whole, and the store written to
	}()
	err = s.take(ctx, read, DefaultMaxPack)
	_ = read.Close()
	<-made
	return s.packPath("pack-" + name.String()), err
}

// replaced removes packs whose objects are in another one.
func replaced(by string, packs []string, objects []plumbing.Hash) error {
	has, err := objectsOf(by)
	if err != nil {
		return err
	}
	for _, id := range objects {
		if !has[id] {
			return fmt.Errorf("object %s is not in the new pack", id)
		}
	}
	for _, path := range []string{by + ".pack", by + ".idx", filepath.Dir(by)} {
		if err := onDisk(path); err != nil {
			return err
		}
	}
	for _, pack := range packs {
		if pack == by {
			continue
		}
		// An index without its pack is not looked at; a pack without its index is an error.
		for _, ending := range []string{".pack", ".idx"} {
			if err := os.Remove(pack + ending); err != nil {
				return err
			}
		}
	}
	return nil
}

func onDisk(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
