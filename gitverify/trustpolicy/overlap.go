package trustpolicy

import (
	"regexp/syntax"
	"slices"
)

// overlaps finds identities of one issuer that name the same signer. Without this
// it shows only when that signer signs: an exact subject outweighs a pattern, and
// between two patterns nobody is found (id/ambiguous).
func (l *linter) overlaps(p *Policy) {
	programs := make([]*program, len(p.Identities))
	for i := range p.Identities {
		programs[i] = compileProgram(p.Identities[i].SubjectPattern)
	}
	budget := maxStates
	for i := range p.Identities {
		id := &p.Identities[i]
		if id.pattern == nil {
			continue
		}
		for j := range p.Identities {
			switch other := &p.Identities[j]; {
			case i == j || other.Issuer != id.Issuer:
			case other.pattern == nil:
				if id.names(other.Subject) {
					l.warn(other.line, "overlap", "identity %q: the pattern of %q matches its subject too; whoever signs so is %[1]q, with none of the roles of %[2]q", other.Name, id.Name)
				}
			case i < j:
				if both, ok := (product{programs[i], programs[j]}).shortest(&budget); ok && id.names(both) && other.names(both) {
					l.warn(other.line, "overlap", "identity %q: its pattern and that of %q both match %s, and who signs so is neither", other.Name, id.Name, quote(both))
				}
			}
		}
	}
}

// maxStates bounds the search for subjects that two patterns share, over all
// pairs of one policy; what is not found within it is not warned about.
const maxStates = 1 << 20

// program is a compiled pattern.
type program struct {
	*syntax.Prog
	known map[int][]int
}

// compileProgram gives nil for what is no pattern.
func compileProgram(pattern string) *program {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || pattern == "" {
		return nil
	}
	compiled, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil
	}
	return &program{compiled, map[int][]int{}}
}

// product walks two programs side by side over the same text.
type product struct{ a, b *program }

// place is where both programs are, before the next letter.
type place struct{ a, b int }

// step is how a place was reached: by a letter from another step, none at first.
type step struct {
	place
	from   int
	letter rune
}

// shortest finds a shortest text that brings both programs to their ends. It
// takes the anchors inside a pattern for always true, so that the text has to be
// matched again: then a warning is never wrong.
func (p product) shortest(budget *int) (string, bool) {
	if *budget <= 0 {
		return "", false
	}
	seen := map[place]bool{}
	var queue []step
	reach := func(from int, letter rune, a, b int) {
		for _, x := range p.a.ahead(a) {
			for _, y := range p.b.ahead(b) {
				*budget--
				empty := from < 0 && p.a.Inst[x].Op == syntax.InstMatch && p.b.Inst[y].Op == syntax.InstMatch // no subject
				if at := (place{x, y}); !empty && !seen[at] && *budget > 0 {
					seen[at] = true
					queue = append(queue, step{at, from, letter})
				}
			}
		}
	}
	reach(-1, 0, p.a.Start, p.b.Start)
	for i := 0; i < len(queue) && *budget > 0; i++ {
		x, y := &p.a.Inst[queue[i].a], &p.b.Inst[queue[i].b]
		if x.Op == syntax.InstMatch && y.Op == syntax.InstMatch {
			return text(queue, i), true
		}
		if letter, ok := shared(x, y); ok {
			reach(i, letter, int(x.Out), int(y.Out))
		}
	}
	return "", false
}

// text reads a way backwards.
func text(way []step, end int) string {
	var letters []rune
	for i := end; way[i].from >= 0; i = way[i].from {
		letters = append(letters, way[i].letter)
	}
	slices.Reverse(letters)
	return string(letters)
}

// ahead are the instructions that wait for a letter, or for nothing more, and
// that can be reached without one.
func (p *program) ahead(start int) []int {
	if found, ok := p.known[start]; ok {
		return found
	}
	found := []int{}
	seen := map[int]bool{}
	for todo := []int{start}; len(todo) > 0; {
		at := todo[len(todo)-1]
		if todo = todo[:len(todo)-1]; seen[at] {
			continue
		}
		seen[at] = true
		switch inst := &p.Inst[at]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			todo = append(todo, int(inst.Out), int(inst.Arg))
		case syntax.InstCapture, syntax.InstEmptyWidth, syntax.InstNop:
			todo = append(todo, int(inst.Out))
		case syntax.InstFail:
		default:
			found = append(found, at)
		}
	}
	p.known[start] = found
	return found
}

// shared finds a letter that both instructions take: a common one rather than the
// first of a class, which may be none that a subject can have.
func shared(x, y *syntax.Inst) (rune, bool) {
	letters := []rune{'a', 'x', '0', 'A', '-', '.', '/'}
	for _, inst := range []*syntax.Inst{x, y} {
		letters = append(letters, inst.Rune...) // the ends of classes, and letters by themselves
	}
	for _, letter := range letters {
		if takes(x, letter) && takes(y, letter) && plain(string(letter)) {
			return letter, true
		}
	}
	return 0, false
}

func takes(inst *syntax.Inst, letter rune) bool {
	switch inst.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return inst.MatchRune(letter)
	case syntax.InstAlt, syntax.InstAltMatch, syntax.InstCapture, syntax.InstEmptyWidth, syntax.InstMatch, syntax.InstFail, syntax.InstNop:
	}
	return false
}
