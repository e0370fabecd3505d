package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

const serveInstead = "TRILLIAN_MEMORY_SERVE"

// The test is the server as well, so that there is a process to kill.
func TestMain(m *testing.M) {
	if os.Getenv(serveInstead) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// running is a server in a process of its own.
type running struct {
	rpc  trillian.TrillianLogClient
	kill func()
}

func start(t *testing.T, dir string) running {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	lis.Close()
	cmd := exec.Command(os.Args[0], "-addr="+addr, "-logs=1001,1002", "-data="+dir, "-interval=2ms")
	cmd.Env = append(os.Environ(), serveInstead+"=1")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.1, MaxDelay: time.Second}}))
	if err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = conn.Close()
	})
	t.Cleanup(kill)
	r := running{rpc: trillian.NewTrillianLogClient(conn), kill: kill}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn.Connect()
	for _, log := range []int64{1001, 1002} {
		if _, err := r.rpc.GetLatestSignedLogRoot(ctx, &trillian.GetLatestSignedLogRootRequest{LogId: log}, grpc.WaitForReady(true)); err != nil {
			t.Fatalf("the server does not start: %v", err)
		}
	}
	return r
}

// witness is what somebody outside has seen of a log, over all restarts.
type witness struct {
	log      int64
	trusted  types.LogRootV1
	leaves   []*trillian.LogLeaf          // by index
	answered map[string]*trillian.LogLeaf // by value
	proven   map[string]bool              // by value
}

// client verifies by itself that each root it sees is consistent with the one before.
func (w *witness) client(r running) *client.LogClient {
	return client.New(w.log, r.rpc, client.NewLogVerifier(hasher), w.trusted)
}

func newWitness(log int64) *witness {
	return &witness{log: log, answered: map[string]*trillian.LogLeaf{}, proven: map[string]bool{}}
}

// check compares the log after a restart with what was seen before it. It proves
// the inclusion of what was answered for since, or of everything.
func (w *witness) check(t *testing.T, r running, everything bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	resp, err := r.rpc.GetLatestSignedLogRoot(ctx, &trillian.GetLatestSignedLogRootRequest{LogId: w.log})
	if err != nil {
		t.Fatal(err)
	}
	var now types.LogRootV1
	if err := now.UnmarshalBinary(resp.GetSignedLogRoot().GetLogRoot()); err != nil {
		t.Fatal(err)
	}
	if now.TreeSize < w.trusted.TreeSize || now.TimestampNanos < w.trusted.TimestampNanos {
		t.Fatalf("log %d went back from %d leaves at %d to %d at %d", w.log, w.trusted.TreeSize, w.trusted.TimestampNanos, now.TreeSize, now.TimestampNanos)
	}
	c := w.client(r)
	for value := range w.answered {
		if w.proven[value] && !everything {
			continue
		}
		w.proven[value] = true
		if err := c.WaitForInclusion(ctx, []byte(value)); err != nil {
			t.Fatalf("log %d has lost %q: %v", w.log, value, err)
		}
	}
	if _, err := c.UpdateRoot(ctx); err != nil {
		t.Fatalf("log %d is not consistent with what it was: %v", w.log, err)
	}
	w.trusted = *c.GetRoot()
	if w.trusted.TreeSize == 0 {
		return
	}
	leaves, err := c.ListByIndex(ctx, 0, int64(w.trusted.TreeSize))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, leaf := range leaves {
		value := string(leaf.GetLeafValue())
		if seen[value] {
			t.Errorf("log %d has %q twice", w.log, value)
		}
		seen[value] = true
		if i < len(w.leaves) && !proto.Equal(leaf, w.leaves[i]) {
			t.Errorf("log %d had %v, and has %v", w.log, w.leaves[i], leaf)
		}
		if a := w.answered[value]; a != nil && (!proto.Equal(a.GetQueueTimestamp(), leaf.GetQueueTimestamp()) || string(a.GetExtraData()) != string(leaf.GetExtraData())) {
			t.Errorf("log %d promised %v, and has %v", w.log, a, leaf)
		}
	}
	w.leaves = leaves
}

