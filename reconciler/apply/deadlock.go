package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// deadlocks remembers what was found out about webhooks that did not answer, so
// that a thousand refused writes ask only once.
type deadlocks struct {
	mu    sync.Mutex
	known map[string]callee
}

// callee is one webhook of a configuration, and whether what it calls is ours
// and does not run.
type callee struct {
	config             render.ID
	namespace, service string
	ours               bool
	ready              bool
}

// holds says whether a configuration was found to be in a deadlock. A change of
// it is the way out, and waits for no gate.
func (d *deadlocks) holds(id render.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.known {
		if w.config == id && w.ours && !w.ready {
			return true
		}
	}
	return false
}

// explain sorts an error. Where a webhook did not answer, it finds out which
// configuration that is of and whom it calls (H05).
func (r *run) explain(ctx context.Context, err error, c plan.Change) failure {
	f := explain(err, c.ID)
	if f.reason != ReasonWebhookUnavailable {
		return f
	}
	name := webhookNamed(f.message)
	w, found := r.callee(ctx, name)
	if !found {
		return f
	}
	what := fmt.Sprintf("webhook %s of %s", name, plan.Name(w.config))
	switch {
	case w.service == "":
		f.message = clean(what + " could not be called: " + f.message)
	case w.ours && !w.ready:
		f.reason = ReasonWebhookDeadlock
		f.message = clean(fmt.Sprintf("%s is fail-closed and calls Service %s/%s, which is of this factory and has no ready endpoint; "+
			"set its failurePolicy to Ignore in a signed commit until it runs", what, w.namespace, w.service))
	default:
		f.message = clean(fmt.Sprintf("%s could not be called at Service %s/%s: %s", what, w.namespace, w.service, f.message))
	}
	return f
}

// webhookNamed reads the name out of the API server's words: failed calling
// webhook "name": …
func webhookNamed(message string) string {
	_, rest, _ := strings.Cut(message, `failed calling webhook "`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

func (r *run) callee(ctx context.Context, name string) (callee, bool) {
	r.deadlocks.mu.Lock()
	defer r.deadlocks.mu.Unlock()
	if w, known := r.deadlocks.known[name]; known || name == "" {
		return w, known
	}
	w, found := r.engine.findWebhook(ctx, name)
	if !found {
		return callee{}, false
	}
	if w.service != "" {
		w.ours = r.serves(ctx, w)
		w.ready = r.engine.hasEndpoints(ctx, w)
	}
	if r.deadlocks.known == nil {
		r.deadlocks.known = map[string]callee{}
	}
	r.deadlocks.known[name] = w
	return w, true
}

// findWebhook looks for the configuration that a webhook is of. What cannot be
// read is not found: then the server's words stand alone.
func (e *Engine) findWebhook(ctx context.Context, name string) (callee, bool) {
	for _, kind := range []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"} {
		ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
		gvr := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: strings.ToLower(kind) + "s"}
		list, err := e.dynamic.Resource(gvr).List(ctx, metav1.ListOptions{})
		cancel()
		if err != nil {
			continue
		}
		for i := range list.Items {
			var c webhookConfiguration
			raw, err := json.Marshal(list.Items[i].Object["webhooks"])
			if err != nil || json.Unmarshal(raw, &c.Webhooks) != nil {
				continue
			}
			for _, h := range c.Webhooks {
				if h.Name != name {
					continue
				}
				return callee{
					config:    render.ID{Group: gvr.Group, Kind: kind, Name: list.Items[i].GetName()},
					namespace: h.ClientConfig.Service.Namespace, service: h.ClientConfig.Service.Name,
				}, true
			}
		}
	}
	return callee{}, false
}

// webhookConfiguration is as much of one as is asked for here.
type webhookConfiguration struct {
	Webhooks []struct {
		Name         string `json:"name"`
		ClientConfig struct {
			Service struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"service"`
		} `json:"clientConfig"`
	}
}

// serves says whether what a webhook calls is of this factory: its Service, or a
// workload whose Pods the Service selects.
func (r *run) serves(ctx context.Context, w callee) bool {
	r.mu.Lock()
	_, ours := r.inv.Entries[render.ID{Kind: "Service", Namespace: w.namespace, Name: w.service}]
	var workloads []render.ID
	for id := range r.inv.Entries {
		if id.Group == "apps" && id.Namespace == w.namespace && len(workloads) < maxWorkloads {
			workloads = append(workloads, id)
		}
	}
	r.mu.Unlock()
	if ours {
		return true
	}
	return r.engine.selectsAny(ctx, w, workloads)
}

// maxWorkloads bounds how many workloads are compared with a Service.
const maxWorkloads = 50
