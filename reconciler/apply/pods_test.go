package apply

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/rights"
)

// podStatuses are statuses as a kubelet and a scheduler write them, and what is told
// of them; "" means that nothing is wrong.
func podStatuses() map[string]struct{ status, says string } {
	return map[string]struct{ status, says string }{
		"an image that is not there": {
			`{"phase":"Pending","containerStatuses":[{"name":"app","state":{"waiting":{"reason":"ImagePullBackOff","message":"Back-off pulling image \"x\""}}}]}`,
			`pod p: container app: ImagePullBackOff: Back-off pulling image "x"`,
		},
		"a program that ends": {
			`{"phase":"Running","containerStatuses":[{"name":"app","restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 40s"}},"lastState":{"terminated":{"exitCode":2,"reason":"Error","message":"hunter2"}}}]}`,
			`pod p: container app: CrashLoopBackOff, ended with exit code 2 (Error)`,
		},
		"one that ended just now": {
			`{"phase":"Running","containerStatuses":[{"name":"app","state":{"terminated":{"exitCode":137,"reason":"OOMKilled"}}}]}`,
			`pod p: container app: ended with exit code 137 (OOMKilled)`,
		},
		"a container that comes before the others": {
			`{"phase":"Pending","initContainerStatuses":[{"name":"init","state":{"waiting":{"reason":"CreateContainerConfigError","message":"secret \"s\" not found"}}}],"containerStatuses":[{"name":"app","state":{"waiting":{"reason":"PodInitializing"}}}]}`,
			`pod p: container init: CreateContainerConfigError: secret "s" not found`,
		},
		"no node for it": {
			`{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/1 nodes are available"}]}`,
			`pod p: Unschedulable: 0/1 nodes are available`,
		},
		"evicted": {`{"phase":"Failed","reason":"Evicted","message":"The node was low on resource"}`, `pod p: Evicted: The node was low on resource`},
		"a probe that fails": {
			`{"phase":"Running","containerStatuses":[{"name":"app","ready":false,"state":{"running":{}}}]}`,
			`pod p: container app runs and is not ready`,
		},
		"started again after it had ended": {
			`{"phase":"Running","containerStatuses":[{"name":"app","ready":true,"state":{"running":{}},"lastState":{"terminated":{"exitCode":1,"reason":"Error"}}}]}`, "",
		},
		"being made": {`{"phase":"Pending","containerStatuses":[{"name":"app","state":{"waiting":{"reason":"ContainerCreating"}}}]}`, `pod p: container app: ContainerCreating`},
		"made again after the node had gone down": {
			`{"phase":"Running","containerStatuses":[{"name":"app","state":{"waiting":{"reason":"ContainerCreating"}},"lastState":{"terminated":{"exitCode":255,"reason":"Unknown"}}}]}`,
			`pod p: container app: ContainerCreating`,
		},
		"not seen by anybody": {`{}`, `pod p: not started yet`},
		"done":                {`{"phase":"Succeeded","containerStatuses":[{"name":"app","state":{"terminated":{"exitCode":0,"reason":"Completed"}}}]}`, ""},
	}
}

func TestAPodSaysWhyItDoesNotRun(t *testing.T) {
	t.Parallel()
	for name, c := range podStatuses() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
			if err := json.Unmarshal([]byte(c.status), &p.Status); err != nil {
				t.Fatal(err)
			}
			said := ""
			if found, is := worstOf([]corev1.Pod{p}); is {
				said = found.String()
			}
			if said != c.says {
				t.Errorf("says %q, want %q", said, c.says)
			}
		})
	}
	at := metav1.Now()
	going := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", DeletionTimestamp: &at}}
	if _, is := worstOf([]corev1.Pod{going}); is {
		t.Error("a pod that goes says why the others do not run")
	}
}

func TestTheWorstPodSpeaksForTheOthers(t *testing.T) {
	t.Parallel()
	pod := func(name string, state corev1.ContainerState) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "app", State: state}}},
		}
	}
	creating := pod("a", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}})
	b := pod("b", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}})
	c := pod("c", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}})
	if t1, _ := worstOf([]corev1.Pod{c, creating, b}); t1.pod != "b" {
		t.Errorf("it is %s", t1)
	}
}

