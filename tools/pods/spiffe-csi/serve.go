package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// requestLimit is far above what the kubelet sends, which is hundreds of bytes.
const requestLimit = 256 << 10

// serve answers on a unix socket until the context ends. The socket is for its
// owner only, and is removed at the end.
func serve(ctx context.Context, path string, register func(grpc.ServiceRegistrar)) (<-chan error, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("making the folder of the socket: %w", err)
	}
	lis, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("closing the socket to others: %w", err), lis.Close())
	}
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(requestLimit), grpc.ConnectionTimeout(5*time.Second))
	register(srv)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	context.AfterFunc(ctx, srv.Stop)
	return done, nil
}

// removeStale removes the socket of an earlier run, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking for a socket of an earlier run: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return refusal.New("csi/socket", "remove it, or name another socket", "%q is there and is no socket", path)
	}
	return os.Remove(path)
}

// registration tells the kubelet which driver listens where.
type registration struct {
	registerapi.UnimplementedRegistrationServer
	endpoint string
	refused  func(why string)
	log      *slog.Logger
}

func (r *registration) register(s grpc.ServiceRegistrar) {
	registerapi.RegisterRegistrationServer(s, r)
}

// GetInfo is the first thing that the kubelet asks.
func (r *registration) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type:     registerapi.CSIPlugin,
		Name:     driverName,
		Endpoint: r.endpoint,
		// The version of the CSI protocol, not of this program.
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus is the kubelet's answer.
func (r *registration) NotifyRegistrationStatus(_ context.Context, s *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	if !s.GetPluginRegistered() {
		r.refused(fmt.Sprintf("%q", s.GetError()))
	} else {
		r.log.Info("registered with the kubelet", "driver", driverName)
	}
	return &registerapi.RegistrationStatusResponse{}, nil
}
