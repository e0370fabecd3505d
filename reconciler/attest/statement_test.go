package attest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/reconciler/attest"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	commitA = "1111111111111111111111111111111111111111"
	commitB = "2222222222222222222222222222222222222222"
)

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// predicate is a complete predicate of the first record.
func predicate(t *testing.T) attest.Predicate {
	t.Helper()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	verified, err := attest.NewRange([]attest.Commit{{
		Commit: commitA, Kind: "content", SignedAt: at.Add(-time.Minute), LogIndex: 7,
		Signer: attest.Signed{Name: "ada", Issuer: "https://issuer.example.org", Subject: "ada@example.org"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return attest.Predicate{
		Reconciler: attest.Reconciler{ID: "spiffe://example.org/millwright", Version: "v0.1.0"},
		Factory:    attest.Factory{Namespace: "millwright-system", Name: "factory"},
		Target:     attest.Target{Environment: "dev", ClusterUID: "0f8b6a3e-2a52-4c57-9a55-54d3c1a0f1d2", KubernetesVersion: "v1.36.3"},
		Sequence:   1, Trigger: attest.TriggerCommit, StartedOn: at, FinishedOn: at.Add(3 * time.Second), Result: attest.ResultApplied,
		Source: attest.Source{
			Repository: "https://git.example.org/factory.git", Ref: "refs/heads/main", Commit: commitA, Anchor: commitB,
			PolicyDigest: digest("a"), PolicyVersion: 1, Range: verified,
			Rulings: attest.NewRulings([]attest.Ruling{{Commit: commitA, Rule: "everything", Role: "maintainer", Threshold: 1, Vouchers: []string{"ada"}}}),
		},
		Rendered:   attest.Rendered{Digest: digest("b"), Objects: 161},
		PolicyTest: attest.PolicyTest{Policies: []attest.TestedPolicy{{Name: "require-digests", Digest: digest("c"), Matched: 12}}},
		Changes:    attest.Changes{Created: 160, Corrected: 1, Objects: digest("d"), Root: digest("6")},
		Drift: attest.NewDrift([]attest.DriftEntry{{
			Object: "v1/ConfigMap/tekton-pipelines/feature-flags", Paths: []string{".data.coschedule"},
			Managers: []string{"kubectl-edit"}, Action: "corrected",
		}}),
		State:  digest("7"),
		Health: attest.Health{Status: "Unknown", Reason: "no node runs the workloads"},
	}
}

func subjects() attest.Subjects {
	return attest.Subjects{Artifact: digest("e"), Manifests: digest("f"), Inventory: digest("0")}
}

func statement(t *testing.T) attest.Statement {
	t.Helper()
	s, err := attest.NewStatement(subjects(), predicate(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatementEncodesTheSameBytesEveryTimeAndDecodesToItself(t *testing.T) {
	t.Parallel()
	s := statement(t)
	first, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := statement(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(again)); diff != "" {
		t.Errorf("two encodings differ:\n%s", diff)
	}
	decoded, err := attest.DecodeStatement(first)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, decoded); diff != "" {
		t.Errorf("decoding changed the statement:\n%s", diff)
	}
}

func TestDecodeRefusesEverythingThatTwoReadersCouldUnderstandDifferently(t *testing.T) { // row B32
	t.Parallel()
	good, err := statement(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, with string) []byte {
		out := strings.Replace(string(good), old, with, 1)
		if out == string(good) {
			t.Fatalf("%q is not in the statement", old)
		}
		return []byte(out)
	}
	for name, c := range map[string]struct {
		data []byte
		code string
	}{
		"an unknown field":              {replace(`"trigger":`, `"extra":1,"trigger":`), attest.CodeStatementInvalid},
		"a field twice":                 {replace(`"trigger":`, `"trigger":"drift","trigger":`), attest.CodeStatementInvalid},
		"a key in another case":         {replace(`"trigger":`, `"Trigger":`), attest.CodeStatementInvalid},
		"white space":                   {replace(`"trigger":`, `"trigger": `), attest.CodeStatementInvalid},
		"data after the end":            {append(append([]byte{}, good...), "{}"...), attest.CodeStatementInvalid},
		"another predicate type":        {replace(`applied-revision/v1`, `applied-revision/v2`), attest.CodeBundlePredicate},
		"a subject of another commit":   {replace(`"gitCommit":"1`, `"gitCommit":"3`), attest.CodeStatementInvalid},
		"a subject of another artifact": {replace(`"sha256":"e`, `"sha256":"d`), attest.CodeStatementInvalid},
		"a local time":                  {replace(`12:00:00Z`, `12:00:00+00:00`), attest.CodeStatementInvalid},
		"a first record with sequence 2": {
			replace(`"sequence":1`, `"sequence":2`), attest.CodeStatementInvalid,
		},
		"more than the limit": {[]byte(strings.Repeat(" ", attest.MaxStatement+1)), attest.CodeStatementInvalid},
		"nothing":             {nil, attest.CodeStatementInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := attest.DecodeStatement(c.data)
			var no *attest.Refusal
			if !errors.As(err, &no) {
				t.Fatalf("want a refusal, got %v", err)
			}
			if no.Code != c.code {
				t.Errorf("code is %s (%s), want %s", no.Code, no.Detail, c.code)
			}
		})
	}
	if _, err := attest.DecodeStatement(good); err != nil {
		t.Errorf("the unchanged twin is refused: %v", err)
	}
}

func TestAStatementThatContradictsItselfIsNotMade(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*attest.Predicate){
		"no sequence":            func(p *attest.Predicate) { p.Sequence = 0 },
		"a second without first": func(p *attest.Predicate) { p.Sequence = 2 },
		"a first with previous":  func(p *attest.Predicate) { p.Previous = &attest.Previous{GitCommit: commitA, Attestation: digest("a")} },
		"a predecessor too early": func(p *attest.Predicate) {
			p.Sequence = 3
			p.Previous = &attest.Previous{Sequence: 1, GitCommit: commitA, Attestation: digest("a")}
		},
		"a short commit":          func(p *attest.Predicate) { p.Source.Commit = "1111111" },
		"a range of another tip":  func(p *attest.Predicate) { p.Source.Commit = commitB },
		"an end before the start": func(p *attest.Predicate) { p.FinishedOn = p.StartedOn.Add(-time.Second) },
		"an unknown trigger":      func(p *attest.Predicate) { p.Trigger = "whim" },
		"an unknown result":       func(p *attest.Predicate) { p.Result = "Fine" },
		"no cluster":              func(p *attest.Predicate) { p.Target.ClusterUID = "" },
		"a negative count":        func(p *attest.Predicate) { p.Changes.Pruned = -1 },
		"a policy digest of none": func(p *attest.Predicate) { p.Source.PolicyDigest = "" },
	} {
		p := predicate(t)
		change(&p)
		if _, err := attest.NewStatement(subjects(), p); err == nil {
			t.Errorf("%s: made", name)
		}
	}
	p := predicate(t)
	p.Sequence, p.Previous = 2, &attest.Previous{Sequence: 1, GitCommit: commitA, Attestation: digest("a")}
	if _, err := attest.NewStatement(subjects(), p); err != nil {
		t.Errorf("a second with its first: %v", err)
	}
}

func TestHostileTextCannotPreventARecord(t *testing.T) {
	t.Parallel()
	p := predicate(t)
	long := strings.Repeat("x", 10_000)
	entry := attest.DriftEntry{Object: "v1/ConfigMap/a/b\x1b[2J", Action: "corrected"}
	for range 50 {
		entry.Paths = append(entry.Paths, long)
		entry.Managers = append(entry.Managers, "man\nager\xff"+long)
	}
	var entries []attest.DriftEntry
	for range 1000 {
		entries = append(entries, entry)
	}
	p.Drift = attest.NewDrift(entries)
	p.Health.Reason = "\x00" + long
	s, err := attest.NewStatement(subjects(), p)
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(data), "\x1b\x00\n") {
		t.Error("control characters are in the statement")
	}
	if got := s.Predicate.Drift; got.Total != 1000 || len(got.Entries) != attest.MaxDrift {
		t.Errorf("drift has total %d and %d entries", got.Total, len(got.Entries))
	}
}

func TestRangeKeepsTheNewestCommitsAndTheDigestOfAll(t *testing.T) {
	t.Parallel()
	var all []attest.Commit
	for i := range 200 {
		all = append(all, attest.Commit{Commit: strings.Repeat("0", 37) + string([]byte{'0' + byte(i/100), '0' + byte(i/10%10), '0' + byte(i%10)}), SignedAt: time.Unix(int64(i), 0)})
	}
	whole, err := attest.NewRange(all)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Total != 200 || len(whole.Commits) != attest.MaxRange || whole.Commits[attest.MaxRange-1].Commit != all[199].Commit {
		t.Errorf("range has total %d and %d commits", whole.Total, len(whole.Commits))
	}
	all[0].LogIndex = 9
	other, err := attest.NewRange(all)
	if err != nil {
		t.Fatal(err)
	}
	if other.Digest == whole.Digest {
		t.Error("the digest does not cover the commits that were cut")
	}
}

func TestListDigestDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	a := attest.ListEntry{APIVersion: "v1", Kind: "ConfigMap", Namespace: "n", Name: "a", Declared: digest("1")}
	b := attest.ListEntry{APIVersion: "v1", Kind: "ConfigMap", Namespace: "n", Name: "b", Declared: digest("2")}
	one, two, three := list(t, a, b), list(t, b, a), list(t, a)
	if one.Digest() != two.Digest() || one.Digest() == three.Digest() || one.Digest() != attest.Digest(one.Content()) {
		t.Errorf("digests %s, %s, %s", one.Digest(), two.Digest(), three.Digest())
	}
}

func list(t *testing.T, entries ...attest.ListEntry) attest.List {
	t.Helper()
	l, err := attest.NewList(entries)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The predicate's types cannot carry an object: no map, no interface, no raw
// bytes; and text that could name a value by itself is cut.
func TestStatementNeverContainsObjectValues(t *testing.T) {
	t.Parallel()
	noPlaceForValues(t, reflect.TypeFor[attest.Predicate](), "predicate")
	noPlaceForValues(t, reflect.TypeFor[attest.Enforcement](), "enforcement")
	const canary = "canary-7f3a"
	p := predicate(t)
	p.Drift = attest.NewDrift([]attest.DriftEntry{{
		Object: "v1/Secret/a/b", Action: "corrected", Managers: []string{"kubectl"},
		Paths: []string{`.metadata.finalizers[="` + canary + `"]`, `f:finalizers/v:"` + canary + `"`, `v:"` + canary + `"`},
	}})
	s, err := attest.NewStatement(subjects(), p)
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), canary) {
		t.Errorf("a set element's value is in the statement: %s", data)
	}
	if !strings.Contains(string(data), ".metadata.finalizers[=…") {
		t.Errorf("the path before the value is lost: %s", data)
	}
}

func noPlaceForValues(t *testing.T, typ reflect.Type, at string) {
	t.Helper()
	if typ == reflect.TypeFor[time.Time]() {
		return
	}
	switch typ.Kind() {
	case reflect.Pointer:
		noPlaceForValues(t, typ.Elem(), at)
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			t.Errorf("%s holds raw bytes", at)
		}
		noPlaceForValues(t, typ.Elem(), at+"[]")
	case reflect.Struct:
		for field := range typ.Fields() {
			noPlaceForValues(t, field.Type, at+"."+field.Name)
		}
	case reflect.String, reflect.Int, reflect.Int64, reflect.Bool:
	default:
		t.Errorf("%s is a %s: it could hold anything", at, typ.Kind())
	}
}

