package audit_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/audit"
)

func TestEveryCodeOfAnAuditIsInTheRunbook(t *testing.T) {
	t.Parallel()
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("codes.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := audit.Codes()
	for _, m := range regexp.MustCompile(`Code\w+ += "([a-z/-]+)"`).FindAllStringSubmatch(string(source), -1) {
		if !slices.Contains(codes, m[1]) {
			t.Errorf("%s is not listed", m[1])
		}
	}
	for _, code := range codes {
		if !strings.Contains(string(runbook), "| `"+code+"` |") {
			t.Errorf("docs/runbook.md has no row for `%s`", code)
		}
	}
}

func TestEveryFieldOfTheReportIsInItsManual(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/auditing.md")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile("[A-Za-z]+").FindAllString(string(manual), -1)
	for _, v := range []any{audit.Report{}, audit.Asked{}, audit.Check{}, audit.Finding{}, audit.Record{}, audit.Claimed{}, audit.Claim{}, audit.ClaimedDrift{}, audit.OpenTime{}} {
		for field := range reflect.TypeOf(v).Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name != "" && name != "-" && !slices.Contains(words, name) {
				t.Errorf("docs/auditing.md does not describe %q of %T", name, v)
			}
		}
	}
}
