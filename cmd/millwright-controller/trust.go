package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/report"
)

// publicGood names the repository of the Sigstore project.
const publicGood = "public-good"

// repositoryOptions are the flags about a TUF repository.
type repositoryOptions struct {
	url, root       string
	grace, interval time.Duration
}

func (r *repositoryOptions) add(f *flag.FlagSet) {
	f.StringVar(&r.url, "trusted-root-tuf", "", "`URL` of a TUF repository that publishes the trusted root, or public-good; instead of --trusted-root")
	f.StringVar(&r.root, "trusted-root-tuf-root", "", "`file` with the repository's initial root.json, which is believed as it is")
	f.DurationVar(&r.grace, "trusted-root-grace", 168*time.Hour, "how long new revisions are still taken after the metadata of --trusted-root-tuf expired")
	f.DurationVar(&r.interval, "trusted-root-interval", time.Hour, "how often --trusted-root-tuf is asked")
}

func (r *repositoryOptions) validate(file string) error {
	switch {
	case file == "" && r.url == "":
		return errors.New("--trusted-root or --trusted-root-tuf is required")
	case file != "" && r.url != "":
		return errors.New("--trusted-root and --trusted-root-tuf exclude each other")
	case r.url == "" && r.root != "":
		return errors.New("--trusted-root-tuf-root is for --trusted-root-tuf")
	case r.url != "" && r.url != publicGood && r.root == "":
		return errors.New("--trusted-root-tuf needs --trusted-root-tuf-root")
	case r.grace < 0:
		return errors.New("--trusted-root-grace must not be negative")
	case r.interval < time.Minute:
		return errors.New("--trusted-root-interval must be a minute or more")
	}
	return nil
}

// client makes the client that the flags ask for, with a folder in the data
// directory.
func (r *repositoryOptions) client(dataDir string) (*tufroot.Client, error) {
	o := tufroot.Options{URL: r.url, Dir: filepath.Join(dataDir, "trusted-root"), Clock: time.Now}
	if r.url == publicGood {
		o.URL, o.Root = tufroot.PublicGood, tufroot.PublicGoodRoot()
	}
	if r.root != "" {
		data, err := os.ReadFile(r.root)
		if err != nil {
			return nil, fmt.Errorf("reading --trusted-root-tuf-root: %w", err)
		}
		o.Root = data
	}
	client, err := tufroot.New(o)
	if err != nil {
		return nil, fmt.Errorf("following --trusted-root-tuf: %w", err)
	}
	return client, nil
}

// trustSource is where the trusted root comes from. A repository is asked
// beside the passes, never by one.
func trustSource(m manager.Manager, o options, metrics *report.Metrics, log logr.Logger) (reconciler.TrustSource, error) {
	if o.trust.url == "" {
		return reconciler.TrustFile(o.trustedRoot), nil
	}
	client, err := o.trust.client(o.dataDir)
	if err != nil {
		return nil, err
	}
	if err := m.Add(&refresher{client: client, options: o.trust, metrics: metrics, log: log.WithName("trusted-root")}); err != nil {
		return nil, fmt.Errorf("adding the refresh of the trusted root: %w", err)
	}
	return reconciler.TrustRepository(client, o.trust.grace, time.Now), nil
}

// refresher keeps the trusted root fresh, also in a replica that waits to
// lead: it must not begin with an old one.
type refresher struct {
	client  *tufroot.Client
	options repositoryOptions
	metrics *report.Metrics
	log     logr.Logger
}

// NeedLeaderElection says that it runs without the lease.
func (r *refresher) NeedLeaderElection() bool { return false }

// Start works until the context ends.
func (r *refresher) Start(ctx context.Context) error {
	r.client.Run(ctx, r.options.interval, r.tell)
	return nil
}

func (r *refresher) tell(status tufroot.Status, err error) {
	about := []any{"root", status.Root, "timestamp", status.Timestamp, "expires", status.Expires, "fetched", status.Fetched}
	if !status.Expires.IsZero() {
		r.metrics.TrustedRoot(status.Expires)
		about = append(about, "state", status.State(time.Now(), r.options.grace))
	}
	if err != nil {
		r.log.Error(err, "the trusted root could not be refreshed", about...)
		return
	}
	r.log.Info("the trusted root is fresh", about...)
}
