package tuftest

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Publish makes new metadata and serves it.
func (r *Repository) Publish(c Change) error {
	if len(c.Rotate) > 0 {
		if err := r.newRoot(c); err != nil {
			return fmt.Errorf("making a root: %w", err)
		}
	}
	if c.Target != nil || slices.Contains(c.Rotate, Targets) || c.Versions[Targets] != 0 || !c.Expires[Targets].IsZero() || hasSigners(c, Targets) || c.Spec[Targets] != "" {
		if err := r.newTargets(c); err != nil {
			return fmt.Errorf("making targets: %w", err)
		}
	}
	snapshot := metadata.Snapshot(r.expires(c, Snapshot))
	snapshot.Signed.Version = r.next(c, Snapshot)
	described, err := describe(r.versions[Targets], r.files[r.Newest(Targets)])
	if err != nil {
		return err
	}
	snapshot.Signed.Meta["targets.json"] = described
	snapshot.Signed.SpecVersion = c.spec(Snapshot)
	if slices.Contains(c.Silent, Snapshot) {
		clear(snapshot.Signed.Meta)
	}
	if err := publish(r, c, Snapshot, snapshot); err != nil {
		return fmt.Errorf("making a snapshot: %w", err)
	}
	timestamp := metadata.Timestamp(r.expires(c, Timestamp))
	timestamp.Signed.Version = r.next(c, Timestamp)
	if described, err = describe(r.versions[Snapshot], r.files[r.Newest(Snapshot)]); err != nil {
		return err
	}
	timestamp.Signed.Meta["snapshot.json"] = described
	timestamp.Signed.SpecVersion = c.spec(Timestamp)
	if slices.Contains(c.Silent, Timestamp) {
		clear(timestamp.Signed.Meta)
	}
	if err := publish(r, c, Timestamp, timestamp); err != nil {
		return fmt.Errorf("making a timestamp: %w", err)
	}
	return nil
}

func (c Change) spec(role string) string {
	if v := c.Spec[role]; v != "" {
		return v
	}
	return metadata.SPECIFICATION_VERSION
}

func hasSigners(c Change, role string) bool {
	_, ok := c.Signers[role]
	return ok
}

func (r *Repository) expires(c Change, role string) time.Time {
	if at := c.Expires[role]; !at.IsZero() {
		return at
	}
	if role == Root {
		return r.Now.Add(52 * Lifetime)
	}
	return r.Now.Add(Lifetime)
}

func (r *Repository) next(c Change, role string) int64 {
	if v := c.Versions[role]; v != 0 {
		r.versions[role] = v
	} else {
		r.versions[role]++
	}
	return r.versions[role]
}

// newRoot rotates keys. The root is signed by the keys before and by its own.
func (r *Repository) newRoot(c Change) error {
	before := r.keys[Root]
	for _, role := range c.Rotate {
		number := thresholds()[role]
		if role == Root {
			number++
		}
		r.keys[role] = nil
		for range number {
			k, err := newKey()
			if err != nil {
				return err
			}
			r.keys[role] = append(r.keys[role], k)
		}
	}
	root := metadata.Root(r.expires(c, Root))
	// The file is served under the number that follows, whatever it says inside.
	number := r.versions[Root] + 1
	root.Signed.Version, root.Signed.SpecVersion = r.next(c, Root), c.spec(Root)
	r.versions[Root] = number
	for role, threshold := range thresholds() {
		for _, k := range r.keys[role] {
			if err := root.Signed.AddKey(k.public, role); err != nil {
				return err
			}
		}
		root.Signed.Roles[role].Threshold = threshold
	}
	signers := slices.Clone(r.keys[Root])
	if n, ok := c.Signers[Root]; ok {
		signers = signers[:n]
		before = before[:min(n, len(before))]
	}
	if !c.Forget && slices.Contains(c.Rotate, Root) {
		signers = append(signers, before...)
	}
	for _, k := range signers {
		if _, err := root.Sign(k.signer); err != nil {
			return err
		}
	}
	data, err := root.ToBytes(false)
	if err != nil {
		return err
	}
	r.Put(fmt.Sprintf("%d.root.json", number), data)
	return nil
}

func (r *Repository) newTargets(c Change) error {
	if c.Target != nil {
		r.target = c.Target
	}
	targets := metadata.Targets(r.expires(c, Targets))
	targets.Signed.Version, targets.Signed.SpecVersion = r.next(c, Targets), c.spec(Targets)
	info, err := metadata.TargetFile().FromBytes(Target, r.target)
	if err != nil {
		return err
	}
	name := Target
	if c.Name != "" {
		name = c.Name
	}
	targets.Signed.Targets[name] = info
	if err := publish(r, c, Targets, targets); err != nil {
		return err
	}
	r.Put(r.Newest(Target), bytes.Clone(r.target))
	return nil
}

func describe(version int64, data []byte) (*metadata.MetaFiles, error) {
	info, err := metadata.TargetFile().FromBytes("", data)
	if err != nil {
		return nil, err
	}
	return &metadata.MetaFiles{Version: version, Length: info.Length, Hashes: info.Hashes}, nil
}

// publish signs metadata with the keys of its role and serves it.
func publish[T metadata.Roles](r *Repository, c Change, role string, m *metadata.Metadata[T]) error {
	signers := r.keys[role]
	if n, ok := c.Signers[role]; ok {
		signers = signers[:n]
	}
	for _, k := range signers {
		if _, err := m.Sign(k.signer); err != nil {
			return err
		}
	}
	if len(signers) == 0 {
		stranger, err := newKey()
		if err != nil {
			return err
		}
		if _, err := m.Sign(stranger.signer); err != nil {
			return err
		}
		m.Signatures[0].KeyID = r.keys[role][0].id
	}
	data, err := m.ToBytes(false)
	if err != nil {
		return err
	}
	r.Put(r.Newest(role), data)
	return nil
}
