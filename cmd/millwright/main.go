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

	"golang.org/x/term"
)

// version is set by the linker.
var version = "dev"

// app is what every verb gets.
type app struct {
	in       io.Reader
	out, err io.Writer
	// terminal says that somebody can answer a question.
	terminal bool
	// env is the environment of git and of what git starts to sign.
	env []string
	now func() time.Time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, now: time.Now, env: os.Environ(),
		terminal: term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())),
	}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
