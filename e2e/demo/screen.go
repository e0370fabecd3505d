package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// screen is what the audience sees, and keeps a copy of it.
type screen struct {
	out  io.Writer
	copy bytes.Buffer
	dir  string
	acts int
}

func newScreen(out io.Writer, dir string) *screen { return &screen{out: out, dir: dir} }

// print shows text. The name of the temporary folder is of no interest.
func (s *screen) print(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), s.dir, "DIR")
	s.copy.WriteString(text)
	_, _ = io.WriteString(s.out, text)
}

// act begins a part of the story.
func (s *screen) act(title string) {
	s.acts++
	s.print("\n%d. %s\n", s.acts, title)
}

// command shows a command as somebody types it.
func (s *screen) command(who string, args []string) {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quote(a)
	}
	line := who + "$ " + quoted[0]
	for _, a := range quoted[1:] {
		if i := strings.LastIndexByte(line, '\n'); len(line)-i+len(a) > 110 {
			line += " \\\n   "
		}
		line += " " + a
	}
	s.print("%s\n", line)
}

func quote(arg string) string {
	if arg == "" || strings.ContainsAny(arg, " \t\"{}()*?$&|;<>\\") {
		return "'" + arg + "'"
	}
	return arg
}

// output shows what a command printed: all of it, or the lines that contain one
// of the words, with dots where something was left out.
func (s *screen) output(text string, words []string) {
	dots := false
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		line = strings.TrimRight(line, "\n")
		if len(words) > 0 && !containsOne(line, words) {
			if !dots {
				s.print("    ...\n")
			}
			dots = true
			continue
		}
		dots = false
		s.print("    %s\n", line)
	}
}

func containsOne(line string, words []string) bool {
	for _, w := range words {
		if strings.Contains(line, w) {
			return true
		}
	}
	return false
}

// untrueError is a claim that did not hold.
type untrueError struct {
	claim string
	err   error
}

func (u *untrueError) Error() string {
	return fmt.Sprintf("it is not true that %s: %v", u.claim, u.err)
}
func (u *untrueError) Unwrap() error { return u.err }

// claim shows a statement that was just checked, or turns what the check found
// into the end of the demonstration.
func (s *screen) claim(err error, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if err != nil {
		return &untrueError{claim: text, err: err}
	}
	s.print("  ok  %s\n", text)
	return nil
}
