package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/health"
)

// HealthMode says how much health can be known in an environment.
type HealthMode string

const (
	// HealthObserve is for clusters whose objects report their status (kstatus).
	HealthObserve HealthMode = "Observe"
	// HealthUnknown is for an API server without nodes and controllers: nobody
	// reports whether workloads are ready, and only definitions are checked.
	HealthUnknown HealthMode = "Unknown"
)

// Verdict sums health up.
type Verdict string

// The verdicts, from best to worst.
const (
	Ready      Verdict = "Ready"
	Unknown    Verdict = "Unknown"
	InProgress Verdict = "InProgress"
	Unhealthy  Verdict = "Failed"
)

// Reasons of a verdict other than Ready.
const (
	ReasonNoWorkloadController = "NoWorkloadController"
	ReasonProgressing          = "Progressing"
	ReasonHealthCheckFailed    = "HealthCheckFailed"
)

// Tally counts the objects of one component by verdict.
type Tally struct {
	Ready, InProgress, Failed, Unknown int
}

// ObjectHealth is one object that is not Ready.
type ObjectHealth struct {
	ID      render.ID
	Verdict Verdict
	Message string

	pods string // selects those of a workload
}

// Health is the health of a factory at one time.
type Health struct {
	Verdict Verdict
	// Reason is CamelCase and stable; Message is for people.
	Reason, Message string
	Components      map[string]Tally
	// NotReady names the first objects that are not Ready, in stable order.
	NotReady []ObjectHealth
}

const maxNotReady = 20

// check judges objects of a custom kind.
type check = health.Check

// Judging says how health is judged.
type Judging struct {
	Mode HealthMode
	// Why says on behalf of the environment why health cannot be known, where the
	// mode is HealthUnknown.
	Why string
	// Checks judge objects of custom kinds, by component.
	Checks map[string][]health.Check

	// uid of an object that this run has made: what is recorded of it is older.
	uid func(render.ID) string
}

// Health is [Engine.HealthWith] without expressions for custom kinds.
func (e *Engine) Health(ctx context.Context, m render.Manifests, mode HealthMode, why string) (Health, error) {
	return e.HealthWith(ctx, m, Judging{Mode: mode, Why: why})
}

// HealthWith reads the objects that have a state of their own: definitions,
// namespaces, workloads, custom resources. Everything else is healthy by
// being there.
func (e *Engine) HealthWith(ctx context.Context, m render.Manifests, j Judging) (Health, error) {
	return e.judgeAll(ctx, m.Objects(), j)
}

func (e *Engine) judgeAll(ctx context.Context, objects []render.Object, j Judging) (Health, error) {
	var ask []render.Object
	h := Health{Components: map[string]Tally{}}
	definitions, err := e.definitions(ctx, objects, j)
	if err != nil {
		return Health{}, fmt.Errorf("reading the health of definitions: %w", err)
	}
	for _, o := range objects {
		switch {
		case plan.IsDefinition(o.ID()):
			h.add(o, definitions[o.ID().Name])
		case !hasState(o.ID()) && !checked(o, j.Checks[o.Component()]):
			h.add(o, ObjectHealth{Verdict: Ready})
		case j.Mode == HealthUnknown && !plan.IsNamespace(o.ID()):
			h.add(o, ObjectHealth{Verdict: Unknown, Message: clean(j.Why)})
		default:
			ask = append(ask, o)
		}
	}
	ask, err = e.listNamespaces(ctx, ask, j, &h)
	if err == nil {
		err = e.askAll(ctx, ask, j, &h)
	}
	if err != nil {
		return Health{}, fmt.Errorf("reading the health of objects: %w", err)
	}
	h.sort()
	e.explainPods(ctx, &h)
	h.conclude()
	return h, nil
}

func checked(o render.Object, checks []check) bool {
	return slices.ContainsFunc(checks, func(c check) bool { return c.For(o.APIVersion(), o.ID().Kind) })
}

func (h *Health) add(o render.Object, x ObjectHealth) {
	t := h.Components[o.Component()]
	switch x.Verdict {
	case Ready:
		t.Ready++
	case InProgress:
		t.InProgress++
	case Unhealthy:
		t.Failed++
	default:
		t.Unknown++
	}
	h.Components[o.Component()] = t
	if x.Verdict != Ready {
		x.ID = o.ID()
		h.NotReady = append(h.NotReady, x)
	}
}

// sort puts the worst first.
func (h *Health) sort() {
	rank := []Verdict{Unhealthy, InProgress, Unknown}
	slices.SortStableFunc(h.NotReady, func(a, b ObjectHealth) int {
		if c := slices.Index(rank, a.Verdict) - slices.Index(rank, b.Verdict); c != 0 {
			return c
		}
		return strings.Compare(plan.Name(a.ID), plan.Name(b.ID))
	})
}

