package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/resmap"
)

// errSchemaLost says that a schema that was taken out could not be put back.
var errSchemaLost = errors.New("a schema was not found where it was taken out")

// collect makes objects of what kustomize built for a component.
func collect(c Component, built resmap.ResMap, schemas map[string]json.RawMessage, places int, limits Limits) ([]Object, error) {
	if built.Size() > limits.Objects {
		return nil, refuse(codeObjectCount, c.Path, "%d objects, more than %d", built.Size(), limits.Objects)
	}
	objects, restored := make([]Object, 0, built.Size()), 0
	for _, r := range built.Resources() {
		value, err := plainValue(r.YNode())
		if err != nil {
			return nil, refuse(codeObject, c.Path, "%s %s: %v", r.GetKind(), r.GetName(), err)
		}
		content, ok := value.(map[string]any)
		if !ok {
			return nil, refuse(codeObject, c.Path, "an object that is not a mapping")
		}
		restored += restore(content, schemas)
		o, err := newObject(c, content, limits)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(o.json, []byte(markPrefix)) && schemas != nil {
			return nil, errSchemaLost
		}
		objects = append(objects, o)
	}
	if restored < places { // more where a base is read twice
		return nil, errSchemaLost
	}
	slices.SortFunc(objects, func(a, b Object) int { return a.id.Compare(b.id) })
	return objects, nil
}

// newObject checks the content of an object and takes what it declares.
func newObject(c Component, content map[string]any, limits Limits) (Object, error) {
	o := Object{component: c.Name}
	o.apiVersion, _ = content["apiVersion"].(string)
	o.id.Kind, _ = content["kind"].(string)
	metadata, _ := content["metadata"].(map[string]any)
	o.id.Name, _ = metadata["name"].(string)
	o.id.Namespace, _ = metadata["namespace"].(string)
	if group, _, found := strings.Cut(o.apiVersion, "/"); found {
		o.id.Group = group
	}
	if o.apiVersion == "" || o.id.Kind == "" || o.id.Name == "" {
		return Object{}, refuse(codeObject, c.Path, "an object with apiVersion %q, kind %q and name %q", o.apiVersion, o.id.Kind, o.id.Name)
	}
	if err := checkMetadata(c, o.id, metadata); err != nil {
		return Object{}, err
	}
	if key := secretKey(o, content); key != "" {
		return Object{}, refuse(codeSecret, c.Path, "%s has a value at %s", o.id, key)
	}
	delete(content, "status")
	canonical, err := canonicalJSON(content)
	if err != nil {
		return Object{}, refuse(codeObject, c.Path, "%s: %v", o.id, err)
	}
	if len(canonical) > limits.ObjectBytes {
		return Object{}, refuse(codeObjectSize, c.Path, "%s has %d bytes, more than %d", o.id, len(canonical), limits.ObjectBytes)
	}
	o.json = canonical
	o.digest = digest(canonical)
	return o, nil
}

// checkMetadata refuses what only a server or a controller writes (row D24):
// sent by us it would pin an object to one life of itself, or hide its writer.
func checkMetadata(c Component, id ID, metadata map[string]any) error {
	if metadata["creationTimestamp"] == nil {
		delete(metadata, "creationTimestamp")
	}
	for _, field := range []string{
		"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generateName", "generation",
		"managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid",
	} {
		if _, found := metadata[field]; found {
			return refuse(codeMetadata, c.Path, "%s has metadata.%s", id, field)
		}
	}
	annotations, _ := metadata["annotations"].(map[string]any)
	for _, function := range []string{"config.kubernetes.io/function", "config.k8s.io/function"} {
		if _, found := annotations[function]; found {
			return refuse(codePlugin, c.Path, "%s has the annotation %s", id, function)
		}
	}
	return nil
}

// secretKey returns where a Secret has a value (row D25). Secrets without
// values are fine: controllers fill them with certificates.
func secretKey(o Object, content map[string]any) string {
	if o.id.Kind != "Secret" || o.id.Group != "" {
		return ""
	}
	for _, field := range []string{"data", "stringData"} {
		values, isMap := content[field].(map[string]any)
		if !isMap && content[field] != nil {
			return field
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if value := values[key]; value != nil && value != "" {
				return field + "." + key
			}
		}
	}
	return ""
}

// canonicalJSON has sorted keys, no insignificant space and no escapes but
// those that JSON needs.
func canonicalJSON(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// plainValue makes the value of a node: kustomize's own way writes YAML text
// and parses it again, and makes a time of what looks like one, where an API
// server sees a string (row D14).
func plainValue(n *yaml.Node) (any, error) {
	if n == nil {
		return nil, errors.New("empty")
	}
	switch n.Kind {
	case yaml.MappingNode:
		return plainMapping(n)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			value, err := plainValue(item)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.ScalarNode:
		return plainScalar(n)
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return nil, fmt.Errorf("line %d: kustomize left something that is not a value", n.Line)
}

func plainMapping(n *yaml.Node) (any, error) {
	m := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a key that is not a scalar", key.Line)
		}
		if _, twice := m[key.Value]; twice {
			return nil, fmt.Errorf("the key %q stands twice in a mapping", key.Value)
		}
		value, err := plainValue(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		m[key.Value] = value
	}
	return m, nil
}

func plainScalar(n *yaml.Node) (any, error) {
	switch tag := n.ShortTag(); tag {
	case "!!str":
		return n.Value, nil
	case "!!null", "!!bool", "!!int", "!!float", "!!timestamp":
		var value any
		if err := n.Decode(&value); err != nil {
			return nil, err
		}
		if tag == "!!timestamp" {
			return n.Value, nil
		}
		if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return nil, fmt.Errorf("line %d: not a number that JSON has", n.Line)
		}
		return value, nil
	default:
		return nil, fmt.Errorf("line %d: a value of type %q", n.Line, tag)
	}
}
