package faultproxy

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"
)

// Request is what a client asks for.
type Request struct {
	// Verb is get, list, watch, create, apply, patch, update or delete; what is
	// about no resource is "other".
	Verb                                          string
	Group, Resource, Subresource, Namespace, Name string
	DryRun                                        bool
	Manager, ResourceVersion, Path                string
	// Token is what [TokenName] makes of the bearer token, empty without one.
	Token string
}

// Write says that the request is to change something.
func (r Request) Write() bool {
	return !r.DryRun && slices.Contains([]string{"create", "apply", "patch", "update", "delete"}, r.Verb)
}

// Object names what the request is about.
func (r Request) Object() string {
	parts := []string{r.Resource, r.Namespace, r.Name, r.Subresource}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// TokenName names a bearer token without telling it.
func TokenName(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

func parse(r *http.Request) Request {
	q := r.URL.Query()
	out := Request{
		Verb: "other", Path: r.URL.Path, DryRun: q.Get("dryRun") != "", Manager: q.Get("fieldManager"),
		ResourceVersion: q.Get("resourceVersion"),
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		out.Token = TokenName(token)
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		out.Group, parts = parts[1], parts[3:]
	default:
		return out
	}
	if parts[0] == "namespaces" && len(parts) >= 3 && parts[2] != "status" && parts[2] != "finalize" {
		out.Namespace, parts = parts[1], parts[2:]
	}
	for i, field := range []*string{&out.Resource, &out.Name, &out.Subresource} {
		if i < len(parts) {
			*field = parts[i]
		}
	}
	out.Verb = verbOf(r, q.Get("watch") == "true" || q.Get("watch") == "1", out.Name)
	return out
}

func verbOf(r *http.Request, watch bool, name string) string {
	switch r.Method {
	case http.MethodGet:
		switch {
		case watch:
			return "watch"
		case name == "":
			return "list"
		}
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodDelete:
		return "delete"
	case http.MethodPatch:
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch") || r.Header.Get("Content-Type") == string(types.ApplyYAMLPatchType) {
			return "apply"
		}
		return "patch"
	}
	return "other"
}

// Rule says which requests meet a fault. What is empty matches everything.
type Rule struct {
	Verbs                     []string
	Resource, Namespace, Name string
	// Where narrows the match further.
	Where func(Request) bool
	// Skip lets the first matching requests through; Times is how many meet the
	// fault after that, all if it is zero.
	Skip, Times int64
	Fault       Fault
}

func (r Rule) matches(q Request) bool {
	switch {
	case len(r.Verbs) > 0 && !slices.Contains(r.Verbs, q.Verb),
		r.Resource != "" && r.Resource != q.Resource,
		r.Namespace != "" && r.Namespace != q.Namespace,
		r.Name != "" && r.Name != q.Name:
		return false
	}
	return r.Where == nil || r.Where(q)
}

// Injected is a rule in force.
type Injected struct {
	rule  Rule
	proxy *Proxy
	// met counts the requests that match, hits those that met the fault.
	met, hits atomic.Int64
}

// Inject puts a rule in force; of several that match, the first one counts.
func (p *Proxy) Inject(rule Rule) *Injected {
	i := &Injected{rule: rule, proxy: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, i)
	return i
}

// Hits says how often the fault happened.
func (i *Injected) Hits() int64 { return i.hits.Load() }

// End takes the rule out of force. Requests that a fault holds go on.
func (i *Injected) End() {
	i.proxy.mu.Lock()
	defer i.proxy.mu.Unlock()
	i.proxy.rules = slices.DeleteFunc(i.proxy.rules, func(other *Injected) bool { return other == i })
}

func (i *Injected) meets(q Request) bool {
	if !i.rule.matches(q) {
		return false
	}
	n := i.met.Add(1)
	return n > i.rule.Skip && (i.rule.Times == 0 || n <= i.rule.Skip+i.rule.Times)
}

func (i *Injected) hit() { i.hits.Add(1) }
