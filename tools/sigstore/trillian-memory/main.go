// Command trillian-memory is a Trillian log server and sequencer in one process
// that keeps its trees in memory, so that a real Rekor and a real certificate
// transparency log can run without a database. Its logs end with the process:
// it is for tests and demonstrations, on a loopback address, and nothing else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/extension"
	"github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/server/interceptor"
	"github.com/google/trillian/storage"
	_ "github.com/google/trillian/storage/memory" // registers the provider "memory"
	"github.com/google/trillian/util/clock"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8090", "loopback address to listen on")
	interval := flag.Duration("interval", 20*time.Millisecond, "time between two sequencing runs")
	treeFile := flag.String("tree-file", "", "create one log and write its id to this file once it is ready")
	flag.Parse()
	if err := run(context.Background(), *addr, *interval, *treeFile); err != nil {
		slog.Error("trillian-memory", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, addr string, interval time.Duration, treeFile string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return errors.New("only loopback addresses are served: there is no authentication here")
	}
	provider, err := storage.NewProvider("memory", monitoring.InertMetricFactory{})
	if err != nil {
		return fmt.Errorf("opening the memory storage: %w", err)
	}
	registry := extension.Registry{
		AdminStorage:  provider.AdminStorage(),
		LogStorage:    provider.LogStorage(),
		QuotaManager:  quota.Noop(),
		MetricFactory: monitoring.InertMetricFactory{},
	}
	srv := grpc.NewServer(grpc.UnaryInterceptor(interceptor.ErrorWrapper))
	trillian.RegisterTrillianAdminServer(srv, admin.New(registry, []trillian.TreeType{trillian.TreeType_LOG, trillian.TreeType_PREORDERED_LOG}))
	trillian.RegisterTrillianLogServer(srv, server.NewTrillianLogRPCServer(registry, clock.System))

	sequencer := log.NewOperationManager(log.OperationInfo{
		Registry: registry, BatchSize: 256, NumWorkers: 1, RunInterval: interval, TimeSource: clock.System,
	}, log.NewSequencerManager(registry, 0))
	go sequencer.OperationLoop(ctx)

	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	failed := make(chan error, 2)
	go func() { failed <- srv.Serve(lis) }()
	if treeFile != "" {
		if err := createTree(ctx, lis.Addr().String(), treeFile); err != nil {
			return err
		}
	}
	return <-failed
}

// createTree makes the log that the certificate transparency front end needs at
// its start, and publishes the id by rename so that a reader never sees half.
func createTree(ctx context.Context, addr, file string) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("dialling ourselves: %w", err)
	}
	defer conn.Close()
	tree, err := client.CreateAndInitTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
		TreeState: trillian.TreeState_ACTIVE, TreeType: trillian.TreeType_LOG, MaxRootDuration: durationpb.New(time.Hour),
	}}, trillian.NewTrillianAdminClient(conn), trillian.NewTrillianLogClient(conn))
	if err != nil {
		return fmt.Errorf("creating a log: %w", err)
	}
	if err := os.WriteFile(file+".new", []byte(strconv.FormatInt(tree.TreeId, 10)), 0o600); err != nil {
		return fmt.Errorf("writing the log's id: %w", err)
	}
	return os.Rename(file+".new", file)
}
