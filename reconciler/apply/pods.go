package apply

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/reconciler/rights"
	"millwright.dev/millwright/render"
)

// A workload says how many of its pods are ready, but its pods say why the others
// are not: an image that is not there, a program that ends, a volume that cannot be
// mounted, an admission that refuses. This file asks them, for the one object that a
// verdict names, and what it finds is told beside the verdict and decides nothing.

// maxPods and maxEvents bound what is read for one reason.
const (
	maxPods   = 50
	maxEvents = 50
)

// podsOf is the selector of a workload's pods; "" for what has none, or names none.
func podsOf(live *unstructured.Unstructured) string {
	gvk := live.GroupVersionKind()
	if !rights.RunsPods(render.ID{Group: gvk.Group, Kind: gvk.Kind}) {
		return ""
	}
	raw, found, err := unstructured.NestedMap(live.Object, "spec", "selector")
	if err != nil || !found {
		return ""
	}
	var s metav1.LabelSelector
	if runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &s) != nil {
		return ""
	}
	selector, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil || selector.Empty() {
		return "" // an empty one means all pods of the namespace
	}
	return selector.String()
}

// explainPods adds to the first object that is not ready what its pods say.
func (e *Engine) explainPods(ctx context.Context, h *Health) {
	if len(h.NotReady) == 0 || h.NotReady[0].pods == "" {
		return
	}
	first := &h.NotReady[0]
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	if why := e.podsSay(ctx, first.ID, first.pods); why != "" {
		first.Message = clean(strings.TrimPrefix(first.Message+"; "+why, "; "))
	}
}

func (e *Engine) podsSay(ctx context.Context, id render.ID, selector string) string {
	list, err := e.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(id.Namespace).
		List(ctx, metav1.ListOptions{LabelSelector: selector, Limit: maxPods})
	switch {
	case apierrors.IsForbidden(err):
		return "why is not known: the controller may not list its pods"
	case err != nil:
		return "" // the verdict stands without it
	}
	pods := make([]corev1.Pod, 0, len(list.Items))
	for _, item := range list.Items {
		var p corev1.Pod
		if runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &p) == nil {
			pods = append(pods, p)
		}
	}
	t, found := worstOf(pods)
	switch {
	case !found && len(pods) > 0:
		return "" // all of them are ready: the workload will say so in a moment
	case !found:
		// A Deployment's are made by its ReplicaSet, whose failure it repeats itself.
		if said := e.warned(ctx, id.Namespace, id.Kind, id.Name); said != "" {
			return "no pod: " + said
		}
		return "no pod"
	case t.rank != starting:
		return t.String()
	}
	if said := e.warned(ctx, id.Namespace, "Pod", t.pod); said != "" {
		return "pod " + t.pod + ": " + said
	}
	return t.String()
}

// warned is the newest warning about an object. Of events nothing is sure but that
// somebody who may write them said so.
func (e *Engine) warned(ctx context.Context, namespace, kind, name string) string {
	about := fields.SelectorFromSet(fields.Set{"involvedObject.kind": kind, "involvedObject.name": name, "type": corev1.EventTypeWarning})
	list, err := e.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "events"}).Namespace(namespace).
		List(ctx, metav1.ListOptions{FieldSelector: about.String(), Limit: maxEvents})
	if err != nil {
		return ""
	}
	var newest corev1.Event
	for _, item := range list.Items {
		var event corev1.Event
		if runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &event) == nil && !seen(event).Before(seen(newest)) {
			newest = event
		}
	}
	if newest.Reason == "" {
		return ""
	}
	return newest.Reason + ": " + newest.Message
}

// seen is when an event was last seen, by whichever of its fields is in use.
func seen(e corev1.Event) time.Time {
	if e.Series != nil {
		return e.Series.LastObservedTime.Time
	}
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

// trouble is what keeps a pod from being ready.
type trouble struct {
	rank      int
	pod, text string
}

// Ranks of trouble: what will not mend itself comes first.
const (
	stuck = iota
	unscheduled
	starting
	unready
)

func (t trouble) String() string { return "pod " + t.pod + ": " + t.text }

// worstOf is the worst trouble of some pods, of the first pod that has it.
func worstOf(pods []corev1.Pod) (trouble, bool) {
	var all []trouble
	for i := range pods {
		if t, found := troubleOf(&pods[i]); found {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return trouble{}, false
	}
	return slices.MinFunc(all, func(a, b trouble) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.pod, b.pod))
	}), true
}

func troubleOf(p *corev1.Pod) (trouble, bool) {
	if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded {
		return trouble{}, false // what it said was about the one before
	}
	if p.Status.Phase == corev1.PodFailed && p.Status.Reason != "" { // Evicted, for one
		return trouble{stuck, p.Name, p.Status.Reason + ": " + p.Status.Message}, true
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if text := whyNot(c); text != "" {
			return trouble{stuck, p.Name, "container " + c.Name + ": " + text}, true
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return trouble{unscheduled, p.Name, c.Reason + ": " + c.Message}, true
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Waiting != nil {
			return trouble{starting, p.Name, "container " + c.Name + ": " + c.State.Waiting.Reason}, true
		}
		if c.State.Running != nil && !c.Ready {
			return trouble{unready, p.Name, "container " + c.Name + " runs and is not ready"}, true
		}
	}
	if len(p.Status.ContainerStatuses) == 0 {
		return trouble{starting, p.Name, "not started yet"}, true
	}
	return trouble{}, false
}

// whyNot says why a container does not run, "" if it does or is about to. What the
// program itself said is left out: nobody knows what is in it.
func whyNot(c corev1.ContainerStatus) string {
	ended := ""
	if t := cmp.Or(c.State.Terminated, c.LastTerminationState.Terminated); t != nil && t.ExitCode != 0 {
		ended = fmt.Sprintf("ended with exit code %d (%s)", t.ExitCode, t.Reason)
	}
	if w := c.State.Waiting; w != nil {
		if w.Reason == "ContainerCreating" || w.Reason == "PodInitializing" {
			return "" // whatever it was before
		}
		if ended != "" { // that it is started again later is no news beside it
			return w.Reason + ", " + ended
		}
		return strings.TrimSuffix(w.Reason+": "+w.Message, ": ")
	}
	if c.State.Running != nil {
		return "" // it was started again
	}
	return ended
}
