package rights

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// permission is the smallest thing that RBAC can give: one verb on one resource,
// under one name or (with no name) under all, or on one path.
type permission struct {
	verb, group, resource, name string
	url                         string
}

// covers says whether who holds p may do q, as the API server sees it.
func (p permission) covers(q permission) bool {
	if p.verb != rbacv1.VerbAll && p.verb != q.verb {
		return false
	}
	if p.url != "" || q.url != "" {
		return coversURL(p.url, q.url)
	}
	return (p.group == rbacv1.APIGroupAll || p.group == q.group) &&
		coversResource(p.resource, q.resource) && (p.name == "" || p.name == q.name)
}

func coversURL(p, q string) bool {
	prefix, wild := strings.CutSuffix(p, "*")
	return p != "" && q != "" && (p == q || wild && strings.HasPrefix(q, prefix))
}

func coversResource(p, q string) bool {
	if p == rbacv1.ResourceAll || p == q {
		return true
	}
	sub, wild := strings.CutPrefix(p, "*/")
	_, of, found := strings.Cut(q, "/")
	return wild && found && sub == of
}

// permissions breaks rules down to what they give.
func permissions(rules []rbacv1.PolicyRule) []permission {
	var out []permission
	for _, r := range rules {
		names := r.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range r.Verbs {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, name := range names {
						out = append(out, permission{verb: verb, group: group, resource: resource, name: name})
					}
				}
			}
			for _, url := range r.NonResourceURLs {
				out = append(out, permission{verb: verb, url: url})
			}
		}
	}
	return out
}

// holding gathers what one account needs: under "" what it needs everywhere,
// else what it needs in a namespace.
type holding struct {
	in       map[string]map[permission]bool
	findings map[Finding]bool
}

func newHolding() *holding {
	return &holding{in: map[string]map[permission]bool{}, findings: map[Finding]bool{}}
}

func (h *holding) add(namespace string, all ...permission) {
	for _, p := range all {
		if h.in[namespace] == nil {
			h.in[namespace] = map[permission]bool{}
		}
		h.in[namespace][p] = true
	}
}

// minimal drops what something else in the set, or what is held everywhere,
// covers already.
func minimal(set, everywhere map[permission]bool) map[permission]bool {
	out := map[permission]bool{}
	covered := func(p permission, by map[permission]bool) bool {
		for q := range by {
			// Two spellings of one thing cover each other: one of them stays.
			if q != p && q.covers(p) && (!p.covers(q) || comparePermissions(q, p) < 0) {
				return true
			}
		}
		return false
	}
	for p := range set {
		if !covered(p, set) && !everywhere[p] && !covered(p, everywhere) {
			out[p] = true
		}
	}
	return out
}

func (h *holding) account(namespace, name string) Account {
	a := Account{Name: name, Namespace: namespace, In: map[string][]rbacv1.PolicyRule{}}
	everywhere := minimal(h.in[""], nil)
	a.Cluster = rules(everywhere)
	for ns, set := range h.in {
		if ns == "" {
			continue
		}
		if r := rules(minimal(set, everywhere)); len(r) > 0 {
			a.In[ns] = r
		}
	}
	a.Findings = slices.SortedFunc(maps.Keys(h.findings), compareFindings)
	return a
}

// rules merges permissions into the fewest rules that give exactly them: what
// has the same verbs under the same names shares a rule.
func rules(set map[permission]bool) []rbacv1.PolicyRule {
	type place struct{ url, group, resource, name string }
	verbs := map[place][]string{}
	for p := range set {
		at := place{p.url, p.group, p.resource, p.name}
		verbs[at] = append(verbs[at], p.verb)
	}
	var out []rbacv1.PolicyRule
	for at, v := range verbs {
		slices.Sort(v)
		if at.url != "" {
			out = append(out, rbacv1.PolicyRule{Verbs: v, NonResourceURLs: []string{at.url}})
			continue
		}
		r := rbacv1.PolicyRule{Verbs: v, APIGroups: []string{at.group}, Resources: []string{at.resource}}
		if at.name != "" {
			r.ResourceNames = []string{at.name}
		}
		out = append(out, r)
	}
	for _, field := range []func(*rbacv1.PolicyRule) *[]string{
		func(r *rbacv1.PolicyRule) *[]string { return &r.NonResourceURLs },
		func(r *rbacv1.PolicyRule) *[]string { return &r.ResourceNames },
		func(r *rbacv1.PolicyRule) *[]string { return &r.Resources },
		func(r *rbacv1.PolicyRule) *[]string { return &r.APIGroups },
	} {
		out = merge(out, field)
	}
	slices.SortFunc(out, compareRules)
	return out
}

// merge joins rules that differ in one field only. A rule without names is for
// all names, and is never joined with one that has some.
func merge(in []rbacv1.PolicyRule, field func(*rbacv1.PolicyRule) *[]string) []rbacv1.PolicyRule {
	var order []string
	joined := map[string]*rbacv1.PolicyRule{}
	slices.SortFunc(in, compareRules)
	for _, r := range in {
		values := *field(&r)
		rest := r
		*field(&rest) = nil
		key := fmt.Sprintf("%q %t", rest, len(values) == 0)
		if joined[key] == nil {
			joined[key] = &r
			order = append(order, key)
			continue
		}
		all := slices.Concat(*field(joined[key]), values)
		slices.Sort(all)
		*field(joined[key]) = slices.Compact(all)
	}
	out := make([]rbacv1.PolicyRule, 0, len(order))
	for _, key := range order {
		out = append(out, *joined[key])
	}
	return out
}

func compareRules(a, b rbacv1.PolicyRule) int {
	return cmp.Or(
		slices.Compare(a.NonResourceURLs, b.NonResourceURLs), slices.Compare(a.APIGroups, b.APIGroups),
		slices.Compare(a.Resources, b.Resources), slices.Compare(a.ResourceNames, b.ResourceNames), slices.Compare(a.Verbs, b.Verbs),
	)
}

func comparePermissions(a, b permission) int {
	return cmp.Or(
		strings.Compare(a.url, b.url), strings.Compare(a.group, b.group), strings.Compare(a.resource, b.resource),
		strings.Compare(a.name, b.name), strings.Compare(a.verb, b.verb),
	)
}

// text is a rule on one line.
func text(r rbacv1.PolicyRule) string {
	out := "verbs [" + strings.Join(r.Verbs, " ") + "]"
	if len(r.NonResourceURLs) > 0 {
		out += " on paths [" + strings.Join(r.NonResourceURLs, " ") + "]"
	}
	if len(r.Resources) > 0 || len(r.APIGroups) > 0 {
		groups := slices.Clone(r.APIGroups)
		for i, g := range groups {
			if g == "" {
				groups[i] = `""`
			}
		}
		out += " on resources [" + strings.Join(r.Resources, " ") + "] of groups [" + strings.Join(groups, " ") + "]"
	}
	if len(r.ResourceNames) > 0 {
		out += " named [" + strings.Join(r.ResourceNames, " ") + "]"
	}
	return out
}