func TestOnlyAWorkloadWithASelectorIsAskedAboutPods(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		apiVersion, kind, selector, want string
	}{
		"labels":          {"apps/v1", "Deployment", `{"matchLabels":{"app":"web"}}`, "app=web"},
		"an expression":   {"apps/v1", "StatefulSet", `{"matchExpressions":[{"key":"app","operator":"Exists"}]}`, "app"},
		"a Job":           {"batch/v1", "Job", `{"matchLabels":{"batch.kubernetes.io/controller-uid":"1"}}`, "batch.kubernetes.io/controller-uid=1"},
		"everything":      {"apps/v1", "Deployment", `{}`, ""},
		"not a selector":  {"apps/v1", "Deployment", `{"matchExpressions":[{"key":"app","operator":"Like"}]}`, ""},
		"a Service":       {"v1", "Service", `{"app":"web"}`, ""},
		"a kind like one": {"apps.example.org/v1", "Deployment", `{"matchLabels":{"app":"web"}}`, ""},
	} {
		var selector map[string]any
		if err := json.Unmarshal([]byte(c.selector), &selector); err != nil {
			t.Fatal(err)
		}
		live := &unstructured.Unstructured{Object: map[string]any{"apiVersion": c.apiVersion, "kind": c.kind, "spec": map[string]any{"selector": selector}}}
		if got := podsOf(live); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// create makes an object as a kubelet, or whoever it is, would.
func (s *site) create(gvr schema.GroupVersionResource, text string) {
	s.t.Helper()
	var u unstructured.Unstructured
	if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.dynamic.Resource(gvr).Namespace(u.GetNamespace()).Create(s.t.Context(), &u, metav1.CreateOptions{FieldManager: "kubelet"}); err != nil {
		s.t.Fatal(err)
	}
}

var (
	podsResource   = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	eventsResource = schema.GroupVersionResource{Version: "v1", Resource: "events"}
)

// A component that does not become ready stops what depends on it, and the gate says
// why in the words of its pod.
func TestAGateSaysWhyThePodsOfAWorkloadAreNotReady(t *testing.T) { // row H19
	t.Parallel()
	s := newSite(t, "pods")
	m, rules := s.gated()
	says := func(want string) {
		t.Helper()
		s.opts.GateSlice = 1
		_, set := s.passWith(m, rules)
		if got := set.Gates[0].Message; !strings.HasSuffix(got, want) || set.Gates[0].State != GateClosed {
			t.Errorf("the gate says %q, want %q at its end", got, want)
		}
	}
	says("; no pod")
	s.create(schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}, `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"namespace":"pods","name":"default"}}`)
	s.create(podsResource, `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"pods","name":"web-1","labels":{"app":"web"}},"spec":{"containers":[{"name":"app","image":"x"}]}}`)
	says("; pod web-1: not started yet")
	s.create(eventsResource, `{"apiVersion":"v1","kind":"Event","metadata":{"namespace":"pods","name":"e1"},"type":"Warning","reason":"FailedMount","message":"no such volume","lastTimestamp":"2026-01-02T00:00:00Z","involvedObject":{"kind":"Pod","namespace":"pods","name":"web-1"}}`)
	s.create(eventsResource, `{"apiVersion":"v1","kind":"Event","metadata":{"namespace":"pods","name":"e2"},"type":"Warning","reason":"Older","message":"x","lastTimestamp":"2026-01-01T00:00:00Z","involvedObject":{"kind":"Pod","namespace":"pods","name":"web-1"}}`)
	s.create(eventsResource, `{"apiVersion":"v1","kind":"Event","metadata":{"namespace":"pods","name":"e3"},"type":"Warning","reason":"Foreign","message":"x","lastTimestamp":"2026-01-03T00:00:00Z","involvedObject":{"kind":"Pod","namespace":"pods","name":"web-2"}}`)
	says("; pod web-1: FailedMount: no such volume")
	s.setStatus(podsResource, "pods", "web-1", podStatuses()["an image that is not there"].status)
	says(`; pod web-1: container app: ImagePullBackOff: Back-off pulling image "x"`)

	h, err := s.HealthWith(t.Context(), m, Judging{Mode: HealthObserve})
	if err != nil || !strings.Contains(h.Message, "ImagePullBackOff") {
		t.Errorf("%v; health says %q", err, h.Message)
	}
}

// The rights that are generated suffice to ask, and without them the gate says so.
func TestPodsAreAskedWithTheGeneratedRights(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"allowed": "; no pod", "hidden": "; why is not known: the controller may not list its pods"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := newSite(t, name)
			m, rules := admin.gated()
			r, err := rights.Compute(m, rights.Accounts{Factory: name, Namespace: name + "-system", Prefix: "as-", Controller: "controller"}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if name == "hidden" {
				r.Controller.In[name] = slices.DeleteFunc(r.Controller.In[name], func(p rbacv1.PolicyRule) bool { return slices.Contains(p.Resources, "pods") })
			}
			admin.grant(r)
			s := admin.asController()
			s.opts.GateSlice = 1
			s.eventually("the gate says why", func() bool {
				p, err := s.tryPlan(t.Context(), m, plan.Limits{MaxPrune: 25, MaxPrunePercent: 50, Rules: rules})
				if err != nil {
					return false // rights are in force a moment later
				}
				set, err := s.Apply(t.Context(), p)
				return err == nil && strings.HasSuffix(set.Gates[0].Message, want)
			})
		})
	}
}
