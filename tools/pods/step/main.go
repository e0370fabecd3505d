// Command step is what the trusted steps of the catalog run: one program, no
// shell, nothing that is downloaded.
//
//	step clone        write the tree of one commit to a folder, and its digest
//	step digest       compare a folder with the digest that its producer gave
//	step canary       fail, unless nothing can be reached from here
//	step sbom         say in SPDX what a Go program is made of
//	step publish      make an image of files and push it by digest
//	step fetch-token  get a JWT-SVID for Sigstore from the SPIFFE Workload API
//	step serve        serve a folder, such as a TUF repository in a ConfigMap
//
// Called by the name files, it serves. Exit codes: 0 yes, 1 could not tell,
// 2 usage, 3 no. Each no has a reason that stays the same and a hint.
//
// What it reads was often written by a build, that is, by anybody: files are
// opened below one folder only, links that lead out of it are not followed, and
// everything is bounded.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// verb does one thing; what it has to say beyond its results goes to out.
type verb func(ctx context.Context, args []string, out io.Writer) error

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "files" && (len(args) == 0 || args[0] != "serve") {
		args = append([]string{"serve"}, args...)
	}
	err := run(ctx, args, os.Stderr)
	stop()
	os.Exit(refusal.Exit(os.Stderr, "step", err))
}

func run(ctx context.Context, args []string, out io.Writer) error {
	verbs := map[string]verb{
		"canary": canary, "clone": clone, "digest": digest, "fetch-token": fetchToken,
		"publish": publish, "sbom": sbom, "serve": serve,
	}
	if len(args) == 0 {
		return refusal.Usage("step canary|clone|digest|fetch-token|publish|sbom|serve [flags]")
	}
	do, ok := verbs[args[0]]
	if !ok {
		return refusal.Usage("unknown verb %q", args[0])
	}
	return do(ctx, args[1:], out)
}

// resultLimit is what Tekton takes of all results of a step together.
const resultLimit = 4096

// writeResult writes a value to the file that Tekton named, without a line
// break, which would become part of the value. No file, no result.
func writeResult(path, value string) error {
	if path == "" {
		return nil
	}
	if len(value) > resultLimit {
		return fmt.Errorf("the result %s has %d bytes, more than the %d that Tekton takes", filepath.Base(path), len(value), resultLimit)
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("writing a result: %w", err)
	}
	return nil
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	if len(*l) >= 64 {
		return refusal.Usage("more than 64 times")
	}
	*l = append(*l, s)
	return nil
}