// use queues leaves and reads roots from several sides until the server is gone.
func (w *witness) use(ctx context.Context, r running, round int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for side := range 3 {
		all.Go(func() {
			for i := 0; ; i++ {
				value := fmt.Sprintf("round %d side %d leaf %d", round, side, i)
				resp, err := r.rpc.QueueLeaf(ctx, &trillian.QueueLeafRequest{LogId: w.log, Leaf: &trillian.LogLeaf{LeafValue: []byte(value), ExtraData: []byte("with " + value)}})
				if err != nil {
					return
				}
				mu.Lock()
				w.answered[value] = resp.GetQueuedLeaf().GetLeaf()
				mu.Unlock()
			}
		})
	}
	c := w.client(r)
	all.Go(func() {
		for {
			if _, err := c.UpdateRoot(ctx); err != nil {
				return
			}
		}
	})
	all.Wait()
	w.trusted = *c.GetRoot()
}

func TestWhatWasAnsweredOutlivesEveryKill(t *testing.T) {
	t.Parallel()
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	witnesses := []*witness{newWitness(1001), newWitness(1002)}
	waiting := 0
	for round := range rounds {
		r := start(t, dir)
		for _, w := range witnesses {
			w.check(t, r, false)
		}
		time.AfterFunc(time.Duration(rand.IntN(150_000))*time.Microsecond, r.kill)
		var all sync.WaitGroup
		for _, w := range witnesses {
			all.Go(func() { w.use(t.Context(), r, round) })
		}
		all.Wait()
		r.kill()
		waiting += pendingIn(t, dir, 1001) + pendingIn(t, dir, 1002)
	}
	r := start(t, dir)
	for _, w := range witnesses {
		w.check(t, r, true)
		t.Logf("log %d: %d answers, %d leaves", w.log, len(w.answered), w.trusted.TreeSize)
		if len(w.answered) < 5*rounds {
			t.Errorf("in %d rounds only %d leaves were answered for", rounds, len(w.answered))
		}
	}
	if waiting == 0 {
		t.Error("no kill left a leaf in the queue")
	}
}

// pendingIn counts the leaves that a dead process left in its queue.
func pendingIn(t *testing.T, dir string, log int64) int {
	t.Helper()
	k := &keptLogs{dir: dir, logs: map[int64]*keptLog{}}
	l, err := k.open(log, log)
	if err != nil {
		t.Fatal(err)
	}
	l.journal.disk.(*os.File).Close()
	return len(l.pending)
}

func TestALeafIsInAKeptLogOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	req := &trillian.QueueLeafRequest{LogId: 1002, Leaf: &trillian.LogLeaf{LeafValue: []byte("a leaf"), ExtraData: []byte("first")}}
	again := &trillian.QueueLeafRequest{LogId: 1002, Leaf: &trillian.LogLeaf{LeafValue: []byte("a leaf"), ExtraData: []byte("second")}}
	r := start(t, dir)
	if _, err := r.rpc.QueueLeaf(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		resp, err := r.rpc.QueueLeaf(t.Context(), again)
		if err != nil {
			t.Fatal(err)
		}
		if leaf := resp.GetQueuedLeaf(); codes.Code(leaf.GetStatus().GetCode()) != codes.AlreadyExists || string(leaf.GetLeaf().GetExtraData()) != "first" {
			t.Errorf("asked again, the log says %v", leaf)
		}
		r.kill()
		r = start(t, dir)
	}
}

func TestOnlyNamedLogsAreKept(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), options{addr: "127.0.0.1:0", data: t.TempDir()}); err == nil {
		t.Error("a log without a name is kept")
	}
	if err := run(t.Context(), options{addr: "127.0.0.1:0", data: t.TempDir(), logs: "1", treeFile: "tree"}); err == nil {
		t.Error("the log of -tree-file is kept")
	}
}
