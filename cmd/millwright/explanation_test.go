package main

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (go test ./cmd/millwright -update rewrites it):\n%s", path, diff)
	}
}

func id(c string) string { return strings.Repeat(c, 40) }

// hostile is what a stranger would like to have in somebody's terminal or in a
// comment that the factory's own robot writes.
const hostile = "overlays/x`|</code><img src=x>\n## [yes](http://evil.test) @everyone \x1b[2J\u202e&#64;\\"

func hostileExplanation() explanation {
	at := time.Date(2026, 5, 1, 12, 0, 1, 0, time.UTC)
	ruling := explainedRuling{
		Rule: "production", Role: "security", Threshold: 2, Paths: []string{hostile, "b", "c", "d", "e", "f"}, PathCount: 40,
		Vouchers: []string{"alice"}, Missing: 1, Candidates: []string{"bob", "@carol", hostile},
	}
	return explanation{
		Answer: answerNo, Ref: "refs/heads/main", Anchor: id("a"), Commit: id("d"), Accepted: id("b"),
		Steps: []explainedStep{{
			Commit: id("b"), PolicyVersion: 3,
			Commits: []explainedCommit{
				{Commit: id("1"), Kind: "content", Subject: hostile, SignedAt: &at, LogIndex: 7, Warnings: []string{hostile}},
				{Commit: id("b"), Kind: "mechanical", Forge: "forge-web", LogIndex: -1},
			},
			Rulings: []explainedRuling{{Rule: "everything", Role: "maintainer", Threshold: 1, Paths: []string{"a"}, PathCount: 1, Vouchers: []string{"alice"}}},
		}},
		Pending: &explainedStep{
			Commit: id("d"), PolicyVersion: 3,
			Commits: []explainedCommit{{Commit: id("d"), Kind: "content", Name: "alice", Person: "alice", Subject: "alice@factory.test", SignedAt: &at, LogIndex: 8}},
			Rulings: []explainedRuling{ruling},
		},
		Refusal: &explainedNo{
			Reason: "ApprovalMissing", Code: "rule/threshold", Commit: id("d"), Path: hostile, Detail: "found " + hostile, Hint: "ask for it",
			Needs: []explainedRuling{ruling, {Rule: "lost", Role: "gone", Missing: 2}},
		},
		Revoked: []explainedRevoked{{Commit: id("b"), Why: hostile}},
	}
}

func TestAnExplanationOfHostileContentIsOnlyText(t *testing.T) {
	t.Parallel()
	e := hostileExplanation()
	golden(t, "verify/hostile.txt", e.text())
	golden(t, "verify/hostile.md", e.markdown())
	if strings.ContainsAny(e.text(), "\x1b\u202e\r") {
		t.Error("the text has control characters")
	}
	for line := range strings.Lines(e.text()) {
		if len(line) > 3000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	for _, harm := range []string{"<img", "@everyone", "@carol", "](http", "\n## ", "\x1b", "\u202e", "`|", "overlays/x`"} {
		if strings.Contains(e.markdown(), harm) {
			t.Errorf("the comment contains %q", harm)
		}
	}
	for line := range strings.Lines(e.markdown()) {
		if cells := strings.Count(line, "|"); cells != 0 && cells != 7 {
			t.Errorf("a row with %d bars: %s", cells, line)
		}
	}
}

func TestALongRangeMakesAShortComment(t *testing.T) {
	t.Parallel()
	e := hostileExplanation()
	for range 10 {
		e.Steps = append(e.Steps, e.Steps...)
	}
	if n := len(e.markdown()); n > 60_000 {
		t.Errorf("the comment has %d bytes", n)
	}
	if !strings.Contains(e.markdown(), " of 2049 commits:") {
		t.Error("it does not say that commits are left out")
	}
}

func TestEveryFieldOfTheJSONIsInItsManual(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile("[A-Za-z]+").FindAllString(string(manual), -1)
	for _, v := range []any{explanation{}, explainedStep{}, explainedCommit{}, explainedRuling{}, explainedNo{}, explainedTag{}, explainedRevoked{}, afterRendering{}} {
		for field := range reflect.TypeOf(v).Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !slices.Contains(words, name) {
				t.Errorf("docs/verify.md does not describe %q of %T", name, v)
			}
		}
	}
}
