// Package localfactory puts together, on loopback ports and in one folder, all
// that a factory consists of: a Kubernetes API, a private Sigstore, an OCI
// registry, a Git server, people who sign their commits, and the real
// millwright-controller. The demonstration and the scenarios are written on it.
//
//	site, err := localfactory.Start(ctx, localfactory.Options{Dir: dir, Root: "."})
//	defer site.Stop()
//	alice, err := site.Person(ctx, "alice")
//	…                                            // make a repository, push it
//	err = site.StartController(ctx, site.PolicyEngine())
//
// Nothing here decides anything that the product decides: it starts programs,
// runs commands as somebody, and reads the Kubernetes API.
//
// What it refuses: addresses other than 127.0.0.1, and settings of the machine
// or the user (commands get an environment of their own).
package localfactory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/e2e/registrytest"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/process"
)

// Names that the sites share.
const (
	// Namespace and Name of the Factory.
	Namespace = "millwright-system"
	Name      = "factory"
	// Subject is the SPIFFE ID of the controller.
	Subject = "spiffe://factory.test/factory/reconciler"
)

// lifetime of the tokens that are given out: a site that is kept running must
// outlive an afternoon, and nobody renews them.
const lifetime = 24 * time.Hour

// Options of [Start].
type Options struct {
	// Dir takes all data and logs.
	Dir string
	// Root is the millwright repository, whose programs are built.
	Root string
	// Programs, if set, is a folder that [Build] was called for, so that several
	// sites need not build the same.
	Programs string
	// WithoutCluster leaves the Kubernetes API out: the caller starts one, or one
	// after the other, and says with Use which the site's commands and the
	// controller talk to.
	WithoutCluster bool
	// Progress gets a line now and then; nil means quiet.
	Progress io.Writer
	// Took, if set, is told how long building and starting took.
	Took func(what string, d time.Duration)
}

// Site is a running factory floor.
type Site struct {
	Dir      string
	Cluster  *kubetest.Cluster
	Sigstore *sigstoretest.Sigstore
	Registry *registrytest.Server
	Git      *gittest.Server
	// RepoURL is the factory repository, empty at first.
	RepoURL string
	// SourceURL is the name that the repository has for the controller, and so in
	// the trust policy; it is RepoURL, unless the controller runs elsewhere.
	SourceURL string

	options    Options
	assets     assets.Bin
	ports      []int
	controller *process.Process
	// access is the controller's kubeconfig, if it has one of its own.
	access string
}

// Start builds what has to be built and starts all servers but the controller.
// Whoever starts a site ends it with Stop.
func Start(ctx context.Context, o Options) (*Site, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Took == nil {
		o.Took = func(string, time.Duration) {}
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Site{Dir: dir, options: o}
	for _, sub := range []string{"bin", "kube", "sigstore", "registry", "git", "people", "controller"} {
		if err := os.MkdirAll(s.Path(sub), 0o700); err != nil {
			return nil, fmt.Errorf("preparing the folder: %w", err)
		}
	}
	began := time.Now()
	if err := s.build(ctx); err != nil {
		return nil, err
	}
	o.Took("build", time.Since(began))
	began = time.Now()
	if err := s.startServers(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	o.Took("bring-up", time.Since(began))
	return s, nil
}

// Path is a file of the site.
func (s *Site) Path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

func (s *Site) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(s.options.Progress, format+"\n", args...)
}

// programs are what a site runs that is not of this module, the longest builds
// first.
func programs() []string {
	return []string{
		"kube-apiserver", "etcd", "kubectl", "millwright-policy",
		"fulcio", "rekor-server", "timestamp-server", "ct_server", "trillian-memory", "oidc-issuer",
		"gitsign", "cosign", "registry",
	}
}

// build puts every program into the site's bin folder.
func (s *Site) build(ctx context.Context) error {
	var err error
	if s.assets, err = assets.Ensure(ctx, s.options.Progress, programs()...); err != nil {
		return err
	}
	for _, name := range []string{"kubectl", "gitsign", "cosign", "millwright-policy"} {
		if err := os.Symlink(s.assets.Path(name), s.Path("bin", name)); err != nil {
			return err
		}
	}
	if s.options.Programs == "" {
		s.progress("building millwright and millwright-controller")
		done := s.stillBuilding()
		defer done()
		return Build(ctx, s.options.Root, s.Path("bin"))
	}
	for _, name := range []string{"millwright", "millwright-controller"} {
		if err := os.Symlink(filepath.Join(s.options.Programs, name), s.Path("bin", name)); err != nil {
			return err
		}
	}
	return nil
}

// stillBuilding says every half minute that the build goes on, until done.
func (s *Site) stillBuilding() (done func()) {
	quit := make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		tick := time.NewTicker(30 * time.Second)
		defer tick.Stop()
		for began := time.Now(); ; {
			select {
			case <-quit:
				return
			case <-tick.C:
				s.progress("  still building: %s", time.Since(began).Round(time.Second))
			}
		}
	})
	return func() {
		close(quit)
		told.Wait()
	}
}

