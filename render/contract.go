package render

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// ID names an object in a cluster independent of its API version.
type ID struct {
	Group, Kind, Namespace, Name string
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

// Digest is "sha256:<hex>" of the canonical JSON.
func (o Object) Digest() string { return o.digest }

// Unstructured decodes a fresh copy.
func (o Object) Unstructured() *unstructured.Unstructured { return decode(o.json) }

// Component is one part of the factory in the order of its stages.
type Component struct {
	// Name is the component's name; its field manager is millwright/<name>.
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

// Refusal is a definite no of the renderer: final until the tree changes.
type Refusal struct {
	// Reason is the CamelCase condition reason, for example "RenderFailed".
	Reason string
	// Code is the finer stable code, for example "render/outside-root".
	Code string
	// Path is the file in the tree, if known.
	Path string
	// Detail says what was found; Hint what would mend it.
	Detail, Hint string
}
