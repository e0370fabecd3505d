package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"millwright.dev/millwright/tools/process"
)

// Inside is the first argument of the program that [Start] is called in when it
// is started again as the first process of the namespaces:
//
//	if len(os.Args) == 3 && os.Args[1] == node.Inside {
//		os.Exit(node.Main(os.Args[2]))
//	}
const Inside = "inside-the-node"

// supervise is what the first process calls its only child by, in a variable of
// the environment.
const supervise = "MILLWRIGHT_NODE_SUPERVISE"

// Main is the first process of the namespaces, and its only child. It returns
// the exit code.
//
// The first process does what the kernel asks of one: it waits for whatever has
// lost its parent. Its child starts everything, since whoever waits for every
// child takes the answers away from those who started one. All of them inherit the
// locked file of [Start].
func Main(told string) int {
	var f floor
	if err := json.Unmarshal([]byte(told), &f); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		return 2
	}
	if os.Getenv(supervise) == "" {
		return first(told)
	}
	if err := f.run(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		return 1
	}
	return 0
}

// first starts the child, hands SIGTERM on to it, and reaps.
func first(told string) int {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	child, err := syscall.ForkExec("/proc/self/exe", []string{"node", Inside, told}, &syscall.ProcAttr{
		Env: append(os.Environ(), supervise+"=1"), Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		return 1
	}
	go func() {
		for range asked {
			_ = syscall.Kill(child, syscall.SIGTERM)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1
		case pid == child && status.Signaled():
			return 128 + int(status.Signal())
		case pid == child:
			return status.ExitStatus()
		}
	}
}

// run sets up mounts and network, starts the servers, and waits until it is asked
// to end or one of them has ended.
func (f floor) run() error {
	asked, forget := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer forget()
	if err := f.mounts(); err != nil {
		return fmt.Errorf("mounting: %w", err)
	}
	if err := makeNetwork(); err != nil {
		return fmt.Errorf("setting up the network: %w", err)
	}
	if err := f.jail(); err != nil {
		return fmt.Errorf("making the jail of builds: %w", err)
	}
	if err := os.WriteFile(filepath.Join(f.Dir, "run", "network"), nil, 0o600); err != nil {
		return err
	}
	s := servers{floor: f}
	defer s.stop()
	ended, err := s.start(asked)
	if asked.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	select {
	case <-asked.Done():
		return nil
	case name := <-ended:
		return fmt.Errorf("%s has ended; see %s", name, filepath.Join(f.Dir, name+".log"))
	}
}

// servers are the node's own processes, in the order in which they were started.
type servers struct {
	floor   floor
	running []*process.Process
}

// start starts what depends on nothing at once, and the API server when its store
// is there. It says which server has ended, if one does.
func (s *servers) start(ctx context.Context) (<-chan string, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	client, err := s.floor.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	ended := make(chan string, 8)
	for _, spec := range s.floor.servers() {
		p, err := process.Start(process.Spec{
			Name: spec.name, Path: s.floor.Programs[spec.name], Args: spec.args, Dir: s.floor.Dir,
			Env: append([]string{"HOME=" + s.floor.Dir}, spec.env(s.floor)...), Log: filepath.Join(s.floor.Dir, spec.name+".log"),
		})
		if err != nil {
			return nil, err
		}
		s.running = append(s.running, p)
		go func() { <-p.Done(); ended <- spec.name }()
		if spec.ready == "" {
			continue
		}
		if err := p.Wait(ctx, process.OK(client, spec.ready)); err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// client trusts the node's own authority.
func (f floor) client() (*http.Client, error) {
	ca, err := os.ReadFile(filepath.Join(f.Dir, "pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}}, nil
}

// stop ends the servers, the last one first: an API server whose store is gone
// does not end when it is asked. What containers run ends with the namespaces.
func (s *servers) stop() {
	for _, p := range slices.Backward(s.running) {
		p.Stop(3 * time.Second)
	}
}
