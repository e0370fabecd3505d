package trustpolicy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

func TestThePageShowsAPolicyThatIsAccepted(t *testing.T) {
	t.Parallel()
	page := read(t, "../../docs/trust-policy.md")
	_, rest, _ := strings.Cut(page, "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page has no example")
	}
	decode(t, example)
	if err := validator(t)(example); err != nil {
		t.Error(err)
	}
}

func TestThePageHasEveryFieldSetAndWarning(t *testing.T) {
	t.Parallel()
	page := read(t, "../../docs/trust-policy.md")
	words := trustpolicy.Sets()
	for _, found := range regexp.MustCompile(`Code is stable: ([^.]*)\.`).FindAllStringSubmatch(strings.ReplaceAll(read(t, "lint.go"), "\n\t// ", " "), -1) {
		words = append(words, strings.Split(found[1], ", ")...)
	}
	for _, found := range regexp.MustCompile(`"([a-zA-Z]+)": +(?:r\.|func)`).FindAllStringSubmatch(read(t, "decode.go"), -1) {
		words = append(words, found[1])
	}
	if len(words) < 55 {
		t.Fatalf("only %q were found", words)
	}
	for _, word := range words {
		if !regexp.MustCompile("[`.]" + word + "[`:]|" + word + ":").MatchString(page) {
			t.Errorf("the page says nothing of %s", word)
		}
	}
}

func TestTheFactorysOwnPolicyIsAGoodExample(t *testing.T) {
	t.Parallel()
	p := decode(t, read(t, "../../"+trustpolicy.DefaultPath))
	got := p.Lint(trustpolicy.Surroundings{Path: trustpolicy.DefaultPath, Now: moment(t, "2026-06-01T00:00:00Z"), Files: []string{trustpolicy.DefaultPath}})
	if len(got) != 0 {
		t.Errorf("lint has to say of it: %v", got)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
