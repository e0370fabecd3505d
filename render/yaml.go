package render

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// separator is where kustomize cuts a file into documents. It is not the YAML
// specification's rule, so the same one is used here, or a file could be two
// documents for the check and one for kustomize.
var separator = regexp.MustCompile(`\n---.*\n`)

// checkYAML refuses YAML that kustomize would choke on (rows D11, D12, D15).
// Most documents are cleared by one look at their bytes; the others are parsed,
// without expanding anything.
func checkYAML(at string, text []byte, limits Limits) error {
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return refuse(codeYAML, at, "not UTF-8 text")
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	cuts := separator.FindAllIndex(text, limits.Documents)
	if len(cuts) >= limits.Documents {
		return refuse(codeDocuments, at, "more than %d documents", limits.Documents)
	}
	from := 0
	for _, cut := range append(cuts, []int{len(text), len(text)}) {
		document := text[from:cut[0]]
		from = cut[1]
		if plain(document, limits.Depth) {
			continue
		}
		if err := checkDocument(at, document, limits); err != nil {
			return err
		}
	}
	return nil
}

// plain says whether a document certainly has no alias, is certainly not nested
// deeper than depth and is certainly one document. It errs on the side of no:
// it does not know strings and comments.
func plain(document []byte, depth int) bool {
	column, opened, content := 0, 0, false
	for line := range bytes.Lines(document) {
		if bytes.HasPrefix(line, []byte("...")) || content && bytes.HasPrefix(line, []byte("---")) {
			return false
		}
		column = max(column, bytes.IndexFunc(line, func(r rune) bool { return !strings.ContainsRune(" -?:\t", r) }))
		opened += bytes.Count(line, []byte("[")) + bytes.Count(line, []byte("{"))
		if alias(line) || oddBreak(line) {
			return false
		}
		content = true
	}
	// A block takes a column for each mapping, with a sequence at the same one.
	return 2*(column+1)+opened < depth
}

// alias says whether a line may hold an alias: an asterisk where a value can
// begin.
func alias(line []byte) bool {
	for i := 0; ; i++ {
		next := bytes.IndexByte(line[i:], '*')
		if next < 0 {
			return false
		}
		i += next
		if i == 0 || bytes.IndexByte([]byte(" \t[{,:"), line[i-1]) >= 0 {
			if i+1 < len(line) && bytes.IndexByte([]byte(" \t\n"), line[i+1]) < 0 {
				return true
			}
		}
	}
}

// oddBreak says whether a line holds a character that ends lines for a YAML
// parser and nobody else: CR, NEL, LS, PS.
func oddBreak(line []byte) bool {
	return bytes.IndexByte(line, '\r') >= 0 || bytes.Contains(line, []byte("\u0085")) ||
		bytes.Contains(line, []byte("\u2028")) || bytes.Contains(line, []byte("\u2029"))
}

// checkDocument parses a document and weighs it.
func checkDocument(at string, document []byte, limits Limits) error {
	decoder := yaml.NewDecoder(bytes.NewReader(document))
	for seen := 0; ; seen++ {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return refuse(codeYAML, at, "%v", err)
		}
		if seen > 0 {
			return refuse(codeYAML, at, "a document ends where kustomize does not see it, and would drop what follows")
		}
		if err := checkNode(at, &node, limits); err != nil {
			return err
		}
	}
}

func checkNode(at string, node *yaml.Node, limits Limits) error {
	s := scale{anchors: map[*yaml.Node]*weight{}}
	expanded, ok := s.weigh(node)
	switch {
	case !ok:
		return refuse(codeYAML, at, "an alias stands inside of its own anchor")
	case expanded.depth > int64(limits.Depth)+1: // the document itself is a node
		return refuse(codeDepth, at, "nested deeper than %d", limits.Depth)
	case expanded.nodes-s.raw.nodes > limits.AliasNodes, expanded.bytes-s.raw.bytes > limits.AliasBytes:
		return refuse(codeExpansion, at, "aliases add %d nodes and %d bytes, which is more than %d or %d",
			expanded.nodes-s.raw.nodes, expanded.bytes-s.raw.bytes, limits.AliasNodes, limits.AliasBytes)
	}
	return nil
}

// weight is what a node amounts to when its aliases are expanded.
type weight struct{ nodes, bytes, depth int64 }

// scale weighs nodes without expanding them: what stands under an anchor is
// weighed once, so the time is that of the text and not of what it means.
type scale struct {
	// anchors has nil for an anchor that is being weighed.
	anchors map[*yaml.Node]*weight
	raw     weight
}

// weigh is not ok if a node contains itself.
func (s *scale) weigh(n *yaml.Node) (weight, bool) {
	if n.Kind == yaml.AliasNode {
		s.raw.nodes++
		w, known := s.anchors[n.Alias]
		if !known || w == nil {
			return weight{}, false
		}
		return *w, true
	}
	if n.Anchor != "" {
		s.anchors[n] = nil
	}
	w := weight{nodes: 1, bytes: int64(len(n.Value)), depth: 1}
	s.raw.nodes++
	s.raw.bytes += w.bytes
	for _, child := range n.Content {
		c, ok := s.weigh(child)
		if !ok {
			return weight{}, false
		}
		w.nodes = add(w.nodes, c.nodes)
		w.bytes = add(w.bytes, c.bytes)
		w.depth = max(w.depth, c.depth+1)
	}
	if n.Anchor != "" {
		s.anchors[n] = &w
	}
	return w, true
}

// add stops at the largest number: a bomb may well mean more than 2^63 nodes.
func add(a, b int64) int64 {
	if a > math.MaxInt64/2-b {
		return math.MaxInt64 / 2
	}
	return a + b
}
