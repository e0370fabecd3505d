package visible

import "testing"

func TestWhatHidesSomethingIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text                   string
		unprintable, deceptive string
	}{
		"plain":                  {"a: b # c\n\tü 漢\r\n", "", ""},
		"nothing":                {"", "", ""},
		"lone carriage return":   {"a\n# c\rb: 1", "line 2: the invisible character U+000D", "line 2: the invisible character U+000D"},
		"return before a return": {"\r\r\n", "line 1: the invisible character U+000D", "line 1: the invisible character U+000D"},
		"return at the end":      {"a\r", "line 1: the invisible character U+000D", "line 1: the invisible character U+000D"},
		"next line":              {"\u0085", "line 1: the invisible character U+0085", "line 1: the invisible character U+0085"},
		"line separator":         {"\u2028", "line 1: the invisible character U+2028", "line 1: the invisible character U+2028"},
		"paragraph separator":    {"\u2029", "line 1: the invisible character U+2029", "line 1: the invisible character U+2029"},
		"right to left override": {"\u202e", "line 1: the invisible character U+202E", "line 1: the invisible character U+202E"},
		"isolate":                {"\u2066", "line 1: the invisible character U+2066", "line 1: the invisible character U+2066"},
		"Arabic letter mark":     {"\u061c", "line 1: the invisible character U+061C", "line 1: the invisible character U+061C"},
		"null":                   {"\x00", "line 1: the invisible character U+0000", "line 1: the invisible character U+0000"},
		"escape":                 {"\x1b[2J", "line 1: the invisible character U+001B", "line 1: the invisible character U+001B"},
		"byte order mark":        {"\ufeffa", "line 1: the invisible character U+FEFF", ""},
		"no-break space":         {"a\u00a0b", "line 1: the invisible character U+00A0", ""},
		"zero-width space":       {"a\u200bb", "line 1: the invisible character U+200B", ""},
		"not UTF-8":              {"\xff", "not UTF-8 text", "not UTF-8 text"},
	} {
		check(t, name+", unprintable", Unprintable([]byte(c.text)), c.unprintable)
		check(t, name+", deceptive", Deceptive([]byte(c.text)), c.deceptive)
	}
}

func check(t *testing.T, name string, got *Hidden, want string) {
	t.Helper()
	switch {
	case want == "" && got != nil:
		t.Errorf("%s: got %v", name, got)
	case want != "" && (got == nil || got.Error() != want):
		t.Errorf("%s: got %v, want %s", name, got, want)
	}
}
