package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
)

// spots is how many objects are compared field by field after each workload.
const spots = 24

// place is where the API server has an object.
type place struct {
	resource   schema.GroupVersionResource
	namespaced bool
}

// places finds out where the API server has the kinds of objects. Kinds that the
// objects themselves define need not be there yet.
func (b *bed) places(objects []*unstructured.Unstructured) (map[schema.GroupVersionKind]place, error) {
	unknown := func(o *unstructured.Unstructured) bool {
		_, known := b.known[o.GroupVersionKind()]
		return !known
	}
	if !slices.ContainsFunc(objects, unknown) {
		return b.known, nil
	}
	d, err := discovery.NewDiscoveryClientForConfig(b.cluster.Config())
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(d)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	out := maps.Clone(b.known)
	for _, o := range objects {
		define(out, o)
	}
	for _, o := range objects {
		kind := o.GroupVersionKind()
		if _, known := out[kind]; known {
			continue
		}
		m, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return nil, err
		}
		out[kind] = place{m.Resource, m.Scope.Name() == meta.RESTScopeNameNamespace}
	}
	b.known = out
	return out, nil
}

// define notes the kinds that a resource definition defines.
func define(out map[schema.GroupVersionKind]place, o *unstructured.Unstructured) {
	if o.GetKind() != "CustomResourceDefinition" {
		return
	}
	text := func(fields ...string) string {
		s, _, _ := unstructured.NestedString(o.Object, fields...)
		return s
	}
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	for _, v := range versions {
		m, _ := v.(map[string]any)
		name, _ := m["name"].(string)
		gv := schema.GroupVersion{Group: text("spec", "group"), Version: name}
		out[gv.WithKind(text("spec", "names", "kind"))] = place{gv.WithResource(text("spec", "names", "plural")), text("spec", "scope") == "Namespaced"}
	}
}

// check proves that the party did its work: every declared object is there, and
// a sample of them has every declared field: declaring it once more would change
// nothing.
func (b *bed) check(ctx context.Context, objects []*unstructured.Unstructured) error {
	places, err := b.places(objects)
	if err != nil {
		return err
	}
	if err := b.allThere(ctx, objects, places); err != nil {
		return fmt.Errorf("%s did not apply everything: %w", b.name, err)
	}
	for i := 0; i < len(objects); i += max(1, len(objects)/spots) {
		if err := b.asDeclared(ctx, objects[i], places[objects[i].GroupVersionKind()]); err != nil {
			return fmt.Errorf("%s did not apply what was declared: %w", b.name, err)
		}
	}
	return b.established(ctx)
}

func (b *bed) allThere(ctx context.Context, objects []*unstructured.Unstructured, places map[schema.GroupVersionKind]place) error {
	md, err := metadata.NewForConfig(b.cluster.Config())
	if err != nil {
		return err
	}
	there := map[schema.GroupVersionResource]map[string]bool{}
	for _, o := range objects {
		p := places[o.GroupVersionKind()]
		names := there[p.resource]
		if names == nil {
			list, err := md.Resource(p.resource).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			names = map[string]bool{}
			for _, item := range list.Items {
				names[item.Namespace+"/"+item.Name] = true
			}
			there[p.resource] = names
		}
		if !names[namespaceOf(o, p)+"/"+o.GetName()] {
			return fmt.Errorf("%s %s/%s is not there", o.GetKind(), o.GetNamespace(), o.GetName())
		}
	}
	return nil
}

func namespaceOf(o *unstructured.Unstructured, p place) string {
	if p.namespaced && o.GetNamespace() == "" {
		return "default"
	}
	return o.GetNamespace()
}

func (b *bed) asDeclared(ctx context.Context, o *unstructured.Unstructured, p place) error {
	resource := dynamic.ResourceInterface(b.api.Resource(p.resource))
	if p.namespaced {
		resource = b.api.Resource(p.resource).Namespace(namespaceOf(o, p))
	}
	live, err := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	again, err := resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "check", Force: true, DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return err
	}
	if content(live) != content(again) {
		return fmt.Errorf("%s %s is another than declared", o.GetKind(), o.GetName())
	}
	return nil
}

// content is a digest of what an object says, without what the API server keeps
// about it.
func content(o *unstructured.Unstructured) string {
	o = o.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(o.Object, "status")
	data, err := json.Marshal(o.Object)
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// crds is where resource definitions are.
func crds() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// established proves that every resource definition is served.
func (b *bed) established(ctx context.Context) error {
	list, err := b.api.Resource(crds()).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, crd := range list.Items {
		if !condition(&crd, "Established", "True") {
			return fmt.Errorf("%s left %s before it was established", b.name, crd.GetName())
		}
	}
	return nil
}

// condition says whether an object has a condition with a status.
func condition(o *unstructured.Unstructured, kind, status string) bool {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, _ := c.(map[string]any)
		return m["type"] == kind && m["status"] == status
	})
}
