// Command verify measures what it costs to verify a signed history: with
// Millwright, with the tools that people have today, and with a program that
// does only the arithmetic.
//
//	go run ./bench/verify
//
// It makes a history of ten thousand commits (a merge in every tenth) in this
// process, each signed with a certificate and a key of its own, and writes it
// as a real packed repository; and two shorter ones that are signed with SSH
// and GPG. Then it measures in rounds, each of which runs everything once, so
// that what else the machine does hits all alike, and prints a table of
// medians with the smallest and the largest. Every cold measurement is a
// process of its own; the time of starting it is not counted.
//
// Peers that are not on the PATH are left out, and the table says so. All
// programs run on this machine and talk to nobody.
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
	commits, small, sample, gitSample, rounds, steps int
	child                                            string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench/verify:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out, log io.Writer) error {
	var c config
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.IntVar(&c.commits, "commits", 10_000, "length of the history")
	flags.IntVar(&c.small, "small", 1_000, "length of the shorter cold run")
	flags.IntVar(&c.sample, "sample", 20, "commits that gitsign is asked about in a round, alone and by git log")
	flags.IntVar(&c.gitSample, "git-sample", 100, "commits that git log asks SSH and GPG about in a round")
	flags.IntVar(&c.rounds, "rounds", 5, "number of rounds")
	flags.IntVar(&c.steps, "steps", 40, "commits that are added one by one in a round")
	flags.StringVar(&c.child, "child", "", "measure one thing, as told on standard input (for the program's own use)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.child != "" {
		var t task
		if err := json.NewDecoder(in).Decode(&t); err != nil {
			return fmt.Errorf("reading the task: %w", err)
		}
		m, err := t.measure(ctx, c.child)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(m)
	}
	dir, err := os.MkdirTemp("", "millwright-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
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
