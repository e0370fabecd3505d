package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	for _, kind := range []map[plumbing.Hash]plumbing.EncodedObject{objects.Blobs, objects.Trees, objects.Commits, objects.Tags} {
		for id, o := range kind {
			if slices.Contains(wants, id) {
				continue
			}
			if err := s.put(o); err != nil {
				return err
			}
		}
	}
	for _, id := range slices.Backward(wants) { // the heartbeat may be about what the ref has
		if o, sent := objects.Objects[id]; sent {
			if err := s.put(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// put writes an object into a file of its own. What a power loss left under its name
// would be taken for it.
func (s *Store) put(o plumbing.EncodedObject) error {
	id := o.Hash().String()
	if path := filepath.Join(s.dir, "objects", id[:2], id[2:]); !soundObject(path) {
		_ = os.Remove(path)
	}
	_, err := s.disk.SetEncodedObject(o)
	return err
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

// soundObject says whether the file of an object is whole, as far as it can be told: its
// name is the digest of what is in it (gitformat-loose).
func soundObject(path string) bool {
	name := filepath.Base(filepath.Dir(path)) + filepath.Base(path)
	digest, err := objectIn(path)
	return unread(err) || err == nil && digest.String() == name
}

// unread says that a file is there, and could not be read this time: that is no reason
// to take away what may be the only copy.
func unread(err error) bool {
	var of *fs.PathError
	return errors.As(err, &of) && !errors.Is(err, fs.ErrNotExist)
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
	defer reader.Close() //nolint:errcheck // it was only read from
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
