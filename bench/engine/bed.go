package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/tools/process"
)

// bed is what a party stands on: a cluster of its own, a repository of its own,
// and the processes that are counted for it.
type bed struct {
	name, dir string
	floor     *floor
	cluster   *kubetest.Cluster
	api       dynamic.Interface
	rest      rest.Interface
	// remote is the URL of the repository that it follows.
	remote string

	running []*process.Process
	// spent and peak are of commands that have ended.
	spent time.Duration
	peak  float64
	// known is where the API server has the kinds that were asked for.
	known map[schema.GroupVersionKind]place
	// remove are folders elsewhere, to be removed in the end.
	remove []string
}

// newBed starts an empty cluster. etcd writes safely, as in production.
func newBed(ctx context.Context, f *floor, name, dir string) (*bed, error) {
	b := &bed{name: name, dir: dir, floor: f, remote: f.remote(name), known: map[schema.GroupVersionKind]place{}}
	if err := os.MkdirAll(filepath.Join(dir, "kube"), 0o700); err != nil {
		return nil, err
	}
	var err error
	if b.cluster, err = kubetest.Start(ctx, filepath.Join(dir, "kube"), kubetest.Options{Fsync: true}); err != nil {
		return nil, err
	}
	cfg := b.cluster.Config()
	cfg.WarningHandler = rest.NoWarnings{}
	if b.api, err = dynamic.NewForConfig(cfg); err != nil {
		return nil, err
	}
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, err
	}
	b.rest = d.RESTClient()
	return b, nil
}

// stop ends what the party runs, then the cluster, and leaves only the logs.
func (b *bed) stop() {
	for _, p := range slices.Backward(b.running) {
		_ = p.Signal(syscall.SIGCONT) // one that is held would not hear of it
		p.Stop(5 * time.Second)
	}
	if b.cluster != nil {
		b.cluster.Stop()
	}
	for _, dir := range append(b.remove, filepath.Join(b.dir, "kube", "etcd")) {
		_ = os.RemoveAll(dir)
	}
}

func httpClient() *http.Client { return &http.Client{Timeout: 10 * time.Second} }

func (b *bed) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

func (b *bed) pids() []int {
	var out []int
	for _, p := range b.running {
		out = append(out, p.PID())
	}
	return out
}

// start runs a server of the party.
func (b *bed) start(spec process.Spec) (*process.Process, error) {
	spec.Dir, spec.Log = b.dir, b.path(spec.Name+".log")
	p, err := process.Start(spec)
	if err == nil {
		b.running = append(b.running, p)
	}
	return p, err
}

// command runs a command to its end, and counts what it used.
func (b *bed) command(ctx context.Context, env []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = b.dir, env, 2*time.Second
	out, err := cmd.CombinedOutput()
	if s := cmd.ProcessState; s != nil {
		b.spent += s.UserTime() + s.SystemTime()
		if u, ok := s.SysUsage().(*syscall.Rusage); ok {
			b.peak = max(b.peak, float64(u.Maxrss)/1024)
		}
	}
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, tail(out))
	}
	return string(out), nil
}

func tail(out []byte) string {
	const most = 2000
	return string(out[max(0, len(out)-most):])
}

// used is CPU time at one moment.
type used struct{ party, apiserver, store time.Duration }

func (b *bed) used() (used, error) {
	u := used{party: b.spent}
	for _, pid := range b.pids() {
		cpu, err := cpuOf(pid)
		if err != nil {
			return u, fmt.Errorf("%s has ended: %w", b.name, err)
		}
		u.party += cpu
	}
	var errs [2]error
	u.apiserver, errs[0] = cpuOf(b.cluster.APIServer().PID())
	u.store, errs[1] = cpuOf(b.cluster.Etcd().PID())
	return u, errors.Join(errs[:]...)
}

// cost is what something took.
type cost struct {
	wall, party, apiserver, store float64 // seconds
	peak                          float64 // MiB
	requests                      requests
}

func (c cost) cpu() float64 { return c.party + c.apiserver + c.store }

// measure takes the counters before and after. Asking for the requests costs
// CPU time itself, and is left out of it.
func (b *bed) measure(ctx context.Context, do func(context.Context) error) (cost, error) {
	asked, err := requestsOf(ctx, b.rest)
	if err != nil {
		return cost{}, err
	}
	before, err := b.used()
	if err != nil {
		return cost{}, err
	}
	children := sample(b.pids)
	began := time.Now()
	err = do(ctx)
	wall := time.Since(began)
	after, lost := b.used()
	most := children.end()
	if err := errors.Join(err, lost); err != nil {
		return cost{}, fmt.Errorf("%s: %w", b.name, err)
	}
	answered, err := requestsOf(ctx, b.rest)
	if err != nil {
		return cost{}, err
	}
	c := cost{
		wall: wall.Seconds(), party: (after.party - before.party).Seconds(),
		apiserver: (after.apiserver - before.apiserver).Seconds(), store: (after.store - before.store).Seconds(),
		requests: answered.since(asked), peak: b.peak + most,
	}
	for _, pid := range b.pids() {
		peak, err := memoryOf(pid, "VmHWM")
		if err != nil {
			return c, err
		}
		c.peak += peak
	}
	return c, nil
}
