// Command registry is an OCI registry with the referrers API (OCI distribution
// spec 1.1) that keeps everything in a folder, so that a restart loses nothing.
//
// It knows no users and no TLS, and serves loopback addresses only. The
// protocol is go-containerregistry's, which holds manifests in memory: what is
// added here is that each accepted manifest is written to disk before its
// answer leaves, and played back at the start, and an index of what refers to what.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:5000", "loopback address to listen on")
	dir := flag.String("dir", "", "folder for blobs and manifests (required)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *dir); err != nil {
		slog.Error("registry", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, addr, dir string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return errors.New("only loopback addresses are served: there is no authentication here")
	}
	if dir == "" {
		return errors.New("-dir is missing")
	}
	blobs, manifests := filepath.Join(dir, "blobs"), filepath.Join(dir, "manifests")
	for _, d := range []string{blobs, manifests} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return fmt.Errorf("making the folders: %w", err)
		}
	}
	keep := newKeeper(manifests, registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)),
		registry.Logger(log.New(io.Discard, "", 0)),
	))
	if err := keep.replay(); err != nil {
		return fmt.Errorf("reading the manifests of the last run: %w", err)
	}
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	slog.Info("registry is serving", "addr", lis.Addr().String())
	srv := &http.Server{Handler: keep, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
