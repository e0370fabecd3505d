// Command conformance asks of every build that succeeded whether it is signed.
//
// Chains annotates each run with chains.tekton.dev/signed, also those of which it
// signed nothing: that annotation is never read here. A run is signed when the
// registry has, for the digest that the run names as its result, provenance by
// Chains about this very run of the factory's pipeline, and a list of contents by
// the task that published the image; both verified with the factory's own keys and
// nobody else asked. There are three answers: signed, unsigned, and unknown, when
// the registry did not say.
//
// What is not signed for longer than -grace is an alarm: a Warning event RunUnsigned
// of the run, a line in the log, and the metric millwright_conformance_runs. The last
// -last runs are asked about again every -interval, so that an attestation which is
// taken away afterwards is an alarm as well.
//
// It changes nothing but events, and lists runs instead of watching them: what it
// missed while it was away it sees at the next pass.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

// options are the command line.
type options struct {
	interval, grace  time.Duration
	last             int
	addr, kubeconfig string
	namespaces       string // label selector
	trust            string // folder
	expected         expected
}

var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:], os.Stderr)
	if err == nil {
		err = run(ctx, o, slog.Default())
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.DurationVar(&o.interval, "interval", time.Minute, "time between two passes")
	flags.DurationVar(&o.grace, "grace", 2*time.Minute, "how long a run may be unsigned, or not be told of, until that is an alarm")
	flags.IntVar(&o.last, "last", 200, "how many runs to ask about, those that ended last")
	flags.StringVar(&o.addr, "addr", ":8080", "address of /metrics and /readyz")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig (default: the pod's service account)")
	flags.StringVar(&o.namespaces, "namespaces", "millwright.dev/purpose=build", "label `selector` of the namespaces in which builds run")
	flags.StringVar(&o.trust, "trust", "/trust", "`folder` with fulcio.crt, ct.pub and rekor.pub")
	flags.StringVar(&o.expected.registry, "registry", "", "what names of images begin with, HOST[:PORT][/PATH] (required)")
	flags.StringVar(&o.expected.issuer, "issuer", "", "issuer of the signers' tokens (required)")
	flags.StringVar(&o.expected.chains, "chains", "", "who signs provenance, an URI (required)")
	flags.StringVar(&o.expected.publish, "publish", "", "who signs lists of contents, an URI (required)")
	flags.StringVar(&o.expected.builder, "builder", "", "id of the builder in provenance (required)")
	flags.StringVar(&o.expected.pipeline, "pipeline", "", "what the name of the pipeline in provenance begins with (required)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%w: unexpected argument %q", errUsage, flags.Arg(0))
	}
	return o, o.check()
}

func (o *options) check() error {
	e := &o.expected
	for name, value := range map[string]string{
		"-registry": e.registry, "-issuer": e.issuer, "-chains": e.chains, "-publish": e.publish, "-builder": e.builder, "-pipeline": e.pipeline,
	} {
		if value == "" {
			return fmt.Errorf("%w: %s is missing", errUsage, name)
		}
	}
	e.registry = strings.TrimSuffix(e.registry, "/")
	if o.interval <= 0 || o.grace < 0 || o.last <= 0 {
		return fmt.Errorf("%w: -interval and -last are more than nothing, -grace is not less", errUsage)
	}
	return nil
}

func run(ctx context.Context, o options, log *slog.Logger) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading how to reach the cluster: %w", err)
	}
	config.Timeout = 30 * time.Second
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	w := &watcher{
		options: o, log: log, cluster: cluster{client: client}, registry: newRegistry(),
		ledger: newLedger(o.grace), page: &page{interval: o.interval},
	}
	failed := make(chan error, 1)
	go func() { failed <- w.page.serve(ctx, o.addr) }()
	log.Info("asking", "registry", o.expected.registry, "namespaces", o.namespaces, "interval", o.interval, "grace", o.grace)
	return w.loop(ctx, failed)
}
