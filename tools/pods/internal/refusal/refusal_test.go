package refusal

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEachAnswerHasItsExitCode(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		err  error
		want int
	}{
		"yes":             {nil, ExitYes},
		"help was asked":  {flag.ErrHelp, ExitYes},
		"no":              {fmt.Errorf("checking: %w", New("a/b", "do it", "seen %q", "x")), ExitNo},
		"could not tell":  {errors.New("network is down"), ExitUnknown},
		"makes no sense":  {Usage("flag %q", "x"), ExitUsage},
		"unknown flag":    {Parse(flag.NewFlagSet("x", flag.ContinueOnError), []string{"-no-such"}, io.Discard), ExitUsage},
		"stray argument":  {Parse(flag.NewFlagSet("x", flag.ContinueOnError), []string{"stray"}, io.Discard), ExitUsage},
		"nothing to read": {Parse(flag.NewFlagSet("x", flag.ContinueOnError), nil, io.Discard), ExitYes},
	}
	for name, c := range cases {
		if got := Exit(io.Discard, "p", c.err); got != c.want {
			t.Errorf("%s: exit %d, want %d", name, got, c.want)
		}
	}
}

func TestWhatIsQuotedIsBounded(t *testing.T) {
	t.Parallel()
	msg := New("a/b", "hint", "%s", strings.Repeat("ä", 10000)).Error()
	if len(msg) > 600 || !utf8.ValidString(msg) {
		t.Errorf("%d bytes, valid: %v", len(msg), utf8.ValidString(msg))
	}
}
