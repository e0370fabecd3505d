package main

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"regexp"
	"slices"

	pipelinev1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1alpha1"
	"github.com/tektoncd/pipeline/pkg/trustedresources"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/yaml"
)

// limit is far more than a catalog takes.
const limit = 16 << 20

// resource is a Task or a Pipeline.
type resource interface {
	metav1.Object
	trustedresources.Hashable
	apis.Defaultable
}

// signable is a resource with the name of its kind.
type signable struct {
	resource
	kind string
}

// objects are what was rendered, as far as signatures are about it.
type objects struct {
	resources []signable // by kind, then by name
	policies  []*v1alpha1.VerificationPolicy
}

func read(in io.Reader) (*objects, error) {
	bounded := &io.LimitedReader{R: in, N: limit}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bounded))
	var found objects
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = found.add(document)
		}
		if err != nil {
			return nil, err
		}
	}
	if bounded.N == 0 {
		return nil, refuse("catalog/size", "sign the catalog by itself", "there are %d bytes or more", limit)
	}
	if len(found.resources) == 0 {
		return nil, refuse("catalog/empty", "render the folder with the catalog", "there is no Task and no Pipeline")
	}
	slices.SortFunc(found.resources, func(a, b signable) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return &found, nil
}

// add takes one document. What is neither signed nor says who may sign is none of
// our business.
func (f *objects) add(document []byte) error {
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(document, &head); err != nil {
		return refuse("catalog/document", "render again", "not YAML: %v", err)
	}
	gv, kind := head.APIVersion, head.Kind
	switch {
	case gv == pipelinev1.SchemeGroupVersion.String() && kind == "Task":
		return f.take(document, kind, &pipelinev1.Task{})
	case gv == pipelinev1.SchemeGroupVersion.String() && kind == "Pipeline":
		return f.take(document, kind, &pipelinev1.Pipeline{})
	case gv == v1alpha1.SchemeGroupVersion.String() && kind == "VerificationPolicy":
		var policy v1alpha1.VerificationPolicy
		if err := yaml.UnmarshalStrict(document, &policy); err != nil {
			return refuse("catalog/document", "write it as Tekton reads it", "%s: %v", kind, err)
		}
		f.policies = append(f.policies, &policy)
	case tektons.MatchString(gv) && (kind == "Task" || kind == "Pipeline" || kind == "StepAction"):
		return refuse("catalog/kind", "write Tasks and Pipelines of tekton.dev/v1", "%s of %s is not signed", kind, gv)
	}
	return nil
}

var tektons = regexp.MustCompile(`^tekton\.dev/`)

func (f *objects) take(document []byte, kind string, r resource) error {
	// Tekton's webhook refuses a field that it does not know, too.
	if err := yaml.UnmarshalStrict(document, r); err != nil {
		return refuse("catalog/document", "write it as Tekton reads it", "%s: %v", kind, err)
	}
	if r.GetName() == "" || r.GetNamespace() == "" {
		return refuse("catalog/name", "say both: a signature is for an object in its place", "%s %q in namespace %q", kind, r.GetName(), r.GetNamespace())
	}
	for _, other := range f.resources {
		if other.kind == kind && other.GetName() == r.GetName() && other.GetNamespace() == r.GetNamespace() {
			return refuse("catalog/twice", "render one of them", "%s %s/%s is there twice", kind, r.GetNamespace(), r.GetName())
		}
	}
	f.resources = append(f.resources, signable{resource: r, kind: kind})
	return nil
}
