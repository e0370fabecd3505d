package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/tree"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var hasher = rfc6962.DefaultHasher

// merkleTree is the leaves of a log and the hashes above them. Both are only added
// to, and a leaf that is in it never changes.
type merkleTree struct {
	leaves []*trillian.LogLeaf
	byHash map[string][]int
	// nodes[h][i] is the hash of the leaves from i<<h to (i+1)<<h (RFC 6962
	// §2.1): of complete subtrees, as those at the edge change.
	nodes [][][]byte
}

func newMerkleTree() merkleTree { return merkleTree{byHash: map[string][]int{}} }

func (t *merkleTree) size() int { return len(t.leaves) }

// append gives the leaf the next index. What it returns is a copy, which may be in
// readers' hands from now on.
func (t *merkleTree) append(leaf *trillian.LogLeaf, at time.Time) *trillian.LogLeaf {
	leaf = proto.CloneOf(leaf)
	leaf.LeafIndex = int64(len(t.leaves))
	leaf.IntegrateTimestamp = timestamppb.New(at)
	hash := leaf.GetMerkleLeafHash()
	t.byHash[string(hash)] = append(t.byHash[string(hash)], len(t.leaves))
	t.leaves = append(t.leaves, leaf)
	for height := 0; ; height++ {
		if height == len(t.nodes) {
			t.nodes = append(t.nodes, nil)
		}
		t.nodes[height] = append(t.nodes[height], hash)
		n := len(t.nodes[height])
		if n%2 == 1 {
			return leaf
		}
		hash = hasher.HashChildren(t.nodes[height][n-2], t.nodes[height][n-1])
	}
}

// root is the hash of all leaves.
func (t *merkleTree) root() ([]byte, error) {
	if t.size() == 0 {
		return hasher.EmptyRoot(), nil
	}
	var hashes [][]byte
	for _, id := range compact.RangeNodes(0, uint64(t.size()), nil) {
		hashes = append(hashes, t.nodes[id.Level][id.Index])
	}
	all, err := (&compact.RangeFactory{Hash: hasher.HashChildren}).NewRange(0, uint64(t.size()), hashes)
	if err != nil {
		return nil, err
	}
	return all.GetRootHash(nil)
}

// snapshot reads a log. It holds off integration until it is released.
type snapshot struct {
	log     *keptLog
	release func()
}

var (
	_ storage.ReadOnlyLogTreeTX = (*snapshot)(nil)
	_ storage.LogTreeTX         = (*transaction)(nil)
)

// Commit implements storage.ReadOnlyLogTreeTX.
func (s *snapshot) Commit(context.Context) error { return s.Close() }

// Close implements storage.ReadOnlyLogTreeTX.
func (s *snapshot) Close() error {
	if s.release != nil {
		s.release()
	}
	return nil
}

// GetMerkleNodes implements storage.ReadOnlyLogTreeTX.
func (s *snapshot) GetMerkleNodes(_ context.Context, ids []compact.NodeID) ([]tree.Node, error) {
	nodes := make([]tree.Node, 0, len(ids))
	for _, id := range ids {
		if id.Level >= uint(len(s.log.tree.nodes)) || id.Index >= uint64(len(s.log.tree.nodes[id.Level])) {
			return nil, fmt.Errorf("the tree has no node %d at height %d", id.Index, id.Level)
		}
		nodes = append(nodes, tree.Node{ID: id, Hash: s.log.tree.nodes[id.Level][id.Index]})
	}
	return nodes, nil
}

// GetLeavesByRange implements storage.ReadOnlyLogTreeTX.
func (s *snapshot) GetLeavesByRange(_ context.Context, start, count int64) ([]*trillian.LogLeaf, error) {
	size := int64(s.log.tree.size())
	if start < 0 || count < 0 {
		return nil, fmt.Errorf("there are no %d leaves from %d", count, start)
	}
	start = min(start, size)
	return s.log.tree.leaves[start : start+min(count, size-start)], nil
}

// GetLeavesByHash implements storage.ReadOnlyLogTreeTX; the order is always that
// of the log.
func (s *snapshot) GetLeavesByHash(_ context.Context, hashes [][]byte, _ bool) ([]*trillian.LogLeaf, error) {
	var leaves []*trillian.LogLeaf
	for _, hash := range hashes {
		for _, i := range s.log.tree.byHash[string(hash)] {
			leaves = append(leaves, s.log.tree.leaves[i])
		}
	}
	return leaves, nil
}

// LatestSignedLogRoot implements storage.ReadOnlyLogTreeTX.
func (s *snapshot) LatestSignedLogRoot(context.Context) (*trillian.SignedLogRoot, error) {
	if s.log.root == nil {
		return nil, storage.ErrTreeNeedsInit
	}
	return s.log.root, nil
}

// transaction is a run of the sequencer: it changes nothing, but says what is to
// be written and done.
type transaction struct {
	snapshot
	batch batch
}

// DequeueLeaves implements storage.LogTreeTX. The sequencer writes into what it
// gets. There is no cutoff: leaves come in under a lock, in one order.
func (t *transaction) DequeueLeaves(_ context.Context, limit int, _ time.Time) ([]*trillian.LogLeaf, error) {
	var leaves []*trillian.LogLeaf
	for _, leaf := range t.log.pending[:min(limit, len(t.log.pending))] {
		leaves = append(leaves, proto.CloneOf(leaf))
	}
	return leaves, nil
}

// UpdateSequencedLeaves implements storage.LogTreeTX. A journal says how many
// leaves left the queue and when; so they have to be its first, at one time.
func (t *transaction) UpdateSequencedLeaves(_ context.Context, leaves []*trillian.LogLeaf) error {
	for i, leaf := range leaves {
		if i >= len(t.log.pending) || string(leaf.GetLeafIdentityHash()) != string(t.log.pending[i].GetLeafIdentityHash()) {
			return fmt.Errorf("leaf %d is not the one that was next", leaf.GetLeafIndex())
		}
		if !proto.Equal(leaf.GetIntegrateTimestamp(), leaves[0].GetIntegrateTimestamp()) {
			return fmt.Errorf("leaf %d is not integrated with the others", leaf.GetLeafIndex())
		}
		t.batch.at = leaf.GetIntegrateTimestamp().AsTime().UnixNano()
	}
	t.batch.count = len(leaves)
	return nil
}

// SetMerkleNodes implements storage.LogTreeTX. They follow from the leaves.
func (t *transaction) SetMerkleNodes(context.Context, []tree.Node) error { return nil }

// StoreSignedLogRoot implements storage.LogTreeTX.
func (t *transaction) StoreSignedLogRoot(_ context.Context, root *trillian.SignedLogRoot) error {
	t.batch.root = root
	return nil
}
