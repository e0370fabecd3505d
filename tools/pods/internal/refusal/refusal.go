// Package refusal is how the programs of this module say no: with a reason
// that stays the same, what was seen, and what would mend it.
//
// Any other error means that a program could not tell, and that the same call
// may succeed later.
package refusal

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"unicode/utf8"
)

// Exit codes of the programs, those of the millwright command.
const (
	ExitYes     = 0
	ExitUnknown = 1
	ExitUsage   = 2
	ExitNo      = 3
)

// Refusal is a definite no: it stays one until the input changes.
type Refusal struct {
	Reason string // stable, group/word
	Detail string // what was seen; quoted where it came from outside
	Hint   string // what would mend it
}

// Error is one line: reason, what was seen, what would mend it.
func (r *Refusal) Error() string {
	return fmt.Sprintf("refused: %s: %s; to mend it: %s", r.Reason, r.Detail, r.Hint)
}

// New makes a refusal. Values from outside belong into args with %q, so that
// none of them is printed raw.
func New(reason, hint, format string, args ...any) error {
	return &Refusal{Reason: reason, Detail: clip(fmt.Sprintf(format, args...)), Hint: hint}
}

// clip bounds what is quoted: whoever reads a message did not ask for a page.
func clip(s string) string {
	const limit = 500
	if len(s) <= limit {
		return s
	}
	end := limit
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// ReasonOf returns the reason of a refusal, and "" for any other error.
func ReasonOf(err error) string {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Reason
	}
	return ""
}

// errUsage marks a call that makes no sense, whatever it is called with later.
var errUsage = errors.New("usage")

// Usage makes an error of a wrong call.
func Usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, clip(fmt.Sprintf(format, args...)))
}

// Exit says an error on w and returns the exit code that goes with it.
func Exit(w io.Writer, program string, err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return ExitYes
	}
	fmt.Fprintf(w, "%s: %v\n", program, err)
	switch {
	case errors.Is(err, errUsage):
		return ExitUsage
	case ReasonOf(err) != "":
		return ExitNo
	default:
		return ExitUnknown
	}
}

// Parse reads flags and refuses arguments that are none.
func Parse(flags *flag.FlagSet, args []string, out io.Writer) error {
	flags.SetOutput(out)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return Usage("%v", err)
	}
	if flags.NArg() > 0 {
		return Usage("unexpected argument %q", flags.Arg(0))
	}
	return nil
}
