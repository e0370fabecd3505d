// Package source fetches the one ref that a factory follows into a bare object
// store, and hands out its newest commit as a [Checkout].
//
// A checkout is locked: nothing of its tree can be read until gitverify has
// accepted that very commit ([Checkout.Tree] wants its Verification). There is
// never a work tree, so attributes, filters, hooks, symbolic links and case
// folding of a checkout on disk have no place to happen.
//
// Only the followed ref is fetched, a branch or a tag, and the heartbeat (rule
// T11), which is a hint and never keeps the ref from coming: no other tags, no
// notes, no refs/replace, no pull-request refs (attack rows C08 and C28). A
// source that holds a part of its history is not fetched from (row C09). The
// store is a cache. Objects are hashed again by whoever reads them; losing the
// folder costs one clone.
//
// A fetch is bounded: in time, in the size of the list of refs, of the pack and
// of what the pack unfolds to (attack rows E04 and E06). A pack waits in
// quarantine until it was read from end to end; half a pack is never indexed.
//
// The server must be the one that the Factory names. Over SSH its key stands in
// known_hosts, over HTTPS its certificate is signed by an authority of the
// system or of the Secret, and a redirect to another host, port or scheme is not
// followed (attack rows E01 and E03).
//
// Failures here are never a no. They mean "could not tell", are retried, and
// leave the last good state in force. Each is an [*Error] with a stable reason.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"millwright.dev/millwright/gitverify"
)

// objectCacheSize bounds the decoded objects that go-git keeps in memory.
const objectCacheSize = 32 * cache.MiByte

// maxOpenPacks bounds the packs that are kept open.
const maxOpenPacks = 16

// Store is a bare object store on disk that mirrors one ref of one repository.
// It implements [gitverify.Objects]. Its methods may be called concurrently.
type Store struct {
	mu   sync.Mutex // go-git's storage is not safe for concurrent use
	dir  string
	disk *filesystem.Storage
	// whole says that the next fetch takes nothing for had.
	whole bool
	pulse pulse
	// interrupt is for tests alone: see [OpenInterrupted].
	interrupt func(point string) error
}

// Points of a fetch that a test is told of.
const (
	PointPackHeld    = "pack in quarantine"
	PointBeforeIndex = "before a file of the pack or of an object gets its name"
	PointAfterIndex  = "after a file of the pack or of an object got its name"
)

// Open opens the store below dir and makes it when it is not there.
func Open(dir string) (*Store, error) { return OpenInterrupted(dir, nil) }

// OpenInterrupted is Open for tests: a function is told of some points of a
// fetch, and what it returns is taken for what the disk says there.
func OpenInterrupted(dir string, interrupt func(point string) error) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the object store: %w", err)
	}
	s := &Store{dir: dir, interrupt: interrupt}
	s.sweep()
	s.reopen()
	if _, err := s.disk.Reference(plumbing.HEAD); errors.Is(err, plumbing.ErrReferenceNotFound) {
		if err := s.disk.Init(); err != nil {
			return nil, fmt.Errorf("initialising the object store: %w", err)
		}
		if err := s.disk.SetConfig(config.NewConfig()); err != nil {
			return nil, fmt.Errorf("initialising the object store: %w", err)
		}
	}
	return s, nil
}

// Refetch makes the next fetch a whole one: nothing that is here counts as had.
// It is for a store that lacks objects which a fetch would not notice, since the
// tip is there (attack row E05, fault I07). What is here stays: a server that
// leaves things out must not be able to take the last good revision away.
func (s *Store) Refetch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = true
}

func (s *Store) reopen() {
	if s.disk != nil {
		_ = s.disk.Close() // it was only read from
	}
	s.disk = openDisk(s.dir, s.interrupt)
}

// openDisk keeps a few packs open: opening one costs more than reading an object.
func openDisk(dir string, interrupt func(string) error) *filesystem.Storage {
	disk := osfs.New(dir, osfs.WithBoundOS())
	if interrupt != nil {
		disk = interruptedDisk{disk, interrupt}
	}
	return filesystem.NewStorageWithOptions(disk, cache.NewObjectLRU(objectCacheSize),
		filesystem.Options{MaxOpenDescriptors: maxOpenPacks})
}

// interruptedDisk tells a test of files that get their names.
type interruptedDisk struct {
	billy.Filesystem
	interrupt func(string) error
}

// Rename implements [billy.Filesystem].
func (d interruptedDisk) Rename(from, to string) error {
	if err := d.interrupt(PointBeforeIndex); err != nil {
		return err
	}
	if err := d.Filesystem.Rename(from, to); err != nil {
		return err
	}
	return d.interrupt(PointAfterIndex)
}

// Object implements [gitverify.Objects].
func (s *Store) Object(ctx context.Context, id gitverify.ID, limit int64) (string, []byte, error) {
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	if len(id) != 40 || !plumbing.IsHash(string(id)) {
		return "", nil, fmt.Errorf("object name %q is not a SHA-1", id)
	}
	hash := plumbing.NewHash(string(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	object, err := s.disk.EncodedObject(plumbing.AnyObject, hash)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return "", nil, fmt.Errorf("object %s: %w", id, gitverify.ErrObjectMissing)
	}
	if err != nil {
		return "", nil, damaged(id, err)
	}
	reader, err := object.Reader()
	if err != nil {
		return "", nil, damaged(id, err)
	}
	defer reader.Close()
	body, err := io.ReadAll(io.LimitReader(reader, limit+1))
	if err != nil {
		return "", nil, damaged(id, err)
	}
	if int64(len(body)) > limit {
		return "", nil, fmt.Errorf("object %s is larger than %d bytes: %w", id, limit, gitverify.ErrObjectTooLarge)
	}
	return object.Type().String(), body, nil
}

// Checkout is a fetched commit whose tree is still locked.
type Checkout struct {
	// Commit is what the ref pointed at when it was fetched. Where the ref is a
	// tag it is the commit that the tag claims to name: the verifier has to say so.
	Commit gitverify.ID
	// Tag is the tag object that the ref pointed at; empty for a branch. What it
	// names may be no tag at all: that is for the verifier to find out.
	Tag gitverify.ID
	// Heartbeat is the newest heartbeat that the remote has, unverified; empty
	// when there is none or it could not be fetched.
	Heartbeat gitverify.ID
	// Ref is the followed ref.
	Ref   string
	store *Store
}

// Tip is the object that the ref pointed at: the commit, or the tag.
func (c Checkout) Tip() gitverify.ID {
	if c.Tag != "" {
		return c.Tag
	}
	return c.Commit
}

// Tree opens the tree of the checkout. The verification is the key: it must be
// of this very commit and ref, otherwise nothing is opened.
func (c Checkout) Tree(ctx context.Context, v gitverify.Verification) (fs.FS, error) {
	if v.Commit() == "" || v.Commit() != c.Commit || v.Ref() != c.Ref {
		return nil, fmt.Errorf("tree of %s: the verification is of commit %q on %q", c.Commit, v.Commit(), v.Ref())
	}
	tree, err := gitverify.OpenTree(ctx, c.store, v)
	if err != nil {
		return nil, fmt.Errorf("opening the tree of %s: %w", c.Commit, err)
	}
	return tree, nil
}

// Objects gives the verifier access to the raw objects.
func (c Checkout) Objects() gitverify.Objects { return c.store }

// Checkout names a commit that was fetched before, for example the last
// applied revision after the ref moved on to something that was refused.
func (s *Store) Checkout(commit gitverify.ID, ref string) Checkout {
	return Checkout{Commit: commit, Ref: ref, store: s}
}
