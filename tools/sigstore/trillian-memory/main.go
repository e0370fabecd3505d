// Command trillian-memory is a Trillian log server and sequencer in one process
// that keeps its trees in memory, so that a real Rekor and a real certificate
// transparency log can run without a database. It is for tests, demonstrations and
// small factories, on a loopback address, and nothing else.
//
// Front ends are told which log is theirs at their start. A test reads the id of
// the one log from -tree-file; in a pod, whose manifests are written before any
// log is, logs are reached by the ids that -logs names, and -health-addr says
// when they are there.
//
// Its logs end with the process, unless -data names a folder with a journal of
// each. Then a leaf is on the disk before its answer leaves us, and a root before
// anybody reads it; whenever the process dies, the next one has the same leaves at
// the same places with the same times, and integrates those that were waiting.
// It does not start with a journal that is damaged (JournalDamaged), of another
// log (JournalOfAnotherLog), or another process's (JournalInUse), and ends when
// the disk fails it. A full journal takes no more leaves (JournalFull) and is read
// on. What it cannot notice is a folder that is new, or older than it should be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/trillian"
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
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

type options struct {
	addr, treeFile, logs, healthAddr string
	interval                         time.Duration
	data                             string
	dataLimit                        int64
	ct                               ctConfig
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8090", "loopback address to listen on")
	flag.DurationVar(&o.interval, "interval", 20*time.Millisecond, "time between two sequencing runs")
	flag.StringVar(&o.treeFile, "tree-file", "", "create one log and write its id to this file once it is ready")
	flag.StringVar(&o.logs, "logs", "", "create logs that answer to these ids, with commas between them")
	flag.StringVar(&o.healthAddr, "health-addr", "", "address that answers by http once all logs are there")
	flag.StringVar(&o.data, "data", "", "folder in which the logs of -logs are kept")
	flag.Int64Var(&o.dataLimit, "data-limit", 64<<20, "bytes from which on a journal takes no more leaves; the memory has them, too, two or three times")
	o.ct.flags()
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		slog.Error("trillian-memory", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	host, _, err := net.SplitHostPort(o.addr)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return errors.New("only loopback addresses are served: there is no authentication here")
	}
	failed := make(chan error, 3)
	registry, kept, err := open(o, failed)
	if err != nil {
		return err
	}
	logs := server.NewTrillianLogRPCServer(registry, clock.System)
	trees, err := createLogs(ctx, registry, logs, kept, o)
	if err != nil {
		return err
	}
	srv := grpc.NewServer(grpc.ChainUnaryInterceptor(interceptor.ErrorWrapper, renamed(trees)))
	if kept == nil { // whose logs are those of its journals, and no others
		trillian.RegisterTrillianAdminServer(srv, admin.New(registry, []trillian.TreeType{trillian.TreeType_LOG, trillian.TreeType_PREORDERED_LOG}))
	}
	trillian.RegisterTrillianLogServer(srv, logs)

	sequencer := log.NewOperationManager(log.OperationInfo{
		Registry: registry, BatchSize: 256, NumWorkers: 1, RunInterval: o.interval, TimeSource: clock.System,
	}, log.NewSequencerManager(registry, 0))
	go sequencer.OperationLoop(ctx)
	return serve(srv, o, failed)
}

// open gives the storage: with -data, logs are kept, and the rest is in memory
// still, since it is made anew of -logs.
func open(o options, failed chan<- error) (extension.Registry, *keptLogs, error) {
	provider, err := storage.NewProvider("memory", monitoring.InertMetricFactory{})
	if err != nil {
		return extension.Registry{}, nil, fmt.Errorf("opening the memory storage: %w", err)
	}
	registry := extension.Registry{
		AdminStorage:  provider.AdminStorage(),
		LogStorage:    provider.LogStorage(),
		QuotaManager:  quota.Noop(),
		MetricFactory: monitoring.InertMetricFactory{},
	}
	if o.data == "" {
		return registry, nil, nil
	}
	if o.logs == "" || o.treeFile != "" {
		return extension.Registry{}, nil, errors.New("-data keeps the logs of -logs, and not that of -tree-file")
	}
	kept := &keptLogs{dir: o.data, limit: o.dataLimit, failed: failed, logs: map[int64]*keptLog{}}
	registry.LogStorage = kept
	return registry, kept, nil
}

// serve answers until something fails. What waits for a file or for the health
// address finds the logs listening, but for an instant.
func serve(srv *grpc.Server, o options, failed chan error) error {
	lis, err := net.Listen("tcp", o.addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	go func() { failed <- srv.Serve(lis) }()
	if err := o.ct.write(); err != nil {
		return err
	}
	if o.healthAddr != "" {
		health := &http.Server{
			Addr: o.healthAddr, ReadHeaderTimeout: 5 * time.Second,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }),
		}
		go func() { failed <- health.ListenAndServe() }()
	}
	return <-failed
}

// createLogs makes the logs that front ends need at their start. The id of the
// one for -tree-file is published by rename, so that a reader never sees half.
// The result leads from the ids of -logs to those that the storage chose.
func createLogs(ctx context.Context, registry extension.Registry, logs *server.TrillianLogRPCServer, kept *keptLogs, o options) (map[int64]int64, error) {
	// A kept log is found by its name, which one for -tree-file does not have.
	create := func(name int64) (int64, error) {
		tree, err := storage.CreateTree(ctx, registry.AdminStorage, &trillian.Tree{
			TreeState: trillian.TreeState_ACTIVE, TreeType: trillian.TreeType_LOG, MaxRootDuration: durationpb.New(time.Hour),
		})
		if err != nil {
			return 0, fmt.Errorf("creating a log: %w", err)
		}
		if kept != nil {
			l, err := kept.open(tree.GetTreeId(), name)
			if err != nil {
				return 0, err
			}
			slog.Info("reading a journal", "log", name, "leaves", l.tree.size(), "waiting", len(l.pending), "bytes", l.journal.size, "torn", l.journal.torn)
			if l.root != nil {
				return tree.GetTreeId(), nil
			}
		}
		if _, err = logs.InitLog(ctx, &trillian.InitLogRequest{LogId: tree.GetTreeId()}); err != nil {
			return 0, fmt.Errorf("creating a log: %w", err)
		}
		return tree.GetTreeId(), nil
	}
	if o.treeFile != "" {
		id, err := create(0)
		if err != nil {
			return nil, err
		}
		if err := publish(o.treeFile, []byte(strconv.FormatInt(id, 10))); err != nil {
			return nil, err
		}
	}
	trees := map[int64]int64{}
	for text := range strings.FieldsFuncSeq(o.logs, func(r rune) bool { return r == ',' }) {
		name, err := strconv.ParseInt(text, 10, 64)
		if err != nil || name <= 0 || trees[name] != 0 {
			return nil, fmt.Errorf("-logs: %q is no id, or one given twice", text)
		}
		if trees[name], err = create(name); err != nil {
			return nil, err
		}
	}
	return trees, nil
}

// renamed lets requests name a log by the id that it was promised under: the
// storage chooses ids by chance.
func renamed(trees map[int64]int64) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if m, ok := req.(proto.Message); ok {
			message := m.ProtoReflect()
			if field := message.Descriptor().Fields().ByName("log_id"); field != nil {
				if id, ok := trees[message.Get(field).Int()]; ok {
					message.Set(field, protoreflect.ValueOfInt64(id))
				}
			}
		}
		return next(ctx, req)
	}
}

func publish(file string, content []byte) error {
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return os.Rename(file+".new", file)
}
