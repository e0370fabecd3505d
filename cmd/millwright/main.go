// Millwright is the operator's tool beside the controller: it says what would
// be applied and why it may, and checks what was.
//
// Exit codes: 0 yes · 1 could not tell · 2 wrong usage · 3 no (refused,
// violated, drifted, or evidence that does not hold).
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set by the linker.
var version = "dev"

// app is what every verb gets.
type app struct {
	out, err io.Writer
	now      func() time.Time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	a := &app{out: os.Stdout, err: os.Stderr, now: time.Now}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
