package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"
)

// Most of a factory's bytes are the schemas of resource definitions, and most of
// the time that kustomize takes it copies them. Where nothing in a component can
// read or change a schema, kustomize is given a mark in its place, and the schema
// is put back into what it makes of the definition. That is so unless a patch or a
// replacement may meet a definition, or a configuration or a label says itself
// which fields there are. A patch that may meet one and can only reach its metadata is
// no obstacle where that changes nothing in a schema: kustomize then makes JSON of all
// of the object and reads that again. Whatever goes wrong, it is done again with the
// schemas in place.

const (
	markPrefix = "millwright.dev/schema-"
	definition = "CustomResourceDefinition"
	// worthLifting is the size of schemas from which on it saves more than it costs.
	worthLifting = 2 << 10
)

// lifted is a definition without its schemas, as JSON, and these by their marks.
type lifted struct {
	text    []byte
	schemas map[string]json.RawMessage
	// places is how many schemas were taken: two may be the same.
	places int
	// rereadable says that JSON made of the definition is what it was, when it is read
	// again by a program that takes each number for a float.
	rereadable bool
}

// lift takes the schemas out of a document, which it changes; nil if it is no
// definition or not as simple as they are.
func lift(doc *yaml.Node) *lifted {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || !simple(doc) {
		return nil
	}
	root := doc.Content[0]
	if kind := field(root, "kind"); kind == nil || (*kind).Value != definition {
		return nil
	}
	versions := field(root, "spec", "versions")
	if versions == nil || (*versions).Kind != yaml.SequenceNode {
		return nil
	}
	out := &lifted{schemas: map[string]json.RawMessage{}, rereadable: exact(*versions) && floats(*versions)}
	size := 0
	for _, version := range (*versions).Content {
		n := out.take(version)
		if n == 0 {
			return nil
		}
		size += n
		out.places++
	}
	if size < worthLifting || !exact(root) {
		return nil
	}
	out.text = jsonOf(root)
	if out.text == nil {
		return nil
	}
	return out
}

// take takes the schema out of a version and says how large it is; 0 if it cannot
// be taken.
func (l *lifted) take(version *yaml.Node) int {
	schema := field(version, "schema")
	if schema == nil || (*schema).Kind != yaml.MappingNode {
		return 0
	}
	raw := jsonOf(*schema)
	if raw == nil {
		return 0
	}
	sum := sha256.Sum256(raw)
	mark := markPrefix + hex.EncodeToString(sum[:])
	l.schemas[mark] = raw
	*schema = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: mark}
	return len(raw)
}

// jsonOf is the canonical JSON of a node, nil if it has none.
func jsonOf(n *yaml.Node) []byte {
	value, err := plainValue(n)
	if err != nil {
		return nil
	}
	raw, err := canonicalJSON(value)
	if err != nil {
		return nil
	}
	return raw
}

// field finds the place of a value in mappings.
func field(n *yaml.Node, names ...string) **yaml.Node {
	place := &n
	for _, name := range names {
		at := *place
		if at.Kind != yaml.MappingNode {
			return nil
		}
		i := 0
		for i < len(at.Content) && at.Content[i].Value != name {
			i += 2
		}
		if i+1 >= len(at.Content) {
			return nil
		}
		place = &at.Content[i+1]
	}
	return place
}

// simple says that nothing in a document stands for something else.
func simple(n *yaml.Node) bool {
	if n.Anchor != "" || n.Kind == yaml.AliasNode || n.Tag == "!!merge" {
		return false
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !simple(c) })
}

// exact says that every scalar is written as JSON writes it, so that kustomize,
// which makes text of some values, makes the same of it.
func exact(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!str" {
		value, err := plainScalar(n)
		if err != nil {
			return false
		}
		text, err := canonicalJSON(value)
		return err == nil && string(text) == n.Value
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !exact(c) })
}

// floats says that every number is one that a float64 holds, in its shortest form.
func floats(n *yaml.Node) bool {
	if tag := n.ShortTag(); n.Kind == yaml.ScalarNode && (tag == "!!int" || tag == "!!float") {
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			return false
		}
		text, err := json.Marshal(f)
		return err == nil && string(text) == n.Value
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !floats(c) })
}

