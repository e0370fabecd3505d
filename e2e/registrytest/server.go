// Package registrytest runs the OCI registry of tools/registry as a child
// process on a free port of 127.0.0.1. It has the referrers API and keeps what
// it was given over a restart; it knows no users and no TLS, which clients allow
// for loopback hosts.
package registrytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/process"
)

// Server is a running registry.
type Server struct {
	// Host is what an image's name begins with: "127.0.0.1:PORT".
	Host string

	dir     string
	bin     assets.Bin
	process *process.Process
}

// Start builds the registry if need be and starts it with its data in dir.
// Whoever starts a registry ends it with Stop.
func Start(ctx context.Context, dir string, progress io.Writer) (*Server, error) {
	bin, err := assets.Ensure(ctx, progress, "registry")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	ports, err := process.Ports(1)
	if err != nil {
		return nil, err
	}
	s := &Server{Host: process.Addr(ports[0]), dir: dir, bin: bin}
	if err := s.Restart(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Restart starts the registry again after Stop, at the same address and with
// the same data.
func (s *Server) Restart(ctx context.Context) error {
	if s.process != nil {
		select {
		case <-s.process.Done():
		default:
			return errors.New("the registry is running")
		}
	}
	var err error
	s.process, err = process.Start(process.Spec{
		Name: "registry", Path: s.bin.Path("registry"), Args: []string{"-addr", s.Host, "-dir", filepath.Join(s.dir, "registry")},
		Dir: s.dir, Log: filepath.Join(s.dir, "registry.log"),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.process.Wait(ctx, process.OK(&http.Client{}, "http://"+s.Host+"/v2/")); err != nil {
		return fmt.Errorf("starting the registry: %w", err)
	}
	return nil
}

// Stop ends the registry; its data stays.
func (s *Server) Stop() { s.process.Stop(3 * time.Second) }
