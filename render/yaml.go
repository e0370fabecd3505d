package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

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
	if hidden := visible.Deceptive(text); hidden != nil {
		return facts{}, refuse(codeYAML, at, "%v", hidden)
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	cuts := separator.FindAllIndex(text, limits.Documents)
	if len(cuts) >= limits.Documents {
		return facts{}, refuse(codeDocuments, at, "more than %d documents", limits.Documents)
	}
	var (
		group errgroup.Group
		from  int
		errs  = make([]error, len(cuts)+1)
		found = make([]facts, len(cuts)+1)
	)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, cut := range append(cuts, []int{len(text), len(text)}) {
		document := text[from:cut[0]]
		from = cut[1]
		group.Go(func() error {
			found[i], errs[i] = checkDocument(at, document, limits)
			return nil
		})
	}
	_ = group.Wait() // the functions only return nil
	var all facts
	for i, err := range errs {
		if err != nil {
			return facts{}, err // the first of the file, whichever came first
		}
		all.instructs = all.instructs || found[i].instructs
	}
	return all, nil
}

// facts are what was found of YAML that is bearable.
type facts struct {
	// instructs says that it may say something to kustomize itself, beside what it
	// declares to a cluster.
	instructs bool
}

// checkDocument parses a document and weighs it.
func checkDocument(at string, document []byte, limits Limits) (f facts, err error) {
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
		f.instructs = instructs(&node)
	}
}

// instructs looks for the names of annotations by which kustomize is told what to
// do with an object, or notes down what it did. An alias repeats a scalar that
// stands in the document too.
func instructs(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode {
		return strings.Contains(n.Value, "config.kubernetes.io") || strings.Contains(n.Value, "config.k8s.io") && !strings.HasPrefix(n.Value, "kustomize.config.k8s.io/v1")
	}
	return slices.ContainsFunc(n.Content, instructs)
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
