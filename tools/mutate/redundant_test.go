package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEachRedundantConditionHasItsReason(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ text, want string }{
		"two":               {"# why\n\na/b.go f: !ok (never)\n\tone\n  and more\na/b.go f: !ok (never) #2\n\ttwo\n", ""},
		"nothing":           {"# why\n", ""},
		"without a reason":  {"a/b.go f: !ok (never)\na/b.go g: !ok (never)\n\tone\n", "1: no reason stands below a/b.go f"},
		"without one, last": {"a/b.go f: !ok (never)\n\n", "no reason stands below a/b.go f"},
		"a reason alone":    {"\tone\n", "1: a reason for nothing"},
		"twice":             {"a/b.go f: !ok (never)\n\tone\na/b.go f: !ok (never)\n\ttwo\n", "3: a/b.go f: !ok (never) is there twice"},
	} {
		known, err := readRedundant(write(t, t.TempDir(), "redundant.txt", row.text))
		switch {
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case name == "two" && (len(known) != 2 || known["a/b.go f: !ok (never)"] != "one and more"):
			t.Errorf("got %q", known)
		}
	}
}

func TestTheSurvivorsMustBeTheListedOnes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "a.go", `package a

type T struct{}

func (t *T) f(b []byte) error {
	if len(b) == 0 {
		return errNone
	}
	if len(b) == 0 || len(b) > 9 {
		return errNone
	}
	return nil
}
`)
	p, err := load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	in := filepath.ToSlash(dir) + "/"
	names := []string{
		in + "a.go T.f: len(b) == 0 (never)", in + "a.go T.f: len(b) == 0 (never) #2", in + "a.go T.f: len(b) > 9 (never)",
	}
	var found []string
	for _, m := range p.mutants {
		found = append(found, m.name)
	}
	if !slices.Equal(found, names) {
		t.Fatalf("the mutants are %q", found)
	}
	second := p.mutants[1:2]
	for name, row := range map[string]struct {
		known     []string
		survivors []mutant
		want      string
	}{
		"as listed":          {names[1:2], second, ""},
		"none":               {nil, nil, ""},
		"not listed":         {names[:1], p.mutants[:2], "survives and is not listed: " + names[1]},
		"found by a test":    {names[:2], second, "is listed, but a test misses it: " + names[0]},
		"gone":               {[]string{in + "a.go T.g: !ok (never)"}, nil, "no such condition: " + in + "a.go T.g"},
		"its file is gone":   {[]string{in + "b.go T.g: !ok (never)"}, nil, "no such condition: " + in + "b.go T.g"},
		"of another package": {[]string{in + "c/a.go T.g: !ok (never)"}, nil, ""},
	} {
		known := redundant{}
		for _, k := range row.known {
			known[k] = "why"
		}
		wrong := strings.Join(known.differ(p, row.survivors), "\n")
		if row.want == "" && wrong != "" || !strings.Contains(wrong, row.want) || strings.Contains(wrong, "\n") {
			t.Errorf("%s: got %q, want %q", name, wrong, row.want)
		}
	}
	// What was not looked at may be anything.
	p.only = []string{"a.go"}
	if wrong := (redundant{in + "b.go T.g: !ok (never)": "why"}).differ(p, nil); len(wrong) != 0 {
		t.Errorf("another file: %q", wrong)
	}
}