// conclude takes the worst verdict, which is the first.
func (h *Health) conclude() {
	if len(h.NotReady) == 0 {
		h.Verdict = Ready
		return
	}
	worst := h.NotReady[0]
	count := 0
	for _, x := range h.NotReady {
		if x.Verdict == worst.Verdict {
			count++
		}
	}
	h.Verdict = worst.Verdict
	switch worst.Verdict {
	case Unhealthy:
		h.Reason = ReasonHealthCheckFailed
	case InProgress:
		h.Reason = ReasonProgressing
	default:
		h.Reason = ReasonNoWorkloadController
	}
	h.Message = fmt.Sprintf("%d objects, first %s: %s", count, plan.Name(worst.ID), worst.Message)
	h.NotReady = h.NotReady[:min(len(h.NotReady), maxNotReady)]
}

// hasState says whether an object of a kind can be there and yet not work.
func hasState(id render.ID) bool {
	switch id.Group {
	case "":
		switch id.Kind {
		case "Namespace", "Pod", "PersistentVolumeClaim", "ReplicationController", "Service":
			return true
		}
		return false
	case "apps", "batch", "policy", "apiregistration.k8s.io":
		return true
	}
	return strings.Contains(id.Group, ".") && !strings.HasSuffix(id.Group, ".k8s.io")
}

// listNamespaces judges namespaces, of which there are many in a factory and few in a
// cluster beside those, from one list, and returns what is left to be asked for.
func (e *Engine) listNamespaces(ctx context.Context, objects []render.Object, j Judging, h *Health) ([]render.Object, error) {
	const most = 2 // that are asked for one by one
	var namespaces, others []render.Object
	for _, o := range objects {
		if plan.IsNamespace(o.ID()) {
			namespaces = append(namespaces, o)
		} else {
			others = append(others, o)
		}
	}
	if len(namespaces) <= most {
		return objects, nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	list, err := e.dynamic.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).List(ctx, metav1.ListOptions{})
	if unreachable(err) {
		return nil, err
	}
	if err != nil {
		return objects, nil // each says for itself what is wrong
	}
	live := map[string]*unstructured.Unstructured{}
	for i := range list.Items {
		live[list.Items[i].GetName()] = &list.Items[i]
	}
	for _, o := range namespaces {
		if u := live[o.ID().Name]; u != nil {
			h.add(o, judgeLive(u, j.Checks[o.Component()]))
		} else {
			h.add(o, ObjectHealth{Verdict: InProgress, Message: "not there"})
		}
	}
	return others, nil
}

func (e *Engine) askAll(ctx context.Context, objects []render.Object, j Judging, h *Health) error {
	var mu sync.Mutex
	var away error
	each(e.opts.Concurrency, objects, func(o render.Object) {
		x, err := e.ask(ctx, o, j.Checks[o.Component()])
		mu.Lock()
		defer mu.Unlock()
		if unreachable(err) {
			away = err
		}
		h.add(o, x)
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	return away
}

func (e *Engine) ask(ctx context.Context, o render.Object, checks []check) (ObjectHealth, error) {
	r, err := e.served.lookup(ctx, o.APIVersion(), o.ID().Kind)
	if err != nil {
		return ObjectHealth{Verdict: Unknown, Message: explain(err, o.ID()).message}, err
	}
	client, err := e.objectOf(o.Component(), r, o.ID())
	if err != nil {
		return ObjectHealth{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	live, err := client.Get(ctx, o.ID().Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ObjectHealth{Verdict: InProgress, Message: "not there"}, nil
	}
	if err != nil {
		return ObjectHealth{Verdict: Unknown, Message: explain(err, o.ID()).message}, err
	}
	return judgeLive(live, checks), nil
}

// judgeLive asks the expressions of the factory where there are some for the
// kind, and kstatus otherwise.
func judgeLive(live *unstructured.Unstructured, checks []check) ObjectHealth {
	for _, c := range checks {
		if !c.For(live.GetAPIVersion(), live.GetKind()) {
			continue
		}
		verdict, message := c.Judge(live.Object)
		switch verdict {
		case health.Current:
			return ObjectHealth{Verdict: Ready}
		case health.Failed:
			return ObjectHealth{Verdict: Unhealthy, Message: message}
		default:
			return ObjectHealth{Verdict: InProgress, Message: message}
		}
	}
	result, err := status.Compute(live)
	if err != nil {
		return ObjectHealth{Verdict: Unknown, Message: clean(err.Error())}
	}
	x := ObjectHealth{Message: clean(result.Message), pods: podsOf(live)}
	switch result.Status {
	case status.CurrentStatus:
		x.Verdict = Ready
	case status.FailedStatus:
		x.Verdict = Unhealthy
	case status.InProgressStatus, status.TerminatingStatus, status.NotFoundStatus:
		x.Verdict = InProgress
	default:
		x.Verdict = Unknown
	}
	return x
}
