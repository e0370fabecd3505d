package apply

import (
	"context"
	"errors"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// mutator is a mutating webhook or admission policy: its name and what it may
// change. Selectors and conditions are not looked at: it is asked only whether
// an answer has to be read, never what is in it.
type mutator struct {
	name  string
	rules []mutatorRule
}

type mutatorRule struct{ groups, resources []string }

func (m mutator) mayChange(r Resource) bool {
	for _, rule := range m.rules {
		group := slices.Contains(rule.groups, "*") || slices.Contains(rule.groups, r.Group)
		named := slices.Contains(rule.resources, "*") || slices.Contains(rule.resources, "*/*") || slices.Contains(rule.resources, r.GroupVersionResource.Resource)
		if group && named {
			return true
		}
	}
	return false
}

// mutators are those of the cluster at the time of one observation or one
// application. They are asked for once, and only if an object is written or
// compared at all.
type mutators struct {
	once sync.Once
	all  []mutator
	// unknown says that they could not be read, so that every answer is.
	unknown bool
}

const (
	mutatingWebhooks = "MutatingWebhookConfiguration"
	mutatingPolicies = "MutatingAdmissionPolicy"
)

// of names those that may change objects of a resource.
func (m *mutators) of(ctx context.Context, e *Engine, r Resource) []string {
	m.once.Do(func() {
		for _, kind := range []string{mutatingWebhooks, mutatingPolicies} {
			m.load(ctx, e, kind)
		}
	})
	var names []string
	if m.unknown {
		names = append(names, "unknown, since mutating webhooks or policies cannot be listed")
	}
	for _, x := range m.all {
		if x.mayChange(r) {
			names = append(names, x.name)
		}
	}
	return names
}

func (m *mutators) load(ctx context.Context, e *Engine, kind string) {
	r, err := e.served.lookup(ctx, "admissionregistration.k8s.io/v1", kind)
	if errors.Is(err, ErrNotServed) {
		return
	}
	if err != nil {
		m.unknown = true
		return
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	// What the API server has in its cache will do: a list of this moment waits
	// there for up to a tenth of a second if nothing of the kind has happened lately.
	// One that is only being registered is found by the next look.
	list, err := e.dynamic.Resource(r.GroupVersionResource).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		m.unknown = true
		return
	}
	for i := range list.Items {
		m.all = append(m.all, mutatorsIn(kind, &list.Items[i])...)
	}
}

// mutatorsIn reads one configuration.
func mutatorsIn(kind string, o *unstructured.Unstructured) []mutator {
	if kind == mutatingPolicies {
		rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "matchConstraints", "resourceRules")
		return []mutator{{name: kind + " " + o.GetName(), rules: mutatorRules(rules)}}
	}
	hooks, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
	var out []mutator
	for _, h := range hooks {
		hook, _ := h.(map[string]any)
		name, _ := hook["name"].(string)
		rules, _ := hook["rules"].([]any)
		out = append(out, mutator{name: kind + " " + o.GetName() + " (" + name + ")", rules: mutatorRules(rules)})
	}
	return out
}

func mutatorRules(in []any) []mutatorRule {
	out := make([]mutatorRule, 0, len(in))
	for _, r := range in {
		rule, _ := r.(map[string]any)
		groups, _, _ := unstructured.NestedStringSlice(rule, "apiGroups")
		resources, _, _ := unstructured.NestedStringSlice(rule, "resources")
		out = append(out, mutatorRule{groups, resources})
	}
	return out
}
