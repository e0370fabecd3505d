package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// keptLogs is a storage.LogStorage whose logs outlive the process. All of a log is
// in memory, as with Trillian's own storage "memory", and all that makes it is in
// its journal: each leaf before its answer leaves us, and each root before anybody
// can read it.
//
// Unlike that storage it knows a leaf that it has, by its identity hash: a client
// whose answer a restart swallowed asks again, and Rekor can no longer read an
// entry that is there twice.
type keptLogs struct {
	dir string
	// limit is the size in bytes from which on a journal takes no more leaves.
	limit int64
	// failed gets the error after which the process has to end.
	failed chan<- error
	// logs are found by the id of their tree. Nothing is added while we serve.
	logs map[int64]*keptLog
}

// keptLog is one log. Writers hold writing, and mu as well while they change what
// readers see; so the disk keeps no reader waiting.
type keptLog struct {
	writing    sync.Mutex
	journal    *journal
	pending    []*trillian.LogLeaf // in the order in which they will be integrated
	byIdentity map[string]*trillian.LogLeaf

	mu   sync.RWMutex
	tree merkleTree
	root *trillian.SignedLogRoot
}

// Records of a journal begin with one of these.
const (
	// queued: a leaf, as trillian.LogLeaf, with the time of its arrival.
	queued = 'Q'
	// integrated: 32 bits that say how many leaves left the queue, 64 bits with
	// the time at which they did (nanoseconds since 1970), both little endian, and
	// the root of the log with them, as Trillian serializes it.
	integrated = 'I'
)

var _ storage.LogStorage = (*keptLogs)(nil)

// open reads the log's journal. The log has no root yet if it was not there before.
func (k *keptLogs) open(tree, name int64) (*keptLog, error) {
	l := &keptLog{byIdentity: map[string]*trillian.LogLeaf{}, tree: newMerkleTree()}
	var err error
	if l.journal, err = openJournal(k.dir, name, l.replay); err != nil {
		return nil, err
	}
	k.logs[tree] = l
	return l, nil
}

// replay does again what a record tells, and checks that it leads to the root that
// was published then: so a record that is gone or elsewhere is noticed, too.
func (l *keptLog) replay(payload []byte) error {
	if len(payload) == 0 {
		return errors.New("it is empty")
	}
	switch body := payload[1:]; payload[0] {
	case queued:
		leaf := &trillian.LogLeaf{}
		if err := proto.Unmarshal(body, leaf); err != nil {
			return fmt.Errorf("reading a leaf: %w", err)
		}
		if !bytes.Equal(hasher.HashLeaf(leaf.GetLeafValue()), leaf.GetMerkleLeafHash()) {
			return errors.New("the leaf has another hash")
		}
		l.queue(leaf)
		return nil
	case integrated:
		if len(body) < 12 {
			return errors.New("a root is cut short")
		}
		b := batch{
			count: int(binary.LittleEndian.Uint32(body)),
			at:    int64(binary.LittleEndian.Uint64(body[4:])),
			root:  &trillian.SignedLogRoot{LogRoot: body[12:]},
		}
		root, err := l.check(b)
		if err != nil {
			return err
		}
		l.integrate(b)
		if hash, err := l.tree.root(); err != nil || !bytes.Equal(hash, root.RootHash) {
			return errors.Join(errors.New("the leaves have another root"), err)
		}
		return nil
	default:
		return fmt.Errorf("records of kind %q are unknown", payload[0])
	}
}

func (l *keptLog) queue(leaf *trillian.LogLeaf) {
	l.pending = append(l.pending, leaf)
	l.byIdentity[string(leaf.GetLeafIdentityHash())] = leaf
}

// batch is what one run of the sequencer does: the first count leaves of the queue
// are in the log since then, which has this root.
type batch struct {
	count int
	at    int64 // nanoseconds since 1970; 0 without leaves
	root  *trillian.SignedLogRoot
}

func (b batch) record() []byte {
	record := binary.LittleEndian.AppendUint32([]byte{integrated}, uint32(b.count))
	record = binary.LittleEndian.AppendUint64(record, uint64(b.at))
	return append(record, b.root.GetLogRoot()...)
}

// check refuses a batch with which the log would go back, or have leaves that
// nobody queued.
func (l *keptLog) check(b batch) (types.LogRootV1, error) {
	var root, before types.LogRootV1
	if err := root.UnmarshalBinary(b.root.GetLogRoot()); err != nil {
		return root, fmt.Errorf("reading a root: %w", err)
	}
	if l.root != nil {
		if err := before.UnmarshalBinary(l.root.GetLogRoot()); err != nil {
			return root, fmt.Errorf("reading the root before: %w", err)
		}
	}
	switch {
	case b.count > len(l.pending):
		return root, fmt.Errorf("it integrates %d leaves of %d", b.count, len(l.pending))
	case root.TreeSize != uint64(l.tree.size()+b.count):
		return root, fmt.Errorf("its root is of %d leaves, not %d", root.TreeSize, l.tree.size()+b.count)
	case root.TimestampNanos <= before.TimestampNanos:
		return root, errors.New("its root is older than the one before")
	}
	return root, nil
}

