package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rows of the attack table that the folder which defends must test.
var rows = map[string][]string{
	"render":            {"D01", "D03", "D08", "D09", "D11"},
	"reconciler/source": {"C08", "C09", "C10", "C12", "C21", "C28", "E01", "E02", "E03", "E04", "E06", "E13"},
}

// trustRows are all rows about commits, signers and history, and all rules of
// the trust model: each must be a test somewhere.
var trustRows = map[string]string{
	"A01": "an unsigned tip",
	"A02": "an unsigned commit below a signed tip",
	"A03": "a commit edited after signing",
	"A04": "the signature of another commit",
	"A05": "two trees in one commit",
	"A06": "headers twice or in another order",
	"A07": "two signatures in one header's name",
	"A08": "a signature for each hash function",
	"A10": "bytes around or inside the signature's encoding",
	"A11": "PGP or SSH where X.509 is wanted",
	"A12": "no certificate in the signature",
	"A14": "a decoy certificate beside the signer's",
	"A15": "signed attributes missing or added",
	"A17": "a signature with content of its own",
	"A18": "weak or other algorithms, and the other value of s",
	"A20": "NUL, carriage returns, no end of the headers",
	"A21": "another encoding of the message",
	"A22": "a signed mergetag in an unsigned merge",
	"A23": "a signed tag on an unsigned commit",
	"A25": "a commit made to be large",
	"A26": "headers that git does not write",
	"A27": "a signature over the SHA-256 form",
	"A28": "half of a SHA-1 collision",
	"A29": "an object whose bytes are another's",

	"B01": "the right name by another issuer",
	"B02": "another name by the right issuer",
	"B03": "a name that contains a listed one",
	"B04": "a name that looks like a listed one",
	"B05": "a name of another kind",
	"B07": "a committer who is not the signer",
	"B08": "a forge that the policy does not list",
	"B09": "a certificate that expired since",
	"B10": "no proven time",
	"B11": "a signature outside its certificate's validity",
	"B13": "a timestamp that does not count, or none where one is wanted",
	"B14": "a committer date far from the proven time",
	"B15": "the log entry of another commit",
	"B16": "the log entry of anything else",
	"B18": "a broken inclusion proof",
	"B19": "a broken checkpoint",
	"B20": "a promise without a proof",
	"B21": "a log that vouches for its own key",
	"B23": "another instance of the log",
	"B24": "a certificate timestamp that does not count",
	"B25": "a certificate chain that does not hold",
	"B26": "an authority made at home",
	"B27": "a log that shows two faces",
	"B28": "a trusted root that is old, rolled back or forged",
	"B29": "an identity that was taken out or revoked",
	"B30": "a signature made to be expensive",
	"B32": "a statement that cannot be read",
	"B33": "a verifier that panics",
	"B34": "an issuer that looks like the listed one, or two that disagree",

	"C01": "an unrelated signed history",
	"C02": "a force-push to an ancestor",
	"C03": "an amended tip",
	"C04": "a signed merge of unsigned commits",
	"C05": "a merge with content of its own",
	"C06": "octopus, criss-cross, and merges that drop a side",
	"C08": "refs/replace",
	"C09": "a history that was cut off",
	"C10": "lies in commit-graph, alternates and grafts",
	"C12": "a branch that was renamed or made anew",
	"C13": "a policy that lets its own author in",
	"C14": "a policy change by too few, in a merge, or from an old branch",
	"C16": "a policy that is broken, removed, linked or huge",
	"C17": "one person who counts twice",
	"C18": "a base that production uses, changed under dev's rights",
	"C20": "a signed commit on top of another",
	"C21": "a commit of a fork",
	"C22": "a forge that shows nothing new",
	"C23": "a forge that shows different tips",
	"C25": "a frontier file that somebody edited",
	"C26": "a forged approval trailer",
	"C27": "the history or the approval of another repository",
	"C28": "refs that nobody follows",

	"T1":  "the anchor is trusted by its id alone",
	"T2":  "every commit is by somebody in force",
	"T3":  "a step with all that it merges is judged at once",
	"T4":  "every changed path has a rule",
	"T5":  "distinct persons vouch for what stands",
	"T6":  "a forge merges mechanically only",
	"T7":  "somebody meant it for this ref",
	"T8":  "the policy before a change judges it; versions rise",
	"T9":  "revocation goes by time and by content",
	"T10": "nothing goes back behind what was applied",
	"T11": "silence becomes an alarm",
	"T12": "effects need rights, not only paths",
	"T13": "answers say who, why and what would help",
	"T14": "a followed tag is signed and named",
}

