// Package visible finds characters that a reviewer does not see as what they
// are. Whoever signs or approves a text vouches for what a viewer showed of it.
package visible

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Hidden is the first character of a text that hides something.
type Hidden struct {
	// Line counts from 1, by line feeds as viewers do; 0 if the text is not UTF-8.
	Line      int
	Character rune
}

// Error names the character by its number: it must not be shown.
func (h *Hidden) Error() string {
	if h.Line == 0 {
		return "not UTF-8 text"
	}
	return fmt.Sprintf("line %d: the invisible character %U", h.Line, h.Character)
}

// Unprintable finds the first character that is neither printable nor a tab, a
// line feed or the carriage return before one; nil if there is none. It is for
// texts that are written for Millwright.
func Unprintable(text []byte) *Hidden {
	return find(text, func(c rune) bool { return c != '\t' && !unicode.IsPrint(c) })
}

// Deceptive finds the first character that makes a text read otherwise than it
// shows: YAML 1.1 (§4.2, b-char) ends a line, and a comment with it, at a lone
// carriage return and at U+0085, U+2028 and U+2029, which viewers show as nothing;
// the controls of direction reorder what is shown (CVE-2021-42574); a control
// character may do anything. Unlike [Unprintable] it leaves odd spaces alone, which
// upstream manifests have in their descriptions. nil if there is none.
func Deceptive(text []byte) *Hidden {
	return find(text, deceptive)
}

func deceptive(c rune) bool {
	switch c {
	case '\t':
		return false
	case '\u2028', '\u2029':
		return true
	}
	return unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c)
}

func find(text []byte, hides func(rune) bool) *Hidden {
	if !utf8.Valid(text) {
		return &Hidden{}
	}
	line := 1
	for i, c := range string(text) {
		switch {
		case c == '\n':
			line++
		case c == '\r' && bytes.HasPrefix(text[i:], []byte("\r\n")):
		case hides(c):
			return &Hidden{Line: line, Character: c}
		}
	}
	return nil
}
