// Command evidence measures what evidence costs and whether it survives: a
// thousand revisions back to back, each with its signed record, and two hundred
// SIGKILLs at random moments; beside a program that signs and writes and does
// nothing else, and beside cosign.
//
//	go run ./bench/evidence [-revisions 1000] [-kills 200] [-rounds 3] [-seed 1]
//
// Everything is real and runs on this machine: an API server and an etcd that
// writes safely, a private Sigstore with Fulcio, Rekor and a timestamp authority, a
// Git server, a registry, and the millwright-controller as a child process. Every
// revision is a commit that gitsign signed, and changes one ConfigMap. All commits
// are signed before anything is measured. The controller goes to the tip of the
// ref, so that each is pushed when the one before is applied: what is pushed in
// between would become one revision with it.
//
// A Factory cannot do without evidence, so there is no run without it to compare
// with. What evidence adds is read from the audit log of the API server: from the
// last answer about the cluster to the first write of the revision, between which
// the verdict is made durable, and nothing else is done.
//
// A write counts as redundant when the API server carried it out and no new version
// of the object came of it: writes are in the audit log, versions come by watch.
//
// At the end `millwright export` and `millwright audit` go over all of it. The
// command fails when the audit does not say yes, when a commit that was seen in the
// cluster has no record or two, or when a number of the chain is missing.
//
// It prints a section of Markdown. It talks to loopback addresses only, but for the
// Go module proxy where a server has to be built first.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// config is what the flags say.
type config struct {
	root, dir, signer                        string
	revisions, kills, rounds, samples, small int
	keep                                     int
	seed                                     uint64
}

// The values of -signer.
const (
	signerKeyless = "keyless"
	signerKey     = "key"
)

func main() {
	ctrllog.SetLogger(logr.Discard()) // the client library's, which would complain that there is none
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench/evidence:", err)
		os.Exit(1)
	}
}

func parse(args []string, log io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("evidence", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&c.root, "root", ".", "the millwright repository")
	flags.StringVar(&c.dir, "dir", "", "`folder` for all data and logs, which is kept; empty means a temporary one")
	flags.IntVar(&c.revisions, "revisions", 1000, "revisions that nothing disturbs")
	flags.IntVar(&c.kills, "kills", 200, "SIGKILLs, in revisions that come after those")
	flags.IntVar(&c.rounds, "rounds", 3, "number of rounds that the undisturbed revisions are divided into, each with the limit program and cosign")
	flags.IntVar(&c.samples, "samples", 10, "attestations of cosign in a round, with a key and as many without")
	flags.IntVar(&c.small, "objects", 20, "ConfigMaps of the factory")
	flags.IntVar(&c.keep, "keep", 200, "records of the chain that stay in the cluster; older ones are in the registry")
	flags.StringVar(&c.signer, "signer", signerKeyless, "how the controller signs: keyless, logged and with timestamps; or key, with a file and no service at all")
	flags.Uint64Var(&c.seed, "seed", 0, "`number` that the moments of the SIGKILLs are drawn from; 0 means one from the clock")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if c.rounds < 1 || c.revisions < c.rounds || c.samples < 1 || c.small < 1 || c.kills < 0 {
		return c, errors.New("rounds, samples and objects are at least 1, and so are the revisions of a round")
	}
	if c.signer != signerKeyless && c.signer != signerKey {
		return c, fmt.Errorf("-signer is %s or %s", signerKeyless, signerKey)
	}
	return c, nil
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	c, err := parse(args, log)
	if err != nil {
		return err
	}
	if c.seed == 0 {
		c.seed = uint64(time.Now().UnixNano())
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
	b := &benchmark{config: c, log: log, began: time.Now()}
	defer b.stop()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx); err != nil {
		return fmt.Errorf("%w; the end of the controller's log:\n%s", err, b.floor.site.ControllerLog(20))
	}
	b.report(out)
	// What was measured is told even then: it may say why.
	return b.proof.err()
}