// untouched says that nothing in a closure may read or change a schema; reread, that
// a patch may still meet a definition.
func (c closure) untouched() (untouched, reread bool) {
	if c.touched {
		return false, false
	}
	for name, f := range c.files {
		if f.marked || f.instructs || c.asides[name] && f.defines {
			return false, false
		}
	}
	for dir, k := range c.kustomizations {
		if !leavesSchemas(k) {
			return false, false
		}
		for _, p := range patchesOf(k) {
			if p.Target == nil || elsewhere(p.Target.Kind) {
				continue // one without a target says in itself what it is for
			}
			if !c.onlyMetadata(dir, p) {
				return false, false
			}
			reread = true
		}
	}
	return true, reread
}

// onlyMetadata says that a patch is a list of operations (RFC 6902), as JSON or as the
// plainest YAML, none of which names a place outside of an object's metadata. There must
// not be a second way to read it: kustomize tries it as JSON, as YAML by the rules of
// another version, and as an object.
func (c closure) onlyMetadata(dir string, p types.Patch) bool {
	text := []byte(p.Patch)
	if p.Path != "" {
		name, err := resolve(dir, dir, p.Path)
		if err != nil || p.Patch != "" || c.files[name] == nil {
			return false
		}
		if text, err = c.content(name); err != nil {
			return false
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var list, more yaml.Node
	if err := decoder.Decode(&list); err != nil || !simple(&list) || !errors.Is(decoder.Decode(&more), io.EOF) {
		return false
	}
	var operations []map[string]any
	if err := list.Decode(&operations); err != nil || len(operations) == 0 {
		return false
	}
	within := func(place any) bool {
		text, is := place.(string)
		return is && strings.HasPrefix(text, "/metadata/")
	}
	return !slices.ContainsFunc(operations, func(o map[string]any) bool {
		from, moves := o["from"]
		return !within(o["path"]) || moves && !within(from)
	})
}

// leavesSchemas says that what a kustomization does to others without patches, it does
// not do to the schemas of definitions.
func leavesSchemas(k *types.Kustomization) bool {
	if len(k.Configurations)+len(k.Crds) > 0 {
		return false
	}
	for _, l := range k.Labels {
		if len(l.FieldSpecs) > 0 {
			return false
		}
	}
	for _, r := range k.Replacements {
		if r.Path != "" || r.Source != nil && !elsewhere(r.Source.Kind) {
			return false
		}
		for _, t := range r.Targets {
			if t.Select == nil || !elsewhere(t.Select.Kind) {
				return false
			}
		}
	}
	return true
}

// elsewhere says that a kind, which may be a pattern, is not that of definitions.
func elsewhere(kind string) bool { return plainKind.MatchString(kind) && kind != definition }

var plainKind = regexp.MustCompile("^[A-Za-z0-9]+$")

// withoutSchemas is what kustomize is given for a file of resources, with the
// schemas that are not in it and how many places they were in. Where definitions are
// reread, they are only those of rereadable ones.
func (k *known) withoutSchemas(at string, text []byte, reread bool, limits Limits, into map[string]json.RawMessage) ([]byte, int) {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	documents, gaps, err := k.documents(at, text, limits)
	if err != nil {
		return text, 0 // it was checked: cannot happen
	}
	var out bytes.Buffer
	places := 0
	for i, d := range documents {
		if i > 0 {
			out.Write(gaps[i-1])
		}
		if d.lifted == nil || reread && !d.lifted.rereadable {
			out.Write(d.text)
			continue
		}
		out.Write(d.lifted.text)
		maps.Copy(into, d.lifted.schemas)
		places += d.lifted.places
	}
	return out.Bytes(), places
}

// restore puts schemas back, and says how many.
func restore(content map[string]any, schemas map[string]json.RawMessage) (n int) {
	if content["kind"] != definition {
		return 0
	}
	spec, _ := content["spec"].(map[string]any)
	versions, _ := spec["versions"].([]any)
	for _, v := range versions {
		version, _ := v.(map[string]any)
		mark, _ := version["schema"].(string)
		if schema, found := schemas[mark]; found {
			version["schema"] = schema
			n++
		}
	}
	return n
}
