package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// rows of the attack table that must be subtests, by the folder that defends.
var rows = map[string][]string{
	"gitverify":         {"A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A12", "B01", "B02", "B10", "B11", "B16", "C01", "C02", "C04"},
	"render":            {"D01", "D03", "D08", "D09", "D11"},
	"reconciler/source": {"E01", "E02", "E03", "E04", "E06", "E13"},
}

// rowName is how a subtest names its row: at the start, as a word.
var rowName = regexp.MustCompile(`^([A-E][0-9]{2})\b`)

// rowComment is how a whole test names its row: beside its declaration.
var rowComment = regexp.MustCompile(`(?m)^func Test\w+\(.*\{ // row ([A-E][0-9]{2})\b`)

// rowsIn collects the rows that string literals of a folder's tests begin
// with, and those that stand beside the declaration of a test.
func rowsIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, file := range tracked(t, folder+"/*_test.go") {
		src := read(t, file)
		for _, m := range rowComment.FindAllSubmatch(src, -1) {
			found[string(m[1])] = true
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("parsing: %v", err)
			continue
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(literal.Value); err == nil {
				if m := rowName.FindStringSubmatch(strings.TrimPrefix(text, "row ")); m != nil {
					found[m[1]] = true
				}
			}
			return true
		})
	}
	return found
}

func TestEveryPromisedRowOfTheAttackTableIsATest(t *testing.T) {
	t.Parallel()
	for folder, promised := range rows {
		found := rowsIn(t, folder)
		for _, row := range promised {
			if !found[row] {
				t.Errorf("no test under %s/ is named for row %s", folder, row)
			}
		}
	}
}
