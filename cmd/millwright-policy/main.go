// Command millwright-policy tests rendered manifests against the policies among
// them: one request on standard input, one verdict on standard output, then it
// ends. A request may come in two parts, so that the process is ready when the
// second, what is to be tested, comes. People do not call it; render/policy does,
// once for each test, without environment, in namespaces without network, with a deadline and a memory
// limit, because a policy is a program that somebody else wrote. Where the kernel
// has Landlock it gives up files and connections itself before it reads.
//
// It is a module of its own since Kyverno's and Tekton's dependencies disagree
// with the product's (docs/decisions/0001). It shares nothing with it but the
// JSON on the pipe: internal/policy/wire.go is a copy of render/policy/wire.go,
// and a test there compares the bytes.
//
// Exit codes: 0 a verdict was written (which may be a no), 1 it could not tell,
// 2 usage.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"millwright.dev/millwright/cmd/millwright-policy/internal/engine"
	"millwright.dev/millwright/cmd/millwright-policy/internal/policy"
	"millwright.dev/millwright/cmd/millwright-policy/internal/sandbox"
)

func main() {
	flags := flag.NewFlagSet("millwright-policy", flag.ContinueOnError)
	memory := flags.Int64("memory-limit", 0, "soft memory limit in bytes, 0 for none")
	if err := flags.Parse(os.Args[1:]); err != nil || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: millwright-policy [-memory-limit bytes] < request.json > verdict.json")
		os.Exit(2)
	}
	if *memory > 0 {
		debug.SetMemoryLimit(*memory)
		// It lives for one test: what is left over is cheaper to keep than to look for.
		debug.SetGCPercent(400)
	}
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "millwright-policy:", policy.Printable(err.Error()))
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	isolation, err := sandbox.Enter()
	if err != nil {
		return err
	}
	request, rest, err := policy.OpenRequest(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return err
	}
	ready, err := engine.Prepare(ctx, request)
	if err != nil {
		return err
	}
	more, err := rest() // may take as long as nothing is pushed
	if err != nil {
		return err
	}
	verdict, err := ready.Test(ctx, more)
	if err != nil {
		return err
	}
	verdict.Isolation = isolation
	return policy.Encode(out, verdict)
}
