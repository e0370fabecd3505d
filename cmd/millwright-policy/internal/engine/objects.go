package engine

import (
	"encoding/json"
	"fmt"
	goruntime "runtime"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"millwright.dev/millwright/cmd/millwright-policy/internal/policy"
)

// object is one rendered object with the names that admission would give it.
type object struct {
	ref      policy.Object
	raw      json.RawMessage
	content  *unstructured.Unstructured
	kind     schema.GroupVersionKind
	resource schema.GroupVersionResource
	// namespace is that of the admission request: for a Namespace its own name.
	namespace string
}

// objects is everything rendered, with what the objects say about each other.
type objects struct {
	list       []object
	namespaces map[string]*corev1.Namespace
	plurals    map[schema.GroupKind]string
}

func newObjects() *objects {
	return &objects{namespaces: map[string]*corev1.Namespace{}, plurals: map[schema.GroupKind]string{}}
}

// add decodes objects.
func (s *objects) add(raws []json.RawMessage) error {
	list, errs := make([]object, len(raws)), make([]error, len(raws))
	var wait sync.WaitGroup
	workers := goruntime.GOMAXPROCS(0)
	for worker := range workers {
		wait.Go(func() {
			for i := worker; i < len(raws); i += workers {
				list[i], errs[i] = decode(raws[i])
			}
		})
	}
	wait.Wait()
	for i, o := range list {
		if errs[i] != nil {
			return fmt.Errorf("object %d: %w", i, errs[i])
		}
		if o.ref.Group == "" && o.ref.Kind == "Namespace" {
			if err := s.addNamespace(&o); err != nil {
				return err
			}
		}
		notePlural(s.plurals, o.content)
		s.list = append(s.list, o)
	}
	return nil
}

func decode(raw json.RawMessage) (object, error) {
	ref, err := policy.Identify(raw)
	if err != nil {
		return object{}, err
	}
	var content map[string]any
	if err := utiljson.Unmarshal(raw, &content); err != nil {
		return object{}, fmt.Errorf("%s: %w", ref, err)
	}
	u := &unstructured.Unstructured{Object: content}
	return object{ref: ref, raw: raw, content: u, kind: u.GroupVersionKind(), namespace: ref.Namespace}, nil
}

// resolve finds the resources of all objects, which definitions among them name.
func (s *objects) resolve() {
	for i := range s.list {
		s.list[i].resource = resourceOf(s.list[i].kind, s.plurals)
	}
}

// addNamespace gives a Namespace the label that the API server gives every one,
// since policies select by it.
func (s *objects) addNamespace(o *object) error {
	labels := o.content.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelMetadataName] = o.ref.Name
	o.content.SetLabels(labels)
	o.namespace = o.ref.Name
	var ns corev1.Namespace
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.content.Object, &ns); err != nil {
		return fmt.Errorf("object %s: %w", o.ref, err)
	}
	s.namespaces[o.ref.Name] = &ns
	return nil
}

// namespace is nil for one that is not rendered: the engine then knows its name
// only, which is all that we know.
func (s *objects) namespace(name string) *corev1.Namespace { return s.namespaces[name] }

// notePlural learns the resource name of a custom kind from its definition.
func notePlural(plurals map[schema.GroupKind]string, u *unstructured.Unstructured) {
	if u.GroupVersionKind().GroupKind() != (schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}) {
		return
	}
	group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
	plural, _, _ := unstructured.NestedString(u.Object, "spec", "names", "plural")
	if group != "" && kind != "" && plural != "" {
		plurals[schema.GroupKind{Group: group, Kind: kind}] = plural
	}
}

// resourceOf is the resource of a kind: from its definition, or for the API
// server's own kinds by the rule that all of them follow.
func resourceOf(kind schema.GroupVersionKind, plurals map[schema.GroupKind]string) schema.GroupVersionResource {
	if plural, ok := plurals[kind.GroupKind()]; ok {
		return kind.GroupVersion().WithResource(plural)
	}
	plural, _ := meta.UnsafeGuessKindToResource(kind)
	return plural
}
