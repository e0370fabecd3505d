package gitverify

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/pjbgf/sha1cd"
)

// ID is a full SHA-1 object name in lower-case hex, 40 characters.
type ID string

// valid tells whether the name has its one canonical form.
func (id ID) valid() bool {
	if len(id) != 40 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

var (
	// ErrObjectMissing is wrapped by [Objects] when an object is not there.
	ErrObjectMissing = errors.New("object missing")
	// ErrObjectTooLarge is wrapped by [Objects] when an object exceeds the limit.
	ErrObjectTooLarge = errors.New("object too large")
)

// Objects reads raw objects of a Git repository. Implementations need not be
// trusted: every byte that gitverify uses is hashed again against the name it
// was asked for (CVE-2026-25934).
//
// A missing object is reported with an error that wraps [ErrObjectMissing], an
// object over the limit with one that wraps [ErrObjectTooLarge]; anything else
// is an inability to read.
type Objects interface {
	// Object returns the type ("commit", "tree", "blob", "tag") and the body
	// of an object without its loose header; at most limit bytes.
	Object(ctx context.Context, id ID, limit int64) (kind string, body []byte, err error)
}

// objectReader reads objects and believes nothing about them.
type objectReader struct {
	objects Objects
	// trees spares reading and hashing a tree twice; nil for none.
	trees *treeCache
}

// read returns the body of an object of the wanted kind whose bytes hash to
// its name. A body over the limit is refused with tooLarge.
func (r objectReader) read(ctx context.Context, id ID, kind string, limit int64, tooLarge string) ([]byte, error) {
	if !id.valid() {
		return nil, fmt.Errorf("reading an object: %q is not a full object name", string(id))
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", kind, id, err)
	}
	got, body, err := r.objects.Object(ctx, id, limit)
	switch {
	case errors.Is(err, ErrObjectTooLarge), err == nil && int64(len(body)) > limit:
		return nil, refuse(tooLarge, "%s %s is larger than %d bytes", kind, id, limit)
	case err != nil:
		return nil, fmt.Errorf("reading %s %s: %w", kind, id, err)
	}
	// First the hash, so that a wrong kind is known to be the object's own.
	if err := checkHash(id, got, body); err != nil {
		return nil, err
	}
	if got != kind {
		return nil, refuse(codeMalformed, "%s is a %s where a %s is wanted", id, got, kind)
	}
	return body, nil
}

// checkHash hashes an object again. Packs do not carry their objects' names in
// a form that readers check (CVE-2026-25934), and SHA-1 alone can be made to
// collide, so both are looked at here.
func checkHash(id ID, kind string, body []byte) error {
	header := append(strconv.AppendInt([]byte(kind+" "), int64(len(body)), 10), 0)
	return checkSum(id, kind, header, body)
}

// checkSum hashes what is given, so that a test can hand it the two halves of a
// collision, of which no object of git is one.
func checkSum(id ID, kind string, header, body []byte) error {
	h, ok := sha1cd.New().(sha1cd.CollisionResistantHash)
	if !ok {
		return errors.New("hashing an object: collision detection is not available")
	}
	h.Write(header)
	h.Write(body)
	sum, collision := h.CollisionResistantSum(nil)
	if collision {
		return refuse(codeCollision, "%s %s is half of a SHA-1 collision", kind, id)
	}
	if hex.EncodeToString(sum) != string(id) {
		return refuse(codeHash, "%s %s holds the bytes of another object", kind, id)
	}
	return nil
}
