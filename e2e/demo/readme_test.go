package main

import (
	"os"
	"strings"
	"testing"
)

// TestTheReadmeShowsWhatTheDemonstrationSays compares the session at the top of
// the README, line by line and in order, with the golden transcript, which
// make test-demo compares with a real run. What varies may be anything.
func TestTheReadmeShowsWhatTheDemonstrationSays(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, session, found := strings.Cut(string(readme), "<!-- demo: begin -->")
	session, _, closed := strings.Cut(session, "<!-- demo: end -->")
	if !found || !closed {
		t.Fatal("the README has no session between its demo marks")
	}
	transcript, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	rest := strings.Split(string(transcript), "\n")
	shown := 0
	for line := range strings.SplitSeq(normalise(session), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line == "```" || line == "…" {
			continue
		}
		shown++
		for len(rest) > 0 && strings.TrimSpace(rest[0]) != line {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			t.Fatalf("the transcript does not say this, or not here: %q", line)
		}
		rest = rest[1:]
	}
	if shown < 20 {
		t.Errorf("the README shows %d lines of the demonstration", shown)
	}
}