var (
	// rowName is how a subtest names its row: at the start, as a word.
	rowName = regexp.MustCompile(`^(?:row )?([A-L][0-9]{2}|T[0-9]{1,2})\b`)
	// rowComment is how a whole test names its rows: beside its declaration.
	rowComment = regexp.MustCompile(`(?m)^func (?:Test|Fuzz)\w+\(.*\{ // (?:rows?|rules?|faults?) (.*)$`)
	rowWord    = regexp.MustCompile(`\b(?:[A-L][0-9]{2}|T[0-9]{1,2})\b`)
	// refusalCode is a code that a test of the verifier expects.
	refusalCode = regexp.MustCompile(`^(?:cert|ct|forge|hist|id|limits|log|obj|policy|rule|sig|tag|time)/[a-z0-9-]+$`)
)

// literals visits the string literals of a Go file.
func literals(t *testing.T, file string, src []byte, visit func(text string)) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
	if err != nil {
		t.Errorf("parsing: %v", err)
		return
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				visit(text)
			}
		}
		return true
	})
}

// rowsIn collects the rows that string literals of a folder's tests begin
// with, and those that stand beside the declaration of a test. The tests here
// list rows and prove none.
func rowsIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, file := range tracked(t, folder+"*_test.go") {
		if strings.HasPrefix(file, "internal/architecture/") {
			continue
		}
		src := read(t, file)
		for _, m := range rowComment.FindAllSubmatch(src, -1) {
			for _, row := range rowWord.FindAllString(string(m[1]), -1) {
				found[row] = true
			}
		}
		literals(t, file, src, func(text string) {
			if m := rowName.FindStringSubmatch(text); m != nil {
				found[m[1]] = true
			}
		})
	}
	return found
}

func TestEveryPromisedRowOfTheAttackTableIsATest(t *testing.T) {
	t.Parallel()
	for folder, promised := range rows {
		found := rowsIn(t, folder+"/")
		for _, row := range promised {
			if !found[row] {
				t.Errorf("no test under %s/ is named for row %s", folder, row)
			}
		}
	}
}

func TestEveryRowAboutTrustIsATest(t *testing.T) {
	t.Parallel()
	found := rowsIn(t, "")
	for _, row := range slices.Sorted(maps.Keys(trustRows)) {
		if !found[row] {
			t.Errorf("no test is named for %s: %s", row, trustRows[row])
		}
	}
}

func TestTheRowsThatWeAddedAreListedAndTested(t *testing.T) {
	t.Parallel()
	found := rowsIn(t, "")
	ours := regexp.MustCompile(`(?m)^\| ([A-C][4-9][0-9]) \|`)
	listed := map[string]bool{}
	for _, m := range ours.FindAllSubmatch(read(t, "docs/threat-model.md"), -1) {
		row := string(m[1])
		if listed[row] {
			t.Errorf("docs/threat-model.md lists %s twice", row)
		}
		if listed[row] = true; !found[row] {
			t.Errorf("docs/threat-model.md lists %s, for which no test is named", row)
		}
	}
	for row := range found {
		if strings.ContainsAny(row[:1], "ABC") && trustRows[row] == "" && !listed[row] {
			t.Errorf("a test is named for %s, which docs/threat-model.md does not list", row)
		}
	}
}

func TestEveryCodeThatATestExpectsIsInTheRunbook(t *testing.T) {
	t.Parallel()
	runbook := string(read(t, "docs/runbook.md"))
	seen := map[string]bool{}
	for _, file := range tracked(t, "gitverify/*_test.go") {
		literals(t, file, read(t, file), func(text string) {
			if !refusalCode.MatchString(text) || seen[text] {
				return
			}
			if seen[text] = true; !strings.Contains(runbook, "`"+text+"`") {
				t.Errorf("%s expects %s, which docs/runbook.md does not explain", file, text)
			}
		})
	}
	if len(seen) < 40 {
		t.Errorf("only %d codes were found: the pattern is out of date", len(seen))
	}
}
