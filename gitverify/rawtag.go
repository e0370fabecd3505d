package gitverify

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
)

// rawTag is an annotated tag as its bytes say, split once.
type rawTag struct {
	// id is the name of the object, once it was read by it.
	id     ID
	target ID
	// kind is what the target claims to be, name what the tag calls itself.
	kind, name string
	// email and when are what the tagger line claims.
	email string
	when  int64
	// armored is the signature with which the body ends; nil when there is none.
	armored []byte
	// payload is what was signed: all before the signature.
	payload []byte
}

// tagHead is all that git writes before a tag's message, in git's order. There is
// no room for another header: one that carries a signature (gpgsig,
// gpgsig-sha256) would not be covered by the signature below the message.
var tagHead = regexp.MustCompile(`^object ([0-9a-f]{40})\ntype (commit|tree|blob|tag)\ntag ([^\x00-\x20\x7f]+)\ntagger ([^\n]+)\n\n`)

// maxTagName bounds a tag's name, which is that of a ref.
const maxTagName = 255

// splitTag splits the body of a tag object, byte for byte, as strictly as
// splitCommit does with commits.
func splitTag(body []byte) (rawTag, error) {
	if bytes.IndexByte(body, 0) >= 0 {
		return rawTag{}, refuse(codeTagMalformed, "a NUL byte in the tag")
	}
	m := tagHead.FindSubmatch(body)
	if m == nil {
		return rawTag{}, refuse(codeTagMalformed, "the headers are not exactly object, type, tag, tagger and an empty line, as git writes them")
	}
	t := rawTag{target: ID(m[1]), kind: string(m[2]), name: string(m[3]), payload: body}
	if len(t.name) > maxTagName {
		return rawTag{}, refuse(codeTagMalformed, "a name of %d bytes", len(t.name))
	}
	who := identLine.FindSubmatch(m[4])
	if who == nil || bytes.ContainsRune(m[4], '\r') {
		return rawTag{}, refuse(codeTagMalformed, "a tagger line that git would not write")
	}
	t.email = string(who[1])
	when, err := strconv.ParseInt(string(who[2]), 10, 64)
	if err != nil {
		return rawTag{}, refuse(codeTagMalformed, "a tagger line with an impossible time")
	}
	t.when = when
	return t.cut(len(m[0]))
}

// cut finds the signature, at or after the offset where the message begins. git
// takes the last line that begins like a signature for its beginning, other
// tools the first one; so there must be one such line, and nothing behind its
// end.
func (t rawTag) cut(message int) (rawTag, error) {
	begin, end := -1, -1
	at := message
	for line := range strings.Lines(string(t.payload[message:])) {
		switch {
		case strings.HasPrefix(line, "-----BEGIN "):
			if begin >= 0 {
				return rawTag{}, refuse(codeTagMalformed, "more than one line that begins a signature")
			}
			begin = at
		case begin >= 0 && end >= 0:
			return rawTag{}, refuse(codeTagMalformed, "text behind the signature")
		case strings.HasPrefix(line, "-----END ") && begin >= 0:
			end = at + len(line)
		}
		at += len(line)
	}
	if begin < 0 {
		return t, nil
	}
	if end != len(t.payload) || t.payload[end-1] != '\n' {
		return rawTag{}, refuse(codeTagMalformed, "the signature has no end, or not as a whole line")
	}
	t.payload, t.armored = t.payload[:begin:begin], t.payload[begin:]
	return t, nil
}
