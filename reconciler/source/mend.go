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

// sound says whether a pack and its index are there, whole, and of each other.
// Both end with a checksum of what is before; an index has that of its pack
// before its own (gitformat-pack).
func sound(base string) bool {
	pack, _, ok := checksum(base + ".pack")
	if !ok {
		return false
	}
	_, before, ok := checksum(base + ".idx")
	return ok && bytes.Equal(before, pack)
}

// checksum returns the last 20 bytes of a file and the 20 before them, and
// whether the last are the SHA-1 of everything before.
func checksum(path string) (last, before []byte, ok bool) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() < 2*sha1.Size {
		return nil, nil, false
	}
	h := sha1.New() //nolint:gosec // see above
	if _, err := io.CopyN(h, file, info.Size()-sha1.Size); err != nil {
		return nil, nil, false
	}
	ends := make([]byte, 2*sha1.Size)
	if _, err := file.ReadAt(ends, info.Size()-2*sha1.Size); err != nil {
		return nil, nil, false
	}
	last, before = ends[sha1.Size:], ends[:sha1.Size]
	return last, before, bytes.Equal(h.Sum(nil), last)
}
