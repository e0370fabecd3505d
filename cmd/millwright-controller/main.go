// Millwright-controller is the process in the cluster: it follows the
// repository of every Factory object, verifies who signed each commit, applies
// what it may, puts drift back, and leaves a signed record of every applied
// revision.
//
// It writes structured logs to standard error and nothing to standard output.
// Tokens, keys and values of Secrets are never logged. Its listeners for
// metrics, health and pokes are on loopback unless a flag says otherwise.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	opts, err := parse(os.Args[1:], os.Stderr)
	if err != nil {
		os.Exit(2)
	}
	growHeap()
	if err := run(ctx, opts, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "millwright-controller:", err)
		os.Exit(1)
	}
}
