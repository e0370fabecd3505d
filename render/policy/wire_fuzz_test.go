package policy

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzDecodeVerdict: whatever the process prints, what is taken for a verdict is
// one of our version and survives the way back.
func FuzzDecodeVerdict(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"` + VerdictVersion + `","policies":[{"name":"p"}]}`))
	f.Add([]byte(`{"apiVersion":"` + VerdictVersion + `"}{}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := DecodeVerdict(bytes.NewReader(data))
		if err != nil {
			return
		}
		if v.APIVersion != VerdictVersion {
			t.Fatalf("version %q", v.APIVersion)
		}
		var b bytes.Buffer
		if err := Encode(&b, v); err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeVerdict(&b); err != nil {
			t.Errorf("our own verdict is refused: %v", err)
		}
	})
}

// FuzzPrintable: text of a process or a policy is one short line without
// control characters.
func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[2J\nok\u202e")
	f.Add(strings.Repeat("ä", MaxMessage))
	f.Fuzz(func(t *testing.T, s string) {
		out := Printable(s)
		if !utf8.ValidString(out) || len(out) > MaxMessage+utf8.UTFMax+len("…") {
			t.Errorf("%q becomes %q", s, out)
		}
		for _, r := range out {
			if unicode.IsControl(r) || r == '\u202e' {
				t.Errorf("%q becomes %q", s, out)
			}
		}
	})
}
