package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/memory"
)

// What a fetch brings is a handful of objects, thousands of times over the years. Each
// pack has an index that a process reads when it starts, and that is searched for every
// object: so small packs are unpacked into files of their own, as git does
// (fetch.unpackLimit), and no larger ones than fit into memory.
const (
	unpackedObjects = 100
	unpackedBytes   = 8 << 20
)

// store takes in a pack that was inspected. What was asked for is there when it returns,
// and not before all that came with it, wherever the process ends.
func (s *Store) store(pack io.Reader, in contents, wants []plumbing.Hash) error {
	if in.objects > unpackedObjects || in.unfolded > unpackedBytes {
		return packfile.WritePackfileToObjectStorage(s.disk, pack)
	}
	objects := memory.NewStorage()
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(pack), objects)
	if err != nil {
		return err
	}
	if _, err := parser.Parse(); err != nil {
		return err
	}
	for id, o := range objects.Objects {
		if slices.Contains(wants, id) {
			continue
		}
		if _, err := s.disk.SetEncodedObject(o); err != nil {
			return err
		}
	}
	for _, id := range wants {
		if o, sent := objects.Objects[id]; sent {
			if _, err := s.disk.SetEncodedObject(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// mendLoose removes the files of single objects that are not what their names say.
func (s *Store) mendLoose() {
	files, _ := filepath.Glob(filepath.Join(s.dir, "objects", "[0-9a-f][0-9a-f]", "*")) // the pattern is good
	for _, path := range files {
		if !soundObject(path) {
			_ = os.Remove(path)
		}
	}
}

// soundObject says whether the file of an object is whole: its name is the digest of
// what is in it (gitformat-loose).
func soundObject(path string) bool {
	name := filepath.Base(filepath.Dir(path)) + filepath.Base(path)
	digest, err := objectIn(path)
	return err == nil && digest.String() == name
}

func objectIn(path string) (plumbing.Hash, error) {
	file, err := os.Open(path)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer file.Close()
	reader, err := objfile.NewReader(file)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer reader.Close()
	_, size, err := reader.Header()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if size < 0 || size > maxObject {
		return plumbing.ZeroHash, fmt.Errorf("it claims %d bytes", size)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(reader, size+1))
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if n != size {
		return plumbing.ZeroHash, errors.New("it has another length than it claims")
	}
	return reader.Hash(), nil
}
