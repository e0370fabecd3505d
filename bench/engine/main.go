// Command engine measures what it costs to bring a factory up, to look whether
// anything is to be done, to follow a commit, to put drift back, and to apply
// thousands of objects: with Millwright, with Flux, with Argo CD, with kubectl, and with
// a program that does only what cannot be left out.
//
//	go run ./bench/engine [-workloads w1,w2,w3,w4,w7] [-rounds 3] [-quick]
//
// Everything is real and runs on this machine: an API server and an etcd that
// writes safely for each party, a private Sigstore, a Git server, a registry, the
// millwright-controller as a child process that verifies every commit and
// attests what it applied. The peers verify nothing. They are told of a push at
// once, so that no polling interval speaks against them, and their flags are
// what their authors recommend for speed.
//
// Everything is measured in rounds, each of which takes every party once, so
// that what else the machine does hits all alike; ratios are taken within a
// round. No time counts before it was checked that the party did the work: all
// objects are there, and a sample of them is as declared, to the field.
//
// What is read: wall time; CPU seconds of the API server, etcd and the party
// with its children from /proc; requests by verb from the API server's own
// metrics; the most memory that the party ever had.
//
// It prints a section of Markdown. It talks to loopback addresses only, but for
// the Go module proxy where the factory's upstream manifests or the peers are
// not on this machine yet.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// config is what the flags say.
type config struct {
	root, dir, workloads, parties, child string
	rounds, steps, rogues, apps          int
	soak                                 time.Duration
	quick, profile                       bool
}

func main() {
	ctrllog.SetLogger(logr.Discard()) // the client library's, which would complain that there is none
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench/engine:", err)
		os.Exit(1)
	}
}

func parse(args []string, log io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&c.root, "root", ".", "the millwright repository")
	flags.StringVar(&c.dir, "dir", "", "`folder` for all data and logs, which is kept; empty means a temporary one")
	flags.StringVar(&c.workloads, "workloads", "w1,w2,w3,w4,w7", "what to measure; flux-many measures W7 with Flux as one Kustomization for each app as well")
	flags.StringVar(&c.parties, "parties", "millwright,flux,argo,kubectl,limit", "who takes part; millwright always does")
	flags.IntVar(&c.rounds, "rounds", 3, "number of rounds")
	flags.IntVar(&c.steps, "steps", 20, "commits that Millwright and the limit program follow in a round of W3")
	flags.IntVar(&c.rogues, "rogues", 24, "single rogue writes in a round of W4")
	flags.IntVar(&c.apps, "apps", 1000, "apps of W7, four objects each")
	flags.DurationVar(&c.soak, "soak", time.Minute, "how long nothing happens, to see what that costs; 0 means not at all")
	flags.BoolVar(&c.profile, "profile", false, "write CPU profiles of the controller beside the logs; what is measured is disturbed by it")
	flags.BoolVar(&c.quick, "quick", false, "a smoke run: a small factory, without Flux and Argo CD, everything once")
	flags.StringVar(&c.child, "child", "", "be the limit program with this `task` (for the program's own use)")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if c.quick {
		c.rounds, c.steps, c.rogues, c.apps, c.soak = 1, 2, 6, 25, 2*time.Second
		c.parties = strings.NewReplacer(fluxOne+",", "", argo+",", "").Replace(c.parties)
	}
	if c.rounds < 1 || c.steps < 1 || c.rogues < 1 || c.apps < 1 {
		return c, errors.New("rounds, steps, rogues and apps are at least 1")
	}
	return c, nil
}

func (c config) wants(workload string) bool {
	return slices.Contains(strings.Split(c.workloads, ","), workload)
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	c, err := parse(args, log)
	if err != nil {
		return err
	}
	if c.child != "" {
		var t limitTask
		if err := json.Unmarshal([]byte(c.child), &t); err != nil {
			return fmt.Errorf("reading the task: %w", err)
		}
		return t.serve(ctx)
	}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "millwright-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(c.dir)
	}
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	b := &benchmark{config: c, log: log, results: results{}, began: time.Now()}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx); err != nil {
		return err
	}
	b.report(out)
	return nil
}
