package gitverify

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Refusal is a definite no: final until the input changes. It never wraps an
// inability to tell.
type Refusal struct {
	// Reason is the CamelCase condition reason, for example "Unsigned".
	Reason string
	// Code is the finer stable code of the attack table, for example "sig/missing".
	Code string
	// Commit is the commit that the refusal is about.
	Commit ID
	// Path is the file that it is about, if any.
	Path string
	// Detail says what was found, in one printable line.
	Detail string
	// Hint says what would make it a yes.
	Hint string
	// Needs are the rules that are not met yet, when more people are what is
	// missing.
	Needs []Ruling

	// asked says that a log was asked, so that another answer may come.
	asked bool
}

// Error is one line: reason, code, commit, path, what was found.
func (r *Refusal) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "refused: %s (%s)", r.Reason, r.Code)
	if r.Commit != "" {
		fmt.Fprintf(&b, ": commit %s", r.Commit)
	}
	if r.Path != "" {
		fmt.Fprintf(&b, ": %s", printable(r.Path))
	}
	if r.Detail != "" {
		fmt.Fprintf(&b, ": %s", r.Detail)
	}
	return b.String()
}

// refuse makes a refusal with the reason and the hint that belong to the code.
func refuse(code, format string, args ...any) *Refusal {
	r := reasonFor(code)
	return &Refusal{Reason: r.Reason, Code: code, Hint: r.Hint, Detail: printable(fmt.Sprintf(format, args...))}
}

// about names the commit in a refusal that does not name one yet; any other
// error passes through.
func about(commit ID, err error) error {
	var r *Refusal
	if errors.As(err, &r) && r.Commit == "" {
		named := *r
		named.Commit = commit
		return &named
	}
	return err
}

// detailLimit bounds what hostile content can put into a message.
const detailLimit = 300

// printable makes one line of text that a stranger may have written:
// no terminal escapes, no line breaks, no invisible direction marks (row D34).
func printable(s string) string {
	if len(s) > 4*detailLimit {
		s = s[:4*detailLimit]
	}
	var b strings.Builder
	n := 0
	for _, c := range s {
		if n++; n > detailLimit {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(c) {
			c = '\uFFFD'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// codeOf is the code of a refusal, and empty for any other error.
func codeOf(err error) string {
	if no, ok := errors.AsType[*Refusal](err); ok {
		return no.Code
	}
	return ""
}
