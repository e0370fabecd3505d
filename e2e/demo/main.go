// Demo shows what Millwright does, on real servers and with the real programs:
// `make demo`. It needs Go, git, make and a C compiler, and no root, no Docker,
// no cluster and no account.
//
// It is a story in acts, one file for each. An act runs commands as somebody
// and shows what they print; what the story says about them is a claim, and a
// claim is checked by reading the Kubernetes API. The first claim that is not
// true ends the demonstration with exit code 1.
//
//	story.go      the acts in their order, and who is in them
//	begin.go      a machine becomes a factory floor
//	refuse.go     a commit without signature, and one by a stranger
//	apply.go      the same content, signed by somebody who may
//	repair.go     a hand edit is put back
//	forbid.go     signed, and against the factory's own policy
//	forward.go    a branch, a merge, a second revision
//	evidence.go   what an auditor can check without us
//
// Everything listens on 127.0.0.1 and lives in a temporary folder. All of it
// ends with the demonstration, however that ends, unless -keep is given.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// options are the flags.
type options struct {
	root       string
	keep       bool
	transcript string
	timings    string
	sabotage   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	log.SetLogger(logr.Discard()) // the client library's; what matters is on the screen
	var o options
	flag.StringVar(&o.root, "root", ".", "`folder` of the millwright repository")
	flag.BoolVar(&o.keep, "keep", false, "leave everything running at the end, until Ctrl-C")
	flag.StringVar(&o.transcript, "transcript", "", "write what is shown to this `file`, with what varies replaced")
	flag.StringVar(&o.timings, "timings", "", "write what was measured to this `file`, as JSON")
	flag.StringVar(&o.sabotage, "sabotage", "", "make a claim false from outside: verify, policy or drift")
	flag.Parse()
	if err := o.validate(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
	os.Exit(run(ctx, o))
}

func (o options) validate(rest []string) error {
	switch o.sabotage {
	case "", sabotageVerify, sabotagePolicy, sabotageDrift:
	default:
		return fmt.Errorf("nothing is known about sabotaging %q", o.sabotage)
	}
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	if _, err := os.Stat(filepath.Join(o.root, "go.mod")); err != nil {
		return errors.New("run it in the millwright repository: make demo")
	}
	return nil
}

// run tells the story and returns the exit code.
func run(ctx context.Context, o options) int {
	dir, err := os.MkdirTemp("", "millwright-demo-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	d := &demo{options: o, dir: dir, screen: newScreen(os.Stdout, dir), times: newTimings()}
	err = d.story(ctx)
	if err == nil {
		err = d.write()
	}
	if err == nil && o.keep {
		d.leaveRunning(ctx)
	}
	if err != nil {
		d.explain(ctx, err)
	}
	d.stop()
	if err == nil || ctx.Err() != nil {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return 1
	}
	return 0
}

// explain says what went wrong, and where to look; the folder stays.
func (d *demo) explain(ctx context.Context, err error) {
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "\ninterrupted; everything is being ended")
		return
	}
	var untrue *untrueError
	if errors.As(err, &untrue) {
		fmt.Fprintf(os.Stderr, "\nNOT TRUE: %s\n  %v\n", untrue.claim, untrue.err)
	} else {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
	}
	if d.site != nil {
		fmt.Fprintf(os.Stderr, "the end of the controller's log:\n%s\n", d.site.ControllerLog(8))
	}
	fmt.Fprintf(os.Stderr, "logs and data are in %s\n", d.dir)
}
