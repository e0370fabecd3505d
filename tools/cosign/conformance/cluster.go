package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

var (
	namespaces   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	pipelineRuns = schema.GroupVersionResource{Group: "tekton.dev", Version: "v1", Resource: "pipelineruns"}
	events       = schema.GroupVersionResource{Version: "v1", Resource: "events"}
)

// cluster is the API server, of which runs are read and to which events are written.
type cluster struct{ client dynamic.Interface }

// runs are the builds that succeeded, in the namespaces of the selector: the last ones,
// the newest first.
func (c cluster) runs(ctx context.Context, selector string, last int) ([]buildRun, error) {
	var found []buildRun
	err := c.each(ctx, namespaces, "", metav1.ListOptions{LabelSelector: selector}, func(ns *unstructured.Unstructured) error {
		return c.each(ctx, pipelineRuns, ns.GetName(), metav1.ListOptions{}, func(o *unstructured.Unstructured) error {
			if r, ok := succeeded(o); ok {
				found = append(found, r)
			}
			return nil
		})
	})
	slices.SortFunc(found, func(a, b buildRun) int {
		return cmp.Or(b.ended.Compare(a.ended), cmp.Compare(a.namespace+"/"+a.name, b.namespace+"/"+b.name))
	})
	return found[:min(last, len(found))], err
}

// each lists in pages, so that a thousand runs are never held at once.
func (c cluster) each(ctx context.Context, kind schema.GroupVersionResource, namespace string, o metav1.ListOptions, do func(*unstructured.Unstructured) error) error {
	o.Limit = 100
	for {
		list, err := c.client.Resource(kind).Namespace(namespace).List(ctx, o)
		if err != nil {
			return fmt.Errorf("listing %s: %w", kind.Resource, err)
		}
		for i := range list.Items {
			if err := do(&list.Items[i]); err != nil {
				return err
			}
		}
		if o.Continue = list.GetContinue(); o.Continue == "" {
			return nil
		}
	}
}

// succeeded reads a run; what is not over, or failed, is no build.
func succeeded(o *unstructured.Unstructured) (buildRun, bool) {
	var status struct {
		Conditions     []struct{ Type, Status string }
		CompletionTime time.Time
		Results        []struct {
			Name  string
			Value any // an array or an object names no image
		}
	}
	data, err := json.Marshal(o.Object["status"])
	if err != nil || json.Unmarshal(data, &status) != nil {
		return buildRun{}, false
	}
	r := buildRun{namespace: o.GetNamespace(), name: o.GetName(), uid: string(o.GetUID()), ended: status.CompletionTime}
	for _, result := range status.Results {
		value, _ := result.Value.(string)
		switch result.Name {
		case "IMAGE_URL":
			r.url = value
		case "IMAGE_DIGEST":
			r.digest = value
		}
	}
	for _, c := range status.Conditions {
		if c.Type == "Succeeded" && c.Status == string(metav1.ConditionTrue) {
			return r, true
		}
	}
	return buildRun{}, false
}

// warn makes the event of an alarm, or counts one on: there is one for each run and
// cause, under a name that a restart finds again.
func (c cluster) warn(ctx context.Context, a alarm, now time.Time) error {
	sum := sha256.Sum256([]byte(a.run.uid + "/" + a.verdict.cause))
	stamp := metav1.NewTime(now)
	event := &corev1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{Namespace: a.run.namespace, Name: fmt.Sprintf("%.200s.%x", a.run.name, sum[:8])},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "tekton.dev/v1", Kind: "PipelineRun", Namespace: a.run.namespace, Name: a.run.name, UID: types.UID(a.run.uid),
		},
		Type: corev1.EventTypeWarning, Reason: "RunUnsigned", Message: fmt.Sprintf("%.1000s", a.message(now)),
		Source: corev1.EventSource{Component: "conformance"}, ReportingController: "conformance",
		FirstTimestamp: stamp, LastTimestamp: stamp, Count: 1,
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(event)
	if err != nil {
		return err
	}
	resource := c.client.Resource(events).Namespace(a.run.namespace)
	if _, err = resource.Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		return err
	}
	return c.again(ctx, resource, event)
}

// again writes an event on. It may not be read first: the answer to the first patch
// has the count.
func (c cluster) again(ctx context.Context, resource dynamic.ResourceInterface, event *corev1.Event) error {
	patch := map[string]any{"lastTimestamp": event.LastTimestamp, "message": event.Message}
	for range 2 {
		data, err := json.Marshal(patch)
		if err != nil {
			return err
		}
		there, err := resource.Patch(ctx, event.Name, types.MergePatchType, data, metav1.PatchOptions{})
		if err != nil {
			return err
		}
		count, _, err := unstructured.NestedInt64(there.Object, "count")
		if err != nil {
			return err
		}
		patch = map[string]any{"count": count + 1}
	}
	return nil
}