func TestDocumentedExamplesAreStatementsOfThisVersion(t *testing.T) {
	t.Parallel()
	const page = "../../docs/attestation.md"
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for mark, s := range map[string]attest.Statement{"example": statement(t), "example of enforcement": enforced(t, enforcement())} {
		canonical, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attest.DecodeStatement(canonical); err != nil {
			t.Error(err)
		}
		var want bytes.Buffer
		if err := json.Indent(&want, canonical, "", "  "); err != nil {
			t.Fatal(err)
		}
		before, rest, ok1 := strings.Cut(text, "<!-- "+mark+" -->\n```json\n")
		example, after, ok2 := strings.Cut(rest, "\n```\n<!-- end -->")
		if !ok1 || !ok2 {
			t.Fatalf("the marks of the %s are gone", mark)
		}
		if *update {
			text = before + "<!-- " + mark + " -->\n```json\n" + want.String() + "\n```\n<!-- end -->" + after
			continue
		}
		if diff := cmp.Diff(want.String(), example); diff != "" {
			t.Errorf("%s: run the test with -update:\n%s", mark, diff)
		}
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAForgesMergeIsOnRecordAsWhatItIs(t *testing.T) { // rule T6
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	signer := attest.Signed{Name: "ada", Issuer: "https://issuer.example.org", Subject: "ada@example.org"}
	for name, c := range map[string]struct {
		commit attest.Commit
		good   bool
	}{
		"a merge by a forge":           {attest.Commit{Commit: commitA, Kind: "mechanical", Forge: "forge-web", LogIndex: -1}, true},
		"a merge by a person":          {attest.Commit{Commit: commitA, Kind: "merge", Signer: signer, SignedAt: at}, true},
		"a mechanical one by a person": {attest.Commit{Commit: commitA, Kind: "mechanical", Signer: signer, SignedAt: at}, true},
		"content by a forge":           {attest.Commit{Commit: commitA, Kind: "content", Forge: "forge-web"}, false},
		"a forge that proves a time":   {attest.Commit{Commit: commitA, Kind: "mechanical", Forge: "forge-web", SignedAt: at}, false},
		"a forge and a person":         {attest.Commit{Commit: commitA, Kind: "mechanical", Forge: "forge-web", Signer: signer}, false},
		"nobody":                       {attest.Commit{Commit: commitA, Kind: "content"}, false},
		"a person without a time":      {attest.Commit{Commit: commitA, Kind: "content", Signer: signer}, false},
		"no kind":                      {attest.Commit{Commit: commitA, Signer: signer, SignedAt: at}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := predicate(t)
			var err error
			if p.Source.Range, err = attest.NewRange([]attest.Commit{c.commit}); err != nil {
				t.Fatal(err)
			}
			s, err := attest.NewStatement(subjects(), p)
			if (err == nil) != c.good {
				t.Fatalf("got %v, want a record: %t", err, c.good)
			}
			if !c.good {
				return
			}
			data, err := s.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if again, err := attest.DecodeStatement(data); err != nil || again.Predicate.Source.Range.Commits[0] != c.commit {
				t.Errorf("read back: %+v, %v", again.Predicate.Source.Range, err)
			}
		})
	}
}

func TestRulingsAreBoundedAndNameWhoStandsBehindThem(t *testing.T) { // rule T13
	t.Parallel()
	one := attest.Ruling{Commit: commitA, Rule: "everything", Role: "maintainer", Threshold: 2, Vouchers: []string{"ada", "bob"}}
	var many []attest.Ruling
	for range attest.MaxRulings + 5 {
		many = append(many, one)
	}
	crowd := one
	for len(crowd.Vouchers) < attest.MaxVouchers+5 {
		crowd.Vouchers = append(crowd.Vouchers, "eve\x1b[31m")
	}
	p := predicate(t)
	p.Source.Rulings = attest.NewRulings(append(many, crowd))
	s, err := attest.NewStatement(subjects(), p)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Predicate.Source.Rulings
	last := got.Entries[len(got.Entries)-1]
	if got.Total != attest.MaxRulings+6 || len(got.Entries) != attest.MaxRulings || len(last.Vouchers) != attest.MaxVouchers || strings.Contains(last.Vouchers[2], "\x1b") {
		t.Errorf("%d of %d rulings, %d vouchers", len(got.Entries), got.Total, len(last.Vouchers))
	}
	for name, change := range map[string]func(*attest.Ruling){
		"fewer persons than the rule asks for": func(r *attest.Ruling) { r.Vouchers = r.Vouchers[:1] },
		"a threshold that asks for nobody":     func(r *attest.Ruling) { r.Threshold = 0 },
		"no rule":                              func(r *attest.Ruling) { r.Rule = "" },
		"no commit":                            func(r *attest.Ruling) { r.Commit = "" },
	} {
		bad := one
		change(&bad)
		p.Source.Rulings = attest.NewRulings([]attest.Ruling{bad})
		if _, err := attest.NewStatement(subjects(), p); err == nil {
			t.Errorf("%s is on record", name)
		}
	}
}
