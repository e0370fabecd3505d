package gitverify

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	tagTarget    = "1111111111111111111111111111111111111111"
	tagSignature = "-----BEGIN SIGNED MESSAGE-----\nAAAA\n-----END SIGNED MESSAGE-----\n"
	tagOpening   = "object " + tagTarget + "\ntype commit\ntag v1\ntagger T <t@example.test> 1700000000 +0000\n"
)

func TestATagFallsIntoItsParts(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"", "one line\n", "several\n\nlines\n-----END \n ----BEGIN\n", "no line end", "\n\n\r\n"} {
		signed := !strings.HasSuffix(message, "end")
		body := tagOpening + "\n" + message
		armored := ""
		if signed {
			armored = tagSignature
		}
		got, err := splitTag([]byte(body + armored))
		if err != nil {
			t.Errorf("%q: %v", message, err)
			continue
		}
		if string(got.payload) != body || string(got.armored) != armored || (got.armored != nil) != signed {
			t.Errorf("%q falls into %q and %q", message, got.payload, got.armored)
		}
		if got.target != tagTarget || got.kind != "commit" || got.name != "v1" || got.email != "t@example.test" || got.when != 1_700_000_000 {
			t.Errorf("%q: read %+v", message, got)
		}
	}
}

func TestATagThatGitWouldNotWriteIsMalformed(t *testing.T) {
	t.Parallel()
	edit := func(old, changed string) string {
		return strings.Replace(tagOpening, old, changed, 1) + "\nmessage\n" + tagSignature
	}
	for name, body := range map[string]string{
		"nothing":                              "",
		"headers only":                         tagOpening,
		"no empty line":                        tagOpening + "message\n" + tagSignature,
		"no tagger":                            edit("tagger T <t@example.test> 1700000000 +0000\n", ""),
		"no object":                            edit("object "+tagTarget+"\n", ""),
		"another order":                        edit("type commit\ntag v1\n", "tag v1\ntype commit\n"),
		"two objects":                          edit("type", "object 2222222222222222222222222222222222222222\ntype"),
		"two types":                            edit("tag v1\n", "type tree\ntag v1\n"),
		"two names":                            edit("tag v1\n", "tag v2\ntag v1\n"),
		"two taggers":                          edit("tagger", "tagger X <x@example.test> 1 +0000\ntagger"),
		"a signature header":                   strings.Replace(edit("", ""), "\n\n", "\ngpgsig -----BEGIN SIGNED MESSAGE-----\n AAAA\n -----END SIGNED MESSAGE-----\n\n", 1),
		"a signature header of SHA-256":        strings.Replace(edit("", ""), "\n\n", "\ngpgsig-sha256 x\n\n", 1),
		"an encoding":                          strings.Replace(edit("", ""), "\n\n", "\nencoding UTF-7\n\n", 1),
		"a NUL byte":                           edit("v1", "v1\x00"),
		"a NUL byte in the message":            tagOpening + "\nx\x00\n" + tagSignature,
		"carriage returns":                     strings.ReplaceAll(edit("", ""), "\n", "\r\n"),
		"a carriage return in the tagger":      edit("+0000", "+0000\r"),
		"a carriage return before the address": edit("T <", "T\r <"),
		"a continued line":                     edit("tag v1\n", "tag v1\n v2\n"),
		"a short object name":                  edit(tagTarget, tagTarget[:39]),
		"a long object name":                   edit(tagTarget, tagTarget+"1"),
		"an object name in capitals":           edit(tagTarget, strings.Repeat("A", 40)),
		"an unknown type":                      edit("commit", "commits"),
		"no name":                              edit("tag v1", "tag "),
		"a name with a blank":                  edit("v1", "v1 v2"),
		"a long name":                          edit("v1", strings.Repeat("v", 300)),
		"a tagger without an address":          edit("<t@example.test>", "t"),
		"two addresses":                        edit("<t@example.test>", "<a@example.test> <t@example.test>"),
		"no time":                              edit("1700000000 +0000", "+0000"),
		"a time of more than 63 bits":          edit("1700000000", "9999999999999999999"),
		"two signatures":                       tagOpening + "\nmessage\n" + tagSignature + tagSignature,
		"a signature in the message":           tagOpening + "\nmessage\n-----BEGIN PGP SIGNATURE-----\n\nx\n" + tagSignature,
		"text behind the signature":            tagOpening + "\nmessage\n" + tagSignature + "text\n",
		"an empty line behind it":              tagOpening + "\nmessage\n" + tagSignature + "\n",
		"no end":                               tagOpening + "\nmessage\n-----BEGIN SIGNED MESSAGE-----\nAAAA\n",
		"no line end at the end":               tagOpening + "\nmessage\n" + strings.TrimSuffix(tagSignature, "\n"),
		"two ends":                             tagOpening + "\nmessage\n" + tagSignature + "-----END SIGNED MESSAGE-----\n",
	} {
		if _, err := splitTag([]byte(body)); codeOf(err) != codeTagMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzSplitTag: what is accepted falls into parts that make the same bytes again,
// with one beginning of a signature at most; what is not is refused with a reason.
func FuzzSplitTag(f *testing.F) {
	for _, seed := range []string{
		tagOpening + "\nmessage\n", tagOpening + "\nmessage\n" + tagSignature, tagOpening + "\n" + tagSignature,
		tagOpening + "\n" + tagSignature + tagSignature, tagOpening + "\nmessage" + tagSignature, tagOpening,
		strings.Replace(tagOpening, "commit", "tag", 1) + "\n" + strings.ReplaceAll(tagSignature, "SIGNED MESSAGE", "PGP SIGNATURE"),
		tagOpening + "gpgsig x\n\nmessage\n", "", "\n\n", "object \n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := splitTag(body)
		if err != nil {
			var no *Refusal
			if !errors.As(err, &no) || no.Code != codeTagMalformed || no.Hint == "" {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if !bytes.Equal(slices.Concat(got.payload, got.armored), body) {
			t.Fatalf("the parts of\n%q\nmake\n%q%q", body, got.payload, got.armored)
		}
		head := fmt.Sprintf("object %s\ntype %s\ntag %s\ntagger ", got.target, got.kind, got.name)
		if !bytes.HasPrefix(got.payload, []byte(head)) || !got.target.valid() {
			t.Fatalf("read %q of\n%q", head, body)
		}
		if begins := bytes.Count(append([]byte("\n"), body...), []byte("\n-----BEGIN ")); begins > 1 || begins == 1 && got.armored == nil {
			t.Fatalf("%d beginnings of a signature, and %q was taken, in\n%q", begins, got.armored, body)
		}
	})
}
