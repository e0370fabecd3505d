package apply

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/render"
)

// selectsAny says whether the Service of a webhook selects Pods of one of some
// workloads.
func (e *Engine) selectsAny(ctx context.Context, w callee, workloads []render.ID) bool {
	if len(workloads) == 0 {
		return false
	}
	service, err := e.read(ctx, "v1", render.ID{Kind: "Service", Namespace: w.namespace, Name: w.service})
	if err != nil {
		return false
	}
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	if len(selector) == 0 {
		return false
	}
	for _, id := range workloads {
		live, err := e.read(ctx, "apps/v1", id)
		if err != nil {
			continue
		}
		of, _, _ := unstructured.NestedStringMap(live.Object, "spec", "template", "metadata", "labels")
		if labels.SelectorFromSet(selector).Matches(labels.Set(of)) {
			return true
		}
	}
	return false
}

// read looks for an object with a list: that is what the engine itself may do,
// whoever the object belongs to.
func (e *Engine) read(ctx context.Context, apiVersion string, id render.ID) (*unstructured.Unstructured, error) {
	r, err := e.served.lookup(ctx, apiVersion, id.Kind)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	list, err := e.dynamic.Resource(r.GroupVersionResource).Namespace(id.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, id.Name).String(),
	})
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, apierrors.NewNotFound(r.GroupResource(), id.Name)
	}
	return &list.Items[0], nil
}

// hasEndpoints says whether anything stands behind the Service of a webhook. If
// that cannot be read, something may: a deadlock is only called so when it is one.
func (e *Engine) hasEndpoints(ctx context.Context, w callee) bool {
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	gvr := schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	list, err := e.dynamic.Resource(gvr).Namespace(w.namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + w.service})
	if err != nil {
		return true
	}
	for i := range list.Items {
		endpoints, _, _ := unstructured.NestedSlice(list.Items[i].Object, "endpoints")
		for _, x := range endpoints {
			endpoint, _ := x.(map[string]any)
			if ready, told, _ := unstructured.NestedBool(endpoint, "conditions", "ready"); ready || !told {
				return true
			}
		}
	}
	return false
}
