package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one place where a refusal can be removed.
type mutant struct {
	id, line int
	// name says which one it is, wherever its line moves: file and function, the
	// text, what becomes of it, and a number where one function has it again.
	name string
	// tests is how many tests came past it.
	tests int
}

func (m mutant) file() string {
	file, _, _ := strings.Cut(m.name, " ")
	return file
}

func (m mutant) seen() string {
	if m.tests == 0 {
		return "no test comes past"
	}
	return fmt.Sprintf("%d tests come past", m.tests)
}

// mutated is a package with all its mutants.
type mutated struct {
	dir, name string
	only      []string          // of its files, by their base names; all if there is none
	files     map[string][]byte // by path, as rewritten
	mutants   []mutant
	names     map[string]bool // of all its mutants
	binary    string
}

// load finds the mutants of a package.
func load(dir string, only []string) (*mutated, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	p := &mutated{dir: dir, only: only, files: map[string][]byte{}, names: map[string]bool{}}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s := sites{p: p, src: src, set: token.NewFileSet()}
		file, err := parser.ParseFile(s.set, path, src, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.name = file.Name.Name
		if len(only) > 0 && !slices.Contains(only, filepath.Base(path)) {
			continue
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				s.within = filepath.ToSlash(path) + " " + s.called(f)
				s.function(f.Type, f.Body)
			}
		}
		if len(s.edits) > 0 {
			p.files[path] = s.rewritten()
		}
	}
	return p, nil
}

// edit inserts text at an offset.
type edit struct {
	at   int
	text string
}

type sites struct {
	p     *mutated
	src   []byte
	set   *token.FileSet
	edits []edit
	// within is the file and the function.
	within string
}

func (s *sites) offset(p token.Pos) int { return s.set.Position(p).Offset }

func (s *sites) text(n ast.Node) string { return string(s.src[s.offset(n.Pos()):s.offset(n.End())]) }

// called is the name of a function, with its receiver's type.
func (s *sites) called(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return strings.TrimPrefix(s.text(f.Recv.List[0].Type), "*") + "." + f.Name.Name
}

// wrap makes a mutant of an expression.
func (s *sites) wrap(e ast.Expr, kind, before, after string) {
	id := len(s.p.mutants) + 1
	first := fmt.Sprintf("%s: %s (%s)", s.within, strings.Join(strings.Fields(s.text(e)), " "), kind)
	name := first
	for again := 2; s.p.names[name]; again++ {
		name = fmt.Sprintf("%s #%d", first, again)
	}
	s.p.names[name] = true
	s.p.mutants = append(s.p.mutants, mutant{id: id, line: s.set.Position(e.Pos()).Line, name: name})
	s.edits = append(s.edits, edit{s.offset(e.Pos()), fmt.Sprintf(before, id)}, edit{s.offset(e.End()), after})
}

func (s *sites) rewritten() []byte {
	slices.SortStableFunc(s.edits, func(a, b edit) int { return a.at - b.at })
	var out bytes.Buffer
	last := 0
	for _, e := range s.edits {
		out.Write(s.src[last:e.at])
		out.WriteString(e.text)
		last = e.at
	}
	out.Write(s.src[last:])
	return out.Bytes()
}

// function looks for mutants in a body whose last result says no.
func (s *sites) function(t *ast.FuncType, body *ast.BlockStmt) {
	result, results := "", 0
	if t.Results != nil && len(t.Results.List) > 0 {
		for _, f := range t.Results.List {
			results += max(1, len(f.Names))
		}
		result = s.text(t.Results.List[len(t.Results.List)-1].Type)
	}
	says := slices.Contains([]string{"error", "bool", "*Refusal", "*Invalid", "*Unlisted"}, result)
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			s.function(n.Type, n.Body)
			return false
		case *ast.IfStmt:
			if says && refuses(n.Body.List, result) {
				s.never(n.Cond)
			}
		case *ast.SwitchStmt:
			if says && n.Tag == nil {
				s.cases(n, result)
			}
		case *ast.ReturnStmt:
			if says && len(n.Results) == results {
				s.last(n.Results[results-1], result)
			}
		}
		return true
	})
}

// refuses tells whether statements end by returning a no.
func refuses(body []ast.Stmt, result string) bool {
	if len(body) == 0 {
		return false
	}
	r, ok := body[len(body)-1].(*ast.ReturnStmt)
	if !ok || len(r.Results) == 0 {
		return false
	}
	name, plain := r.Results[len(r.Results)-1].(*ast.Ident)
	if result == "bool" {
		return plain && name.Name == "false"
	}
	return !plain || name.Name != "nil"
}

func (s *sites) cases(n *ast.SwitchStmt, result string) {
	for _, stmt := range n.Body.List {
		clause, ok := stmt.(*ast.CaseClause)
		if ok && refuses(clause.Body, result) {
			for _, e := range clause.List {
				s.never(e)
			}
		}
	}
}

// never makes a condition false, or each part of a disjunction.
func (s *sites) never(e ast.Expr) {
	if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.LOR {
		s.never(b.X)
		s.never(b.Y)
		return
	}
	s.wrap(e, "never", "(zzOn(%d) && (", "))")
}

// last drops an error that is returned, or a part of what a predicate wants.
// What is returned under a condition is dropped with the condition.
func (s *sites) last(e ast.Expr, result string) {
	if result == "bool" {
		if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.LAND {
			s.conjunction(b)
		}
		return
	}
	call, ok := e.(*ast.CallExpr)
	if ok && !constructs(call) {
		s.wrap(e, "dropped", "zzDrop["+result+"](%d, ", ")")
	}
}

func (s *sites) conjunction(e ast.Expr) {
	if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.LAND {
		s.conjunction(b.X)
		s.conjunction(b.Y)
		return
	}
	s.wrap(e, "always", "(!zzOn(%d) || (", "))")
}

// constructs tells whether a call makes an error instead of passing one on.
func constructs(call *ast.CallExpr) bool {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return slices.Contains([]string{"refuse", "about", "at", "invalid", "orElse"}, f.Name)
	case *ast.SelectorExpr:
		x, ok := f.X.(*ast.Ident)
		return ok && (x.Name == "fmt" || x.Name == "errors")
	}
	return false
}
