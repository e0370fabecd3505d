package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
	"github.com/google/trillian/util/clock"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// bench is a log without a process: each step is done when it is asked for.
type bench struct {
	kept   *keptLogs
	log    *keptLog
	failed chan error
	path   string
	file   *os.File
}

var logTree = &trillian.Tree{TreeId: 7, TreeType: trillian.TreeType_LOG}

func newBench(t *testing.T, dir string) *bench {
	t.Helper()
	b, err := openBench(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openBench(t *testing.T, dir string) (*bench, error) {
	t.Helper()
	log.InitMetrics(monitoring.InertMetricFactory{})
	b := &bench{failed: make(chan error, 1), path: filepath.Join(dir, "1002.journal")}
	b.kept = &keptLogs{dir: dir, limit: 1 << 20, failed: b.failed, logs: map[int64]*keptLog{}}
	var err error
	if b.log, err = b.kept.open(logTree.TreeId, 1002); err != nil {
		return nil, err
	}
	b.file = b.log.journal.disk.(*os.File)
	t.Cleanup(func() { b.file.Close() })
	if b.log.root != nil {
		return b, nil
	}
	return b, b.kept.ReadWriteTransaction(t.Context(), logTree, func(ctx context.Context, tx storage.LogTreeTX) error {
		root, err := (&types.LogRootV1{RootHash: hasher.EmptyRoot(), TimestampNanos: 1}).MarshalBinary()
		if err != nil {
			return err
		}
		return tx.StoreSignedLogRoot(ctx, &trillian.SignedLogRoot{LogRoot: root})
	})
}

func (b *bench) queue(t *testing.T, value string) error {
	t.Helper()
	hash := hasher.HashLeaf([]byte(value))
	_, err := b.kept.QueueLeaves(t.Context(), logTree, []*trillian.LogLeaf{{LeafValue: []byte(value), MerkleLeafHash: hash, LeafIdentityHash: hash}}, time.Now())
	return err
}

func (b *bench) sequence(t *testing.T) error {
	t.Helper()
	_, err := log.IntegrateBatch(t.Context(), logTree, 2, 0, 0, clock.System, b.kept, quota.Noop())
	return err
}

// fill leaves six leaves in the log and one in its queue.
func (b *bench) fill(t *testing.T) {
	t.Helper()
	for i := range 7 {
		err := b.queue(t, fmt.Sprintf("leaf %d", i))
		if i%2 == 1 {
			err = errors.Join(err, b.sequence(t))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) bytes(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(b.path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// reopen opens a journal with that content, as another process would.
func reopen(t *testing.T, content []byte) (*bench, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "1002.journal"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return openBench(t, dir)
}

// describe is all that a reader can get, and what waits.
func (b *bench) describe() string {
	var out strings.Builder
	var root types.LogRootV1
	_ = root.UnmarshalBinary(b.log.root.GetLogRoot())
	fmt.Fprintf(&out, "%d %x %d\n", root.TreeSize, root.RootHash, root.TimestampNanos)
	for _, leaf := range slices.Concat(b.log.tree.leaves, b.log.pending) {
		fmt.Fprintf(&out, "%q %d %v %v\n", leaf.GetLeafValue(), leaf.GetLeafIndex(), leaf.GetQueueTimestamp().AsTime(), leaf.GetIntegrateTimestamp().AsTime())
	}
	return out.String()
}

// records says where each record ends, beginning with the header.
func records(content []byte) []int {
	ends := []int{len(fmt.Sprintf(journalHeader, 0))}
	for at := ends[0]; at < len(content); at = ends[len(ends)-1] {
		ends = append(ends, at+recordHead+int(binary.LittleEndian.Uint32(content[at:])))
	}
	return ends
}

func TestAJournalCutAnywhereIsTheLogThatItWasThen(t *testing.T) {
	t.Parallel()
	b := newBench(t, t.TempDir())
	states := map[int]string{len(b.bytes(t)): b.describe()} // by the size of the journal
	note := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
		states[len(b.bytes(t))] = b.describe()
	}
	for i := range 7 {
		note(b.queue(t, fmt.Sprintf("leaf %d", i)))
		if i%2 == 1 {
			note(b.sequence(t))
		}
	}
	content := b.bytes(t)
	ends := records(content)
	if len(ends) != 12 { // header, first root, seven leaves, three roots
		t.Fatalf("the journal has %d parts", len(ends))
	}
	for size := ends[1]; size <= len(content); size++ {
		whole := slices.Max(slices.DeleteFunc(slices.Clone(ends), func(end int) bool { return end > size }))
		again, err := reopen(t, content[:size])
		if err != nil {
			t.Fatalf("at byte %d: %v", size, err)
		}
		if got := again.describe(); got != states[whole] || again.log.journal.torn != int64(size-whole) {
			t.Fatalf("at byte %d: it has\n%sand had\n%s", size, got, states[whole])
		}
		if size-whole < 2 || size-whole == recordHead {
			again.goesOn(t)
		}
		again.file.Close()
		if size > whole {
			continue
		}
		// The end of a write that a power cut came between.
		if again, err = reopen(t, append(slices.Clip(content[:size]), make([]byte, 4096)...)); err != nil || again.describe() != states[whole] {
			t.Fatalf("with zeros from byte %d on: %v", size, err)
		}
		again.goesOn(t)
	}
}

func (b *bench) goesOn(t *testing.T) {
	t.Helper()
	if err := errors.Join(b.queue(t, "one more"), b.sequence(t)); err != nil {
		t.Fatalf("it does not go on: %v", err)
	}
	if again, err := reopen(t, b.bytes(t)); err != nil || again.describe() != b.describe() {
		t.Fatalf("what was added is not kept: %v", err)
	}
}

func TestADamagedJournalIsNotOpened(t *testing.T) {
	t.Parallel()
	b := newBench(t, t.TempDir())
	b.fill(t)
	content := b.bytes(t)
	ends := records(content)
	for i := range content {
		for _, bit := range []byte{1, 0x80} {
			damaged := slices.Clone(content)
			damaged[i] ^= bit
			if _, err := reopen(t, damaged); !errors.Is(err, errDamaged) && (i >= ends[0] || !errors.Is(err, errOtherLog)) {
				t.Fatalf("with byte %d of %d changed: %v", i, len(content), err)
			}
		}
	}
	// Each record is whole, but they are not those that were written: a leaf that
	// is in the log is gone, another's place is changed, and so is a root's.
	for name, parts := range map[string][]int{"a leaf is gone": {1, 3, 4}, "leaves are swapped": {1, 3, 2, 4}, "a root is gone": {1, 2, 3, 5}, "a root is twice": {1, 2, 3, 4, 4}} {
		var changed []byte
		for _, part := range append([]int{0}, append(parts, 5, 6, 7, 8, 9, 10, 11)...) {
			begin := 0
			if part > 0 {
				begin = ends[part-1]
			}
			changed = append(changed, content[begin:ends[part]]...)
		}
		if _, err := reopen(t, changed); !errors.Is(err, errDamaged) {
			t.Errorf("when %s: %v", name, err)
		}
	}
}

func TestAJournalBelongsToOneLogAndOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newBench(t, dir)
	if _, err := openBench(t, dir); !errors.Is(err, errInUse) {
		t.Errorf("a second process gets it: %v", err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "1002.journal"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reopen(t, bytes.Replace(content, []byte("1002"), []byte("1001"), 1)); !errors.Is(err, errOtherLog) {
		t.Errorf("another log's is opened: %v", err)
	}
}

func TestAFullJournalIsReadOn(t *testing.T) {
	t.Parallel()
	b := newBench(t, t.TempDir())
	b.fill(t)
	b.kept.limit = b.log.journal.size
	before := len(b.bytes(t))
	if err := b.queue(t, "too much"); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "JournalFull") {
		t.Errorf("it says %v", err)
	}
	if len(b.bytes(t)) != before {
		t.Error("it is written nevertheless")
	}
	if err := b.queue(t, "leaf 1"); err != nil {
		t.Errorf("of a leaf that it has it says %v", err)
	}
	if err := b.sequence(t); err != nil || b.log.tree.size() != 7 {
		t.Errorf("what waited is not integrated: %v", err)
	}
	if again, err := reopen(t, b.bytes(t)); err != nil || again.describe() != b.describe() {
		t.Errorf("it does not open again: %v", err)
	}
}

// unreliable is a disk that forgets what was not synced, and fails when told to.
type unreliable struct {
	*os.File
	synced               []byte
	write, undo, syncing error
	before               func() // what is not on the disk yet
}

func (u *unreliable) WriteAt(p []byte, at int64) (int, error) {
	if u.write != nil {
		n, _ := u.File.WriteAt(p[:len(p)/2], at)
		return n, u.write
	}
	return u.File.WriteAt(p, at)
}

func (u *unreliable) Truncate(size int64) error {
	if u.undo != nil {
		return u.undo
	}
	return u.File.Truncate(size)
}

func (u *unreliable) Sync() error {
	if u.before != nil {
		u.before()
	}
	if u.syncing != nil {
		return u.syncing
	}
	var err error
	u.synced, err = os.ReadFile(u.Name())
	return err
}

func TestNothingIsAnsweredOrReadBeforeItIsOnTheDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t, t.TempDir())
	b.fill(t)
	seen, syncs := b.describe(), 0
	disk := &unreliable{File: b.file}
	disk.before = func() {
		syncs++
		if got := b.describe(); got != seen {
			t.Errorf("before it is on the disk, one reads\n%s", got)
		}
	}
	b.log.journal.disk = disk
	for i, step := range []func() error{
		func() error { return b.queue(t, "next") },
		func() error { return b.sequence(t) },
		func() error { return b.queue(t, "last") },
	} {
		if err := step(); err != nil || syncs != i+1 {
			t.Fatalf("step %d: %d syncs, %v", i, syncs, err)
		}
		seen = b.describe()
		if again, err := reopen(t, disk.synced); err != nil || again.describe() != seen {
			t.Errorf("step %d: after a power cut it is another log: %v", i, err)
		}
	}
}

func TestAWriteThatFailsLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := newBench(t, t.TempDir())
	b.fill(t)
	disk := &unreliable{File: b.file, write: syscall.ENOSPC}
	b.log.journal.disk = disk
	before := b.describe()
	for name, err := range map[string]error{"leaf": b.queue(t, "lost"), "root": b.sequence(t)} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("of the %s it says %v", name, err)
		}
	}
	if b.describe() != before {
		t.Error("it is in the log nevertheless")
	}
	disk.write = nil
	if err := errors.Join(b.queue(t, "kept"), b.sequence(t)); err != nil {
		t.Fatalf("with room again it says %v", err)
	}
	if again, err := reopen(t, b.bytes(t)); err != nil || again.describe() != b.describe() {
		t.Errorf("it is another log: %v", err)
	}
	if len(b.failed) > 0 {
		t.Error("the process ends")
	}
}

func TestADiskThatLosesTrackEndsTheProcess(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]unreliable{
		"fsync fails":                   {syncing: syscall.EIO},
		"half a record cannot be taken": {write: syscall.EIO, undo: syscall.EIO},
	} {
		b := newBench(t, t.TempDir())
		b.fill(t)
		fault.File = b.file
		b.log.journal.disk = &fault
		before := b.describe()
		if err := b.queue(t, "doubtful"); err == nil {
			t.Errorf("when %s, the leaf is answered for", name)
		}
		if len(b.failed) == 0 {
			t.Errorf("when %s, the process goes on", name)
		}
		fault.syncing, fault.write, fault.undo = nil, nil, nil
		if b.queue(t, "later") == nil || b.sequence(t) == nil || b.describe() != before {
			t.Errorf("when %s, the log goes on", name)
		}
	}
}
