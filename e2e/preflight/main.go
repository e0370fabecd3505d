// Preflight says what this machine lacks for the factory, all of it at once:
// `make factory` runs it before it compiles the rest, so that a missing compiler or a
// disk that is too small is not found out after minutes. It links next to nothing
// for that reason (internal/architecture holds it to it).
//
// It exits with 0 if the machine lacks nothing, with 3 if it does, and with 1 if that
// could not be told.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"millwright.dev/millwright/e2e/node"
)

func main() {
	dir := flag.String("dir", ".factory", "`folder` that the factory's data will be in")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := node.Preflight(ctx, *dir)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	if len(node.Refusals(err)) > 0 {
		os.Exit(3) // no, as the project's other programs say it
	}
	os.Exit(1)
}
