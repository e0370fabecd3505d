// Command audit measures what it costs to go over a year of a factory's evidence
// again: with `millwright audit`'s own code, without rendering and with it, and
// with a program that does only the arithmetic.
//
//	go run ./bench/audit
//
// It makes a factory in this process: a history with a signed commit for each
// revision, in a packed repository, and a record of each, signed by a workload's
// identity and logged; and writes them as an export. Then it measures in rounds,
// each of which runs everything once, and prints medians with the smallest and
// the largest. Every audit is a process of its own, from opening the export to
// the report; the time of starting it is not counted.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

type config struct {
	revisions, rounds int
	child             string
	keep              string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench/audit:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out, log io.Writer) error {
	var c config
	flags := flag.NewFlagSet("audit", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.IntVar(&c.revisions, "revisions", 5_000, "applied revisions, each with its commit and its attestation")
	flags.IntVar(&c.rounds, "rounds", 3, "number of rounds")
	flags.StringVar(&c.keep, "dir", "", "make the factory in this folder and leave it there")
	flags.StringVar(&c.child, "child", "", "measure one thing, as told on standard input (for the program's own use)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.child != "" {
		var t task
		if err := json.NewDecoder(in).Decode(&t); err != nil {
			return fmt.Errorf("reading the task: %w", err)
		}
		m, err := t.measure(ctx)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(m)
	}
	dir := c.keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "millwright-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	b := &benchmark{config: c, dir: dir, log: log, results: map[string][]float64{}}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx); err != nil {
		return err
	}
	b.table(out)
	return nil
}
