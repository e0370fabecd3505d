package render

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"millwright.dev/millwright/internal/parallel"
	"millwright.dev/millwright/internal/visible"
)

// separator is where kustomize cuts a file into documents. It is not the YAML
// specification's rule, so the same one is used here, or a file could be two
// documents for the check and one for kustomize.
var separator = regexp.MustCompile(`\n---.*\n`)

// checkYAML refuses YAML that kustomize would choke on (rows D11, D12, D15), or
// that shows its reviewers something else than it means. It parses without
// expanding anything.
func checkYAML(at string, text []byte, limits Limits) (facts, error) {
	return new(known).checked(at, text, limits)
}

// checked is checkYAML, which remembers documents.
func (k *known) checked(at string, text []byte, limits Limits) (facts, error) {
	if hidden := visible.Deceptive(text); hidden != nil {
		return facts{}, refuse(codeYAML, at, "%v", hidden)
	}
	documents, _, err := k.documents(at, bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), limits)
	if err != nil {
		return facts{}, err
	}
	var all facts
	for _, d := range documents {
		all.instructs = all.instructs || d.instructs
		all.defines = all.defines || d.defines
		all.marked = all.marked || d.marked
	}
	return all, nil
}

// documents cuts a file as kustomize does and checks what it is cut into; gaps are
// what stands in between.
func (k *known) documents(at string, text []byte, limits Limits) (documents []document, gaps [][]byte, err error) {
	cuts := separator.FindAllIndex(text, limits.Documents)
	if len(cuts) >= limits.Documents {
		return nil, nil, refuse(codeDocuments, at, "more than %d documents", limits.Documents)
	}
	documents = make([]document, len(cuts)+1)
	errs := make([]error, len(cuts)+1)
	from := 0
	for i, cut := range append(cuts, []int{len(text), len(text)}) {
		documents[i].text = text[from:cut[0]]
		gaps = append(gaps, text[cut[0]:cut[1]])
		from = cut[1]
	}
	parallel.Each(len(documents), func(i int) { errs[i] = k.document(at, &documents[i], limits) })
	for _, err := range errs {
		if err != nil {
			return nil, nil, err // the first of the file, whichever came first
		}
	}
	return documents, gaps, nil
}

// document is a part of a file.
type document struct {
	text []byte
	read
}

// read is what was found in a document.
type read struct {
	facts
	lifted *lifted
}

// document checks a document that may have been checked before.
func (k *known) document(at string, d *document, limits Limits) error {
	key := bearableKey{sha256.Sum256(d.text), limits}
	k.mu.Lock()
	found, seen := k.read[key]
	k.mu.Unlock()
	if !seen {
		var err error
		if found, err = checkDocument(at, d.text, limits); err != nil {
			return err
		}
		k.mu.Lock()
		k.keep(key, found)
		k.mu.Unlock()
	}
	d.read = found
	return nil
}

// facts are what was found of YAML that is bearable.
type facts struct {
	// instructs says that it may say something to kustomize itself, beside what it
	// declares to a cluster.
	instructs bool
	// defines says that it may be about a definition, marked that a schema may have
	// been taken out of it.
	defines, marked bool
}

// checkDocument parses a document and weighs it.
func checkDocument(at string, document []byte, limits Limits) (f read, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(document))
	for seen := 0; ; seen++ {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return f, refuse(codeYAML, at, "%v", err)
		}
		if seen > 0 {
			return f, refuse(codeYAML, at, "a document ends where kustomize does not see it, and would drop what follows")
		}
		if err := checkNode(at, &node, limits); err != nil {
			return f, err
		}
		f.facts = factsOf(&node)
		if f.defines && !f.instructs && !f.marked && !bytes.HasPrefix(document, []byte("%")) {
			f.lifted = lift(&node)
		}
	}
}

func factsOf(n *yaml.Node) facts {
	return facts{
		instructs: contains(n, instructs),
		defines:   contains(n, func(text string) bool { return text == definition }),
		marked:    contains(n, func(text string) bool { return strings.Contains(text, markPrefix) }),
	}
}

// contains looks at every scalar. An alias repeats one that stands in the document
// too.
func contains(n *yaml.Node, is func(string) bool) bool {
	if n.Kind == yaml.ScalarNode {
		return is(n.Value)
	}
	return slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return contains(c, is) })
}

// instructs finds the names of annotations by which kustomize is told what to do
// with an object, or notes down what it did.
func instructs(text string) bool {
	return strings.Contains(text, "config.kubernetes.io") || strings.Contains(text, "config.k8s.io") && !strings.HasPrefix(text, "kustomize.config.k8s.io/v1")
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
	if err := checkValue(node); err != nil {
		return refuse(codeYAML, at, "%v", err)
	}
	return nil
}

// checkValue refuses what has no JSON. kustomize ends the process where it
// writes such an object into a message (log.Fatal in its Resource.MustYaml), so
// it must not see one.
func checkValue(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		_, err := plainScalar(n)
		return err
	case yaml.AliasNode:
		return nil // its anchor is checked where it stands
	case yaml.MappingNode:
		return checkMapping(n)
	case yaml.DocumentNode, yaml.SequenceNode:
	}
	if tag := n.ShortTag(); n.Kind == yaml.SequenceNode && tag != "!!seq" {
		return fmt.Errorf("line %d: a sequence of type %q", n.Line, tag)
	}
	for _, child := range n.Content {
		if err := checkValue(child); err != nil {
			return err
		}
	}
	return nil
}

func checkMapping(n *yaml.Node) error {
	if tag := n.ShortTag(); tag != "!!map" {
		return fmt.Errorf("line %d: a mapping of type %q", n.Line, tag)
	}
	seen := make(map[string]struct{}, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if tag := key.ShortTag(); key.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!merge" {
			return fmt.Errorf("line %d: a key that is not a string", key.Line)
		}
		if _, twice := seen[key.Value]; twice {
			return fmt.Errorf("line %d: the key %q stands twice in a mapping", key.Line, key.Value)
		}
		seen[key.Value] = struct{}{}
		if err := checkValue(n.Content[i+1]); err != nil {
			return err
		}
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
