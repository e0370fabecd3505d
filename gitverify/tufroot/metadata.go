package tufroot

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// maxRotations bounds the roots between the initial one and the newest.
const maxRotations = 256

// set is the metadata of one state of a repository, each piece verified by the
// one above it, the first by the initial root. The instant it is judged at is
// always given: the zero one judges no expiry.
type set struct {
	*trustedmetadata.TrustedMetadata
	// floor is the snapshot that a new one may not fall below.
	floor []byte
}

// recovered makes a panic of the library a no to what it was given: metadata
// may lack pieces that it does not look for.
func recovered(role string, err *error) {
	if p := recover(); p != nil {
		*err = bad(CodeMalformed, role, "reading it failed: %v", p)
	}
}

// openChain verifies the initial root and the given later ones, each signed by
// the one before, up to a version (0: all). Roots that are not newer than the
// initial one are left out: a newer initial root may be given any time.
func openChain(initial []byte, roots [][]byte, upTo int64) (s *set, err error) {
	defer recovered("root", &err)
	if len(initial) > maxRoot {
		return nil, bad(CodeSize, "root", "the initial root has more than %d bytes", maxRoot)
	}
	trusted, err := trustedmetadata.New(initial)
	if err != nil {
		return nil, because("root", err)
	}
	s = &set{TrustedMetadata: trusted}
	s.RefTime = time.Time{}
	if err := regular(trusted.Root.Signed.SpecVersion, trusted.Root.Signed.Version); err != nil {
		return nil, because("root", err)
	}
	for _, data := range roots {
		version, err := rootVersion(data)
		if err != nil {
			return nil, err
		}
		if version <= s.Root.Signed.Version {
			continue
		}
		if upTo != 0 && version > upTo {
			break
		}
		if err := s.take("root", data); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func rootVersion(data []byte) (int64, error) {
	root, err := metadata.Root().FromBytes(data)
	if err != nil {
		return 0, because("root", err)
	}
	return root.Signed.Version, nil
}

// newer leaves out the roots that the initial one makes superfluous. All of
// them were verified before.
func newer(initial []byte, roots [][]byte) [][]byte {
	from, err := rootVersion(initial)
	if err != nil {
		return roots
	}
	return slices.DeleteFunc(slices.Clone(roots), func(data []byte) bool {
		version, err := rootVersion(data)
		return err == nil && version <= from
	})
}

// regular refuses what the library lets pass: another major version of the
// specification (5.3 of it), and versions that count from below one.
func regular(spec string, version int64) error {
	if !strings.HasPrefix(spec, "1.") {
		return errors.New("it follows another version of the TUF specification")
	}
	if version < 1 {
		return errors.New("its version is below 1")
	}
	return nil
}

// take verifies the next piece of metadata and makes it part of the set.
func (s *set) take(role string, data []byte) (err error) {
	defer recovered(role, &err)
	switch role {
	case "root":
		return s.takeRoot(data)
	case "timestamp":
		t, err := s.UpdateTimestamp(data)
		if err != nil {
			return because(role, err)
		}
		if t.Signed.Meta["snapshot.json"] == nil {
			return bad(CodeMalformed, role, "it does not name the snapshot")
		}
		return because(role, regular(t.Signed.SpecVersion, t.Signed.Version))
	case "snapshot":
		return s.takeSnapshot(data)
	default:
		t, err := s.UpdateTargets(data)
		if errors.Is(err, &metadata.ErrBadVersionNumber{}) {
			return bad(CodeMismatch, role, "%w", err)
		}
		if err != nil {
			return because(role, err)
		}
		return because(role, regular(t.Signed.SpecVersion, t.Signed.Version))
	}
}

func (s *set) takeRoot(data []byte) error {
	before := s.Root.Signed.Version
	root, err := s.UpdateRoot(data)
	if errors.Is(err, &metadata.ErrBadVersionNumber{}) {
		// Signed by the right keys, yet under the wrong number: an old root again,
		// or one that would skip the rotations between.
		if version, _ := rootVersion(data); version > before {
			return bad(CodeMismatch, "root", "%w", err)
		}
	}
	if err != nil {
		return because("root", err)
	}
	return because("root", regular(root.Signed.SpecVersion, root.Signed.Version))
}

func (s *set) takeSnapshot(data []byte) error {
	before := s.Snapshot
	taken, err := s.UpdateSnapshot(data, false)
	if errors.Is(err, &metadata.ErrBadVersionNumber{}) && s.Snapshot != before {
		return bad(CodeMismatch, "snapshot", "%w", err) // not lower than before, but not what the timestamp names
	}
	if err != nil {
		return because("snapshot", err)
	}
	return because("snapshot", regular(taken.Signed.SpecVersion, taken.Signed.Version))
}

// target is what the targets metadata says of a file.
func (s *set) target(name string) (*metadata.TargetFiles, error) {
	info := s.Targets[metadata.TARGETS].Signed.Targets[name]
	if info == nil {
		return nil, bad(CodeMalformed, "targets", "it names no target %s", name)
	}
	return info, nil
}

// remember loads the earlier timestamp, which a new one may not fall below, and
// keeps the earlier snapshot for the same purpose. What the root does not vouch
// for any more is left out, and so is everything if the root took a key of the
// timestamp or snapshot role away: versions that a stolen key pushed up must
// not lock the repository out (TUF 5.3.11).
func (s *set) remember(cached record, under *metadata.Metadata[metadata.RootType]) {
	if cached.Target == nil || withdrawn(under, s.Root, metadata.TIMESTAMP) || withdrawn(under, s.Root, metadata.SNAPSHOT) {
		return
	}
	at := s.RefTime
	s.RefTime = time.Time{} // expired metadata is a floor as well
	if s.take("timestamp", cached.Timestamp) == nil {
		s.floor = cached.Snapshot
	}
	s.RefTime = at
}

// loadFloor loads the earlier snapshot, once the new timestamp is known. That it is
// not the one which the timestamp names does not matter here.
func (s *set) loadFloor() {
	if s.floor != nil {
		_, _ = s.UpdateSnapshot(s.floor, true)
	}
}

// withdrawn says that a key which signed for a role before does so no more.
func withdrawn(before, after *metadata.Metadata[metadata.RootType], role string) bool {
	was, is := before.Signed.Roles[role], after.Signed.Roles[role]
	if was == nil || is == nil {
		return true
	}
	return slices.ContainsFunc(was.KeyIDs, func(id string) bool { return !slices.Contains(is.KeyIDs, id) })
}

// status describes a complete set.
func (s *set) status(fetched time.Time) Status {
	targets := s.Targets[metadata.TARGETS].Signed
	out := Status{
		Root: s.Root.Signed.Version, Timestamp: s.Timestamp.Signed.Version, Snapshot: s.Snapshot.Signed.Version,
		Targets: targets.Version, Expires: s.Root.Signed.Expires, Fetched: fetched,
	}
	for _, other := range []time.Time{s.Timestamp.Signed.Expires, s.Snapshot.Signed.Expires, targets.Expires} {
		if other.Before(out.Expires) {
			out.Expires = other
		}
	}
	return out
}
