package engine

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/kyverno/kyverno/pkg/cel/libs"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// outside stands where a policy would reach the cluster or a registry. It
// answers nothing and remembers that it was asked: an invented answer, such as
// the nil that Kyverno's own fake gives, could let a policy pass.
type outside struct {
	*libs.FakeContextProvider
	question string
}

var _ libs.Context = (*outside)(nil)

func newOutside() *outside {
	o := &outside{FakeContextProvider: libs.NewFakeContextProvider()}
	// The engine takes its context from this variable when it compiles.
	libs.LibraryContext = o
	return o
}

func (o *outside) ask(what string, args ...any) error {
	o.question = fmt.Sprintf(what, args...)
	return fmt.Errorf("%s cannot be asked for before the cluster", o.question)
}

// take returns what was asked for since the last call.
func (o *outside) take() string {
	q := o.question
	o.question = ""
	return q
}

// GetGlobalReference asks for a global context entry.
func (o *outside) GetGlobalReference(name, _ string) (any, error) {
	return nil, o.ask("global context entry %q", name)
}

// GetImageData asks a registry.
func (o *outside) GetImageData(image string, _ []remote.Option) (map[string]any, error) {
	return nil, o.ask("image %q", image)
}

// ToGVR asks discovery.
func (o *outside) ToGVR(apiVersion, kind string) (*schema.GroupVersionResource, error) {
	return nil, o.ask("resource of %s %s", apiVersion, kind)
}

// ListResources asks the cluster.
func (o *outside) ListResources(apiVersion, resource, _ string, _ map[string]string) (*unstructured.UnstructuredList, error) {
	return nil, o.ask("list of %s %s", apiVersion, resource)
}

// GetResource asks the cluster.
func (o *outside) GetResource(apiVersion, resource, namespace, name string) (*unstructured.Unstructured, error) {
	return nil, o.ask("%s %s %s/%s", apiVersion, resource, namespace, name)
}

// PostResource asks the cluster.
func (o *outside) PostResource(apiVersion, resource, _ string, _ map[string]any) (*unstructured.Unstructured, error) {
	return nil, o.ask("creation of %s %s", apiVersion, resource)
}

// GenerateResources would write to the cluster.
func (o *outside) GenerateResources(string, []map[string]any) error {
	return o.ask("generation of resources")
}

// Clone keeps the memory: an evaluation in a clone asks us as well.
func (o *outside) Clone() libs.Context { return o }
