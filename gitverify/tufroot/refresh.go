package tufroot

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Bounds of what a repository may send. Real ones need a few kilobytes of each.
const (
	maxRoot      = 512 << 10
	maxTimestamp = 16 << 10
	maxSnapshot  = 1 << 20
	maxTargets   = 1 << 20
	maxTarget    = 1 << 20
)

// Refresh asks the repository for its newest state and stores it, all of it or
// nothing; see the package comment for the one exception. An error leaves what
// [Client.Current] says as it was.
func (c *Client) Refresh(ctx context.Context) (err error) {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	defer recovered("metadata", &err)
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	old := c.cached()
	next, err := c.follow(ctx, old)
	if err == nil {
		return c.store(next)
	}
	if len(next.Roots) > len(old.Roots) {
		// The roots hold, even so: what they revoked must not come back.
		old.Roots = next.Roots
		return errors.Join(err, c.store(old))
	}
	return err
}

// follow goes from what is known to what the repository says. With an error,
// only the roots of its answer hold.
func (c *Client) follow(ctx context.Context, old record) (record, error) {
	before, err := openChain(c.opts.Root, old.Roots, old.Under)
	if err != nil {
		return old, err
	}
	now, err := openChain(c.opts.Root, old.Roots, 0)
	if err != nil {
		return old, err
	}
	next := old
	if next.Roots, err = c.roots(ctx, now, old.Roots); err != nil {
		return next, err
	}
	next.Under, now.RefTime = now.Root.Signed.Version, c.opts.Clock()
	next.Fetched = now.RefTime.UTC()
	now.remember(old, before.Root)
	err = c.rest(ctx, now, &next)
	return next, err
}

// cached is the cache as far as it can be believed: all of it, its roots, or
// nothing. A broken cache costs a fetch.
func (c *Client) cached() record {
	raw, err := readCache(c.opts.Dir)
	if err != nil {
		return record{}
	}
	r, err := decodeCache(raw)
	if err != nil {
		return record{}
	}
	if _, err := openChain(c.opts.Root, r.Roots, 0); err != nil {
		return record{}
	}
	// A newer initial root makes those up to it superfluous.
	r.Roots = newer(c.opts.Root, r.Roots)
	if r.Target != nil {
		if _, err := c.verify(r); err != nil {
			return record{Roots: r.Roots}
		}
	}
	return r
}

// roots follows the rotations of the root to the newest one (TUF 5.3), and
// gives all that hold.
func (c *Client) roots(ctx context.Context, s *set, known [][]byte) ([][]byte, error) {
	known = slices.Clone(known)
	for {
		name := fmt.Sprintf("%d.root.json", s.Root.Signed.Version+1)
		data, err := c.repo.get(ctx, "root", name, maxRoot)
		if errors.Is(err, errAbsent) {
			return known, nil
		}
		if err != nil {
			return known, err
		}
		if len(known) >= maxRotations {
			return known, bad(CodeSize, "root", "more than %d rotations since the initial root", maxRotations)
		}
		if err := s.take("root", data); err != nil {
			return known, err
		}
		known = append(known, data)
	}
}

// rest follows timestamp, snapshot, targets and the target (TUF 5.4 to 5.7).
func (c *Client) rest(ctx context.Context, s *set, next *record) error {
	if s.Root.Signed.IsExpired(s.RefTime) {
		return bad(CodeExpired, "root", "version %d expired at %s", s.Root.Signed.Version, s.Root.Signed.Expires.UTC())
	}
	var err error
	if next.Timestamp, err = c.timestamp(ctx, s, next.Timestamp); err != nil {
		return err
	}
	s.loadFloor()
	meta := s.Timestamp.Signed.Meta["snapshot.json"]
	if next.Snapshot, err = c.below(ctx, s, piece{"snapshot", meta, maxSnapshot, next.Snapshot}); err != nil {
		return err
	}
	meta = s.Snapshot.Signed.Meta["targets.json"]
	if meta == nil {
		return bad(CodeMalformed, "snapshot", "it does not name the targets")
	}
	if next.Targets, err = c.below(ctx, s, piece{"targets", meta, maxTargets, next.Targets}); err != nil {
		return err
	}
	next.Target, err = c.target(ctx, s, next.Target)
	return err
}

// timestamp fetches the timestamp. The same version again means no news, and
// the bytes that were verified before are kept.
func (c *Client) timestamp(ctx context.Context, s *set, cached []byte) ([]byte, error) {
	data, err := c.repo.get(ctx, "timestamp", "timestamp.json", maxTimestamp)
	if err != nil {
		return nil, away("timestamp", err)
	}
	err = s.take("timestamp", data)
	if errors.Is(err, &metadata.ErrEqualVersionNumber{}) {
		data, err = cached, nil
	}
	if err == nil && s.Timestamp.Signed.IsExpired(s.RefTime) {
		err = bad(CodeExpired, "timestamp", "version %d expired at %s", s.Timestamp.Signed.Version, s.Timestamp.Signed.Expires.UTC())
	}
	return data, err
}

// piece is metadata that other metadata describes.
type piece struct {
	role   string
	meta   *metadata.MetaFiles
	limit  int64
	cached []byte
}

// below takes a piece from the cache if it is the one that is asked for, and
// from the repository otherwise.
func (c *Client) below(ctx context.Context, s *set, p piece) ([]byte, error) {
	if p.cached != nil && s.version(p.role, p.cached) == p.meta.Version && s.take(p.role, p.cached) == nil {
		return p.cached, nil
	}
	name := p.role + ".json"
	if s.Root.Signed.ConsistentSnapshot {
		name = fmt.Sprintf("%d.%s", p.meta.Version, name)
	}
	data, err := c.repo.get(ctx, p.role, name, p.limit)
	if err != nil {
		return nil, away(p.role, err)
	}
	return data, s.take(p.role, data)
}

// version reads the version of metadata that was verified before.
func (s *set) version(role string, data []byte) int64 {
	if role == metadata.SNAPSHOT {
		if m, err := metadata.Snapshot().FromBytes(data); err == nil {
			return m.Signed.Version
		}
		return 0
	}
	if m, err := metadata.Targets().FromBytes(data); err == nil {
		return m.Signed.Version
	}
	return 0
}

// target fetches the trusted root itself.
func (c *Client) target(ctx context.Context, s *set, cached []byte) ([]byte, error) {
	name := c.opts.Target
	if cached != nil && s.accept(name, cached) == nil {
		return cached, nil
	}
	info, err := s.target(name)
	if err != nil {
		return nil, err
	}
	file := name
	if s.Root.Signed.ConsistentSnapshot {
		sum := info.Hashes["sha256"]
		if len(sum) == 0 {
			sum = info.Hashes["sha512"]
		}
		file = hex.EncodeToString(sum) + "." + name
	}
	data, err := c.repo.get(ctx, name, path.Join("targets", file), maxTarget)
	if err != nil {
		return nil, away(name, err)
	}
	return data, s.accept(name, data)
}

func (c *Client) store(r record) error {
	raw, err := r.encode()
	if err != nil {
		return err
	}
	return writeCache(c.opts.Dir, raw)
}
