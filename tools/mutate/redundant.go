package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// redundant lists the mutants that may survive, by their names, with why nothing
// observable changes when the condition is gone.
type redundant map[string]string

// readRedundant reads a file of names, each with its reason in the indented lines
// below it. Empty lines, and lines that begin with #, say nothing.
func readRedundant(file string) (redundant, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	known, name, n := redundant{}, "", 0
	for line := range strings.Lines(string(text)) {
		n++
		said := strings.TrimSpace(line)
		switch _, twice := known[said]; {
		case said == "" || strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t':
			if name == "" {
				return nil, fmt.Errorf("%s:%d: a reason for nothing", file, n)
			}
			known[name] = strings.TrimSpace(known[name] + " " + said)
		case name != "" && known[name] == "":
			return nil, fmt.Errorf("%s:%d: no reason stands below %s", file, n-1, name)
		case twice:
			return nil, fmt.Errorf("%s:%d: %s is there twice", file, n, said)
		default:
			name, known[said] = said, ""
		}
	}
	if name != "" && known[name] == "" {
		return nil, fmt.Errorf("%s: no reason stands below %s", file, name)
	}
	return known, nil
}

// differ tells which survivors are not known, and which known ones were missed by
// a test or are no longer there. Of what was not looked at it says nothing.
func (r redundant) differ(p *mutated, survivors []mutant) []string {
	var wrong []string
	alive := map[string]bool{}
	for _, m := range survivors {
		alive[m.name] = true
		if _, ok := r[m.name]; !ok {
			wrong = append(wrong, "survives and is not listed: "+m.name)
		}
	}
	for _, m := range p.mutants {
		if _, ok := r[m.name]; ok && !alive[m.name] {
			wrong = append(wrong, "is listed, but a test misses it: "+m.name)
		}
	}
	for name := range r {
		if p.looked(name) && !p.names[name] {
			wrong = append(wrong, "is listed, but there is no such condition: "+name)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// looked tells whether the mutants of a name's file were looked for.
func (p *mutated) looked(name string) bool {
	file := mutant{name: name}.file()
	return path.Dir(file) == filepath.ToSlash(filepath.Clean(p.dir)) && (len(p.only) == 0 || slices.Contains(p.only, path.Base(file)))
}
