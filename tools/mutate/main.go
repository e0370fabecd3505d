// Command mutate removes the refusals of packages, one at a time, and tells
// which of them no test misses. It fails unless these are exactly the ones that
// redundant.txt lists, each with why nothing can show its removal.
//
//	go run ./tools/mutate [-full] ./gitverify ./gitverify/trustpolicy
//
// A mutant is one of these, and nothing else of a program is changed:
//
//   - a condition whose branch ends by returning an error, or false, is never
//     true; where conditions are joined by ||, each of them is a mutant;
//   - an error that is returned without a condition is nil;
//   - a part of a conjunction that a predicate returns is true.
//
// All mutants of a package are compiled into one test binary, which runs one of
// them as the environment says. Each test runs alone once, to find out which
// mutants it comes past; a mutant then meets only these tests, first those that
// found the last ones of its file, then the cheapest, until one fails. Tests that start servers or ask the real git are left
// out unless -full is given. A mutant that makes the tests run out of time counts
// as found.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

type config struct {
	run     string
	skip    string
	full    bool
	timeout time.Duration
	workers int
	files   string
	again   string
	// redundant is the file that lists what may survive.
	redundant string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	var c config
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&c.run, "run", ".", "only the tests with such names")
	flags.StringVar(&c.skip, "skip", "Real|Disagreement|IndependentReading|Gitsign|NoByte", "tests that are left out without -full")
	flags.BoolVar(&c.full, "full", false, "run all tests, the slow ones too, and without -short")
	flags.DurationVar(&c.timeout, "timeout", 2*time.Minute, "end of one run of the tests")
	flags.IntVar(&c.workers, "workers", max(1, runtime.NumCPU()/2), "mutants at a time")
	flags.StringVar(&c.files, "files", "", "only these files, by their base names, with commas")
	flags.StringVar(&c.again, "again", "", "only what survived an earlier run, whose standard error is in this file")
	flags.StringVar(&c.redundant, "redundant", "tools/mutate/redundant.txt", "the list of conditions whose removal nothing can show")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("name the folders of some packages")
	}
	known, err := readRedundant(c.redundant)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "millwright-mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	var wrong []string
	for i, dir := range flags.Args() {
		w := workplace{config: c, known: known, folder: filepath.Join(work, fmt.Sprint(i)), out: out, log: log}
		differ, err := w.mutate(ctx, dir)
		if err != nil {
			return err
		}
		wrong = append(wrong, differ...)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not as %s has it:\n%s", c.redundant, strings.Join(wrong, "\n"))
	}
	return nil
}

// workplace is where a package is mutated, and what for.
type workplace struct {
	config
	known    redundant
	folder   string
	out, log io.Writer
}

// mutate hunts in one package, and tells where the survivors are not the known
// ones.
func (w workplace) mutate(ctx context.Context, dir string) ([]string, error) {
	p, err := load(dir, slices.DeleteFunc(strings.Split(w.files, ","), func(s string) bool { return s == "" }))
	if err != nil {
		return nil, err
	}
	if err := p.keep(w.again); err != nil {
		return nil, err
	}
	if err := p.build(ctx, w.folder); err != nil {
		return nil, err
	}
	fmt.Fprintf(w.log, "%s: %d mutants\n", dir, len(p.mutants))
	began := time.Now()
	survivors, err := p.hunt(ctx, w.config, w.log)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(survivors, func(a, b mutant) int { return a.id - b.id })
	w.report(p, survivors, time.Since(began))
	return w.known.differ(p, survivors), nil
}

// report prints the survivors as a Markdown list.
func (w workplace) report(p *mutated, survivors []mutant, took time.Duration) {
	fmt.Fprintf(w.out, "`%s`: %d mutants in %d files, %d survive (%s, %s).\n\n", filepath.ToSlash(filepath.Clean(p.dir)),
		len(p.mutants), len(p.files), len(survivors), time.Now().UTC().Format(time.DateOnly), took.Round(time.Second))
	for _, m := range survivors {
		why := w.known[m.name]
		if why == "" {
			why = "not explained; " + m.seen()
		}
		fmt.Fprintf(w.out, "- line %d of `%s`: %s\n", m.line, m.name, why)
	}
	fmt.Fprintln(w.out)
}