// Build builds the product's two programs, and others if any are named, from the
// millwright repository at root into a folder. Without cgo, as they are released:
// what loads plugins in a library below us is then not even linked.
func Build(ctx context.Context, root, dir string, more ...string) error {
	packages := append([]string{"./cmd/millwright", "./cmd/millwright-controller"}, more...)
	flags := []string{"build", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags=-s -w", "-o", dir + "/"}
	cmd := exec.CommandContext(ctx, "go", append(flags, packages...)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	// The go command's own children, the linker and its linker, do not end with
	// it: so they are a group, and end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %v: %w\n%s", packages, err, out)
	}
	return nil
}

// PolicyEngine is the path of the policy process.
func (s *Site) PolicyEngine() string { return s.assets.Path("millwright-policy") }

// startServers starts everything at once: each spends its first second waiting.
func (s *Site) startServers(ctx context.Context) error {
	s.progress("starting the Kubernetes API, Sigstore, the registry and the Git server")
	var err error
	if s.ports, err = process.Ports(3); err != nil {
		return err
	}
	failed := make(chan error)
	go func() {
		if s.options.WithoutCluster {
			failed <- nil
			return
		}
		cluster, err := kubetest.Start(ctx, s.Path("kube"), kubetest.Options{})
		s.Cluster = cluster
		failed <- err
	}()
	go func() {
		sigstore, err := sigstoretest.Start(ctx, s.Path("sigstore"), sigstoretest.Options{})
		s.Sigstore = sigstore
		failed <- err
	}()
	go func() {
		registry, err := registrytest.Start(ctx, s.Path("registry"), nil)
		s.Registry = registry
		failed <- err
	}()
	if err = errors.Join(<-failed, <-failed, <-failed); err != nil {
		return err
	}
	if s.Git, err = gittest.Start(ctx, s.Path("git"), gittest.Options{Push: true}); err != nil {
		return fmt.Errorf("starting the Git server: %w", err)
	}
	if s.RepoURL, err = s.Git.Create(ctx, "factory"); err != nil {
		return err
	}
	s.SourceURL = s.RepoURL
	return s.publish()
}

// publish copies what commands name to the top of the folder.
func (s *Site) publish() error {
	if err := os.Symlink(s.Sigstore.TrustedRootPath, s.Path("trusted_root.json")); err != nil || s.Cluster == nil {
		return err
	}
	return os.Symlink(s.Cluster.Kubeconfig, s.Path("kubeconfig"))
}

// Use makes a cluster the site's. The one before is the caller's to end.
func (s *Site) Use(cluster *kubetest.Cluster) error {
	if err := os.Remove(s.Path("kubeconfig")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.Cluster = cluster
	return os.Symlink(cluster.Kubeconfig, s.Path("kubeconfig"))
}

// Stop ends everything that was started, the controller first.
func (s *Site) Stop() {
	s.controller.Stop(10 * time.Second)
	if s.Git != nil {
		s.Git.Stop()
	}
	if s.Registry != nil {
		s.Registry.Stop()
	}
	if s.Sigstore != nil {
		s.Sigstore.Stop()
	}
	if s.Cluster != nil {
		s.Cluster.Stop()
	}
}
