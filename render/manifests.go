package render

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// ID names an object in a cluster independent of its API version.
type ID struct {
	Group, Kind, Namespace, Name string
}

// String is kind.group namespace/name, as kubectl spells it.
func (id ID) String() string {
	s := id.Kind
	if id.Group != "" {
		s += "." + id.Group
	}
	if id.Namespace != "" {
		return s + " " + id.Namespace + "/" + id.Name
	}
	return s + " " + id.Name
}

// Compare orders by group, kind, namespace and name.
func (id ID) Compare(other ID) int {
	return cmp.Or(
		strings.Compare(id.Group, other.Group), strings.Compare(id.Kind, other.Kind),
		strings.Compare(id.Namespace, other.Namespace), strings.Compare(id.Name, other.Name),
	)
}

// Irreplaceable says whether deleting an object takes along what no manifest can
// bring back: the objects in it, or data.
func (id ID) Irreplaceable() bool {
	switch id.Group {
	case "":
		return id.Kind == "Namespace" || id.Kind == "PersistentVolumeClaim" || id.Kind == "PersistentVolume"
	case "apiextensions.k8s.io":
		return id.Kind == "CustomResourceDefinition"
	}
	return false
}

// Object is one rendered object. Values are immutable after Render returns.
type Object struct {
	id         ID
	apiVersion string
	component  string
	json       []byte
	digest     string
}

// ID is the object's name.
func (o Object) ID() ID { return o.id }

// APIVersion is its group/version as rendered.
func (o Object) APIVersion() string { return o.apiVersion }

// Component is the component of the factory that declares it.
func (o Object) Component() string { return o.component }

// JSON is the canonical JSON of the object (sorted keys, no insignificant
// space): the bytes that are sent to the API server.
func (o Object) JSON() []byte { return append([]byte(nil), o.json...) }

// AppendJSON appends the canonical JSON to b.
func (o Object) AppendJSON(b []byte) []byte { return append(b, o.json...) }

// Size is the number of bytes of the canonical JSON.
func (o Object) Size() int { return len(o.json) }

// Digest is "sha256:<hex>" of the canonical JSON.
func (o Object) Digest() string { return o.digest }

// Unstructured decodes a fresh copy.
func (o Object) Unstructured() *unstructured.Unstructured { return decode(o.json) }

// Component is one part of the factory in the order of its stages.
type Component struct {
	// Name is the component's name; part of the name of its field manager.
	Name string
	// Path is its overlay directory in the tree, slash separated.
	Path string
	// Stage is its position, from 0: stages are applied in ascending order.
	Stage int
}

// Manifests is the output of rendering a verified tree: every object of every
// component, in stage order and sorted by ID within a component.
type Manifests struct {
	components []Component
	objects    []Object
	digest     string
}

// Components lists the components in stage order.
func (m Manifests) Components() []Component { return append([]Component(nil), m.components...) }

// Objects lists all objects.
func (m Manifests) Objects() []Object { return append([]Object(nil), m.objects...) }

// Digest is "sha256:<hex>" over the canonical form of all objects with their
// components: same tree and same overlay, same digest.
func (m Manifests) Digest() string { return m.digest }

// decode reads canonical JSON, which this package wrote, so it cannot fail.
// Whole numbers come out as int64, as the API machinery wants them.
func decode(canonical []byte) *unstructured.Unstructured {
	content := map[string]any{}
	if err := utiljson.Unmarshal(canonical, &content); err != nil {
		return &unstructured.Unstructured{}
	}
	return &unstructured.Unstructured{Object: content}
}
