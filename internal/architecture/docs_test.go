package architecture

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/report"
)

// headings are the second-level headings of the runbook, one for each reason.
func headings(t *testing.T) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(string(read(t, "docs/runbook.md"))) {
		if heading, ok := strings.CutPrefix(line, "### "); ok {
			found = append(found, strings.Trim(strings.TrimSpace(heading), "`"))
		}
	}
	return found
}

func TestEveryReasonHasItsHeadingInTheRunbook(t *testing.T) {
	t.Parallel()
	found := headings(t)
	for _, row := range report.Reasons() {
		if !slices.Contains(found, row.Reason) {
			t.Errorf("docs/runbook.md has no heading %q (%s)", "### "+row.Reason, row.Hint)
		}
	}
}

func TestEveryCodeIsNamedInTheRunbook(t *testing.T) {
	t.Parallel()
	text := string(read(t, "docs/runbook.md"))
	for _, row := range report.Reasons() {
		if row.Code != "" && !strings.Contains(text, "`"+row.Code+"`") {
			t.Errorf("docs/runbook.md does not name the code `%s` of %s", row.Code, row.Reason)
		}
	}
}

func TestTheRunbookHasNoHeadingWithoutItsReason(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, row := range report.Reasons() {
		known[row.Reason] = true
	}
	for i, heading := range headings(t) {
		if !known[heading] {
			t.Errorf("docs/runbook.md explains %q, which nothing says", heading)
		}
		if i > 0 && headings(t)[i-1] >= heading {
			t.Errorf("docs/runbook.md: %q is out of order", heading)
		}
	}
}

func TestEveryReasonHasAHintAndAClass(t *testing.T) {
	t.Parallel()
	for _, row := range report.Reasons() {
		if row.Hint == "" {
			t.Errorf("%s %s has no hint", row.Reason, row.Code)
		}
		if row.Class != report.No && row.Class != report.CouldNotTell {
			t.Errorf("%s %s has the class %q", row.Reason, row.Code, row.Class)
		}
	}
}

// testName is how the threat model names the test that proves a defence.
var testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")

func TestTheThreatModelNamesOnlyTestsThatExist(t *testing.T) {
	t.Parallel()
	exists := map[string]bool{}
	for _, file := range tracked(t, "*_test.go") {
		for _, m := range testFunction.FindAllSubmatch(read(t, file), -1) {
			exists[string(m[1])] = true
		}
	}
	for line := range strings.Lines(string(read(t, "docs/threat-model.md"))) {
		named := testName.FindAllStringSubmatch(line, -1)
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| attacker") && !strings.HasPrefix(line, "| row |") && len(named) == 0 {
			t.Errorf("a row of the threat model names no test: %s", line)
		}
		for _, m := range named {
			if !exists[m[1]] {
				t.Errorf("the threat model names %s, which does not exist", m[1])
			}
		}
	}
}

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9]+)\(`)