func (l *keptLog) integrate(b batch) {
	for _, leaf := range l.pending[:b.count] {
		l.byIdentity[string(leaf.GetLeafIdentityHash())] = l.tree.append(leaf, time.Unix(0, b.at))
	}
	l.pending = slices.Clone(l.pending[b.count:]) // else the old array would stay
	l.root = b.root
}

func (k *keptLogs) log(tree *trillian.Tree) (*keptLog, error) {
	if l := k.logs[tree.GetTreeId()]; l != nil {
		return l, nil
	}
	return nil, status.Errorf(codes.NotFound, "log %d is not kept here", tree.GetTreeId())
}

// write appends to the journal, and ends the process when that must not go on.
func (k *keptLogs) write(l *keptLog, record []byte) error {
	err := l.journal.append(record)
	if l.journal.broken != nil {
		select {
		case k.failed <- l.journal.broken:
		default: // it ends already
		}
	}
	return err
}

// QueueLeaves implements storage.LogStorage.
func (k *keptLogs) QueueLeaves(_ context.Context, tree *trillian.Tree, leaves []*trillian.LogLeaf, now time.Time) ([]*trillian.QueuedLogLeaf, error) {
	l, err := k.log(tree)
	if err != nil {
		return nil, err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	var results []*trillian.QueuedLogLeaf
	for _, leaf := range leaves {
		if known, ok := l.byIdentity[string(leaf.GetLeafIdentityHash())]; ok {
			s := status.New(codes.AlreadyExists, "the leaf is in the log or in its queue")
			results = append(results, &trillian.QueuedLogLeaf{Leaf: known, Status: s.Proto()})
			continue
		}
		leaf = proto.CloneOf(leaf)
		leaf.QueueTimestamp = timestamppb.New(now)
		record, err := proto.MarshalOptions{}.MarshalAppend([]byte{queued}, leaf)
		if err != nil {
			return nil, fmt.Errorf("writing a leaf: %w", err)
		}
		if size := l.journal.size + recordHead + int64(len(record)); size > k.limit {
			return nil, status.Errorf(codes.ResourceExhausted, "JournalFull: with this leaf it has %d bytes, the limit is %d", size, k.limit)
		}
		if err := k.write(l, record); err != nil {
			return nil, err
		}
		l.queue(leaf)
		results = append(results, &trillian.QueuedLogLeaf{Leaf: leaf})
	}
	return results, nil
}

// ReadWriteTransaction implements storage.LogStorage.
func (k *keptLogs) ReadWriteTransaction(ctx context.Context, tree *trillian.Tree, f storage.LogTXFunc) error {
	l, err := k.log(tree)
	if err != nil {
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	tx := &transaction{snapshot: snapshot{log: l}}
	if err := f(ctx, tx); err != nil {
		return err
	}
	if tx.batch.root == nil {
		if tx.batch.count != 0 {
			return errors.New("leaves are integrated only with a root")
		}
		return nil
	}
	if _, err := l.check(tx.batch); err != nil {
		return fmt.Errorf("integrating leaves: %w", err)
	}
	if err := k.write(l, tx.batch.record()); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.integrate(tx.batch)
	return nil
}

// SnapshotForTree implements storage.LogStorage.
func (k *keptLogs) SnapshotForTree(_ context.Context, tree *trillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	l, err := k.log(tree)
	if err != nil {
		return nil, err
	}
	l.mu.RLock()
	if l.root == nil {
		l.mu.RUnlock()
		return nil, storage.ErrTreeNeedsInit
	}
	return &snapshot{log: l, release: sync.OnceFunc(l.mu.RUnlock)}, nil
}

// GetActiveLogIDs implements storage.LogStorage, always in one order: each other
// one is news to the sequencer, which it reports.
func (k *keptLogs) GetActiveLogIDs(context.Context) ([]int64, error) {
	return slices.Sorted(maps.Keys(k.logs)), nil
}

// CheckDatabaseAccessible implements storage.LogStorage.
func (k *keptLogs) CheckDatabaseAccessible(context.Context) error { return nil }

// AddSequencedLeaves implements storage.LogStorage: it is for mirrors of logs.
func (k *keptLogs) AddSequencedLeaves(context.Context, *trillian.Tree, []*trillian.LogLeaf, time.Time) ([]*trillian.QueuedLogLeaf, error) {
	return nil, status.Error(codes.Unimplemented, "leaves get their places here")
}
