package source

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git's own checksum, against accidents: objects are hashed again by the verifier
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"millwright.dev/millwright/gitverify"
)

// ErrObjectDamaged is an object that is there and cannot be read: a file of the
// store was torn by a power loss, or the disk fails. A whole fetch may mend it.
var ErrObjectDamaged = errors.New("the object store is damaged")

func damaged(id gitverify.ID, err error) error {
	return fmt.Errorf("reading object %s: %w: %w", id, ErrObjectDamaged, err)
}

// mend removes the packs and objects that are not whole, so that a whole fetch takes
// their place. As long as a torn one is there, it is looked into and no other (rows
// K13, I07). What is whole stays.
func (s *Store) mend() {
	s.mendLoose()
	indexes, _ := filepath.Glob(filepath.Join(s.dir, "objects", "pack", "*.idx")) // the pattern is good
	packs, _ := filepath.Glob(filepath.Join(s.dir, "objects", "pack", "*.pack"))
	for _, path := range append(indexes, packs...) {
		base := strings.TrimSuffix(path, filepath.Ext(path))
		if !sound(base) {
			_ = os.Remove(base + ".idx")
			_ = os.Remove(base + ".pack")
		}
	}
	s.reopen()
}

// sound says whether a pack and its index are there, whole, and of each other, as far
// as it can be told. Both end with a checksum of what is before; an index has that of
// its pack before its own (gitformat-pack).
func sound(base string) bool {
	pack, _, err := checksum(base + ".pack")
	if err != nil {
		return unread(err)
	}
	_, before, err := checksum(base + ".idx")
	return unread(err) || err == nil && bytes.Equal(before, pack)
}

// checksum returns the last 20 bytes of a file, which are the SHA-1 of everything
// before, and the 20 before them.
func checksum(path string) (last, before []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Size() < 2*sha1.Size {
		return nil, nil, fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	h := sha1.New() //nolint:gosec // see above
	if _, err := io.CopyN(h, file, info.Size()-sha1.Size); err != nil {
		return nil, nil, err
	}
	ends := make([]byte, 2*sha1.Size)
	if _, err := file.ReadAt(ends, info.Size()-2*sha1.Size); err != nil {
		return nil, nil, err
	}
	last, before = ends[sha1.Size:], ends[:sha1.Size]
	if !bytes.Equal(h.Sum(nil), last) {
		return nil, nil, fmt.Errorf("%s is not what its checksum says", path)
	}
	return last, before, nil
}
