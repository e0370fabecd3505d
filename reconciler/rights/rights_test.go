package rights

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"millwright.dev/millwright/render"
)

// declare renders components, in their order, from documents.
func declare(t *testing.T, docs ...string) render.Manifests {
	t.Helper()
	tree := fstest.MapFS{}
	var list []render.Component
	for i := 0; i < len(docs); i += 2 {
		path := "overlays/test/" + docs[i]
		tree[path+"/kustomization.yaml"] = &fstest.MapFile{
			Data: []byte("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [objects.yaml]\n"),
		}
		tree[path+"/objects.yaml"] = &fstest.MapFile{Data: []byte(docs[i+1])}
		list = append(list, render.Component{Name: docs[i], Path: path, Stage: i})
	}
	m, err := render.Render(tree, "overlays/test", list, render.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func accounts() Accounts {
	return Accounts{Factory: "f", Namespace: "millwright-system", Prefix: "millwright-", Controller: "millwright-controller"}
}

func compute(t *testing.T, m render.Manifests, leaving Leaving) Rights {
	t.Helper()
	r, err := Compute(m, accounts(), leaving, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines are the rules of an account, one a line, those of a namespace with it.
func lines(a Account) []string {
	var out []string
	for _, r := range a.Cluster {
		out = append(out, text(r))
	}
	for ns, list := range a.In {
		for _, r := range list {
			out = append(out, ns+": "+text(r))
		}
	}
	slices.Sort(out)
	return out
}

func wantLines(t *testing.T, a Account, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, lines(a)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", a.Name, diff)
	}
}

func doc(apiVersion, kind, namespace, name, rest string) string {
	meta := "name: '" + name + "'"
	if namespace != "" {
		meta += ", namespace: " + namespace
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {%s}\n%s\n---\n", apiVersion, kind, meta, rest)
}

const rbac = "rbac.authorization.k8s.io/v1"

const all = "verbs [create delete get patch]"

func TestAComponentMayTouchItsObjectsByNameAndTheControllerMayLookForThem(t *testing.T) {
	t.Parallel()
	r := compute(t, declare(t, "first",
		doc("v1", "Namespace", "", "a", "")+doc("v1", "ConfigMap", "a", "one", "")+doc("v1", "ConfigMap", "a", "two", "")+
			doc("apps/v1", "Deployment", "a", "one", "")+doc("v1", "Secret", "a", "key", "")+doc("v1", "ConfigMap", "b", "one", ""),
		"second", doc("v1", "ConfigMap", "a", "three", "")), nil)
	wantLines(t, r.Components[0],
		all+` on resources [namespaces] of groups [""] named [a]`,
		"a: "+all+` on resources [configmaps] of groups [""] named [one two]`,
		"a: "+all+` on resources [deployments] of groups [apps] named [one]`,
		"a: "+all+` on resources [secrets] of groups [""] named [key]`,
		"b: "+all+` on resources [configmaps] of groups [""] named [one]`,
	)
	wantLines(t, r.Components[1], "a: "+all+` on resources [configmaps] of groups [""] named [three]`)
	wantLines(t, r.Controller,
		`verbs [list watch] on resources [namespaces] of groups [""]`,
		`a: verbs [list watch] on resources [configmaps] of groups [""]`,
		`a: verbs [list watch] on resources [deployments] of groups [apps]`,
		`a: verbs [list watch] on resources [secrets] of groups [""] named [key]`,
		`a: verbs [list] on resources [events pods] of groups [""]`,
		`b: verbs [list watch] on resources [configmaps] of groups [""]`,
		`millwright-system: verbs [impersonate] on resources [serviceaccounts] of groups [""] named [millwright-first millwright-second]`,
		`millwright-system: verbs [get update] on resources [configmaps] of groups [""] named [millwright-inventory-f.first millwright-inventory-f.second]`,
	)
	if diff := cmp.Diff([]string{"a", "b"}, r.Namespaces); diff != "" {
		t.Error(diff)
	}
}

func TestACustomKindIsFoundByItsDefinitionAndAnyOtherIsUnknown(t *testing.T) {
	t.Parallel()
	definition := doc("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "geese.farm.example.org",
		"spec: {group: farm.example.org, scope: Namespaced, names: {kind: Goose, plural: geese}}")
	goose := doc("farm.example.org/v1", "Goose", "a", "martha", "")
	r := compute(t, declare(t, "kinds", definition, "birds", goose), nil)
	wantLines(t, r.Components[1], "a: "+all+" on resources [geese] of groups [farm.example.org] named [martha]")
	if _, err := Compute(declare(t, "birds", goose), accounts(), nil, nil); !errors.Is(err, ErrUnknownKind) || !strings.Contains(err.Error(), "Goose.farm.example.org a/martha") {
		t.Errorf("a kind that nothing defines: %v", err)
	}
	stolen := strings.ReplaceAll(definition, "group: farm.example.org, scope: Namespaced, names: {kind: Goose", "group: apps, scope: Cluster, names: {kind: Deployment")
	if _, err := Compute(declare(t, "birds", stolen), accounts(), nil, nil); err == nil {
		t.Error("a definition may say where Deployments are served")
	}
}

func TestWhoGrantsRightsHoldsTheirUnion(t *testing.T) {
	t.Parallel()
	const rules = "rules: [{apiGroups: [''], resources: [pods, pods/log], verbs: [get, list]}, {nonResourceURLs: [/metrics], verbs: [get]}]"
	const inNamespace = "rules: [{apiGroups: [''], resources: [pods], verbs: [get, watch]}]"
	const subjects = "subjects: [{kind: ServiceAccount, name: x, namespace: a}]\n"
	m := declare(t,
		"roles", doc(rbac, "ClusterRole", "", "reader", rules)+doc(rbac, "Role", "a", "watcher", inNamespace),
		"bindings", doc(rbac, "RoleBinding", "a", "r", subjects+"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}")+
			doc(rbac, "RoleBinding", "a", "w", subjects+"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: watcher}"),
		"foreign", doc(rbac, "ClusterRoleBinding", "", "v", subjects+"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}"),
	)
	r := compute(t, m, nil)
	wantLines(t, r.Components[0],
		all+" on resources [clusterroles] of groups [rbac.authorization.k8s.io] named [reader]",
		`verbs [get list] on resources [pods pods/log] of groups [""]`,
		"verbs [get] on paths [/metrics]",
		"a: "+all+" on resources [roles] of groups [rbac.authorization.k8s.io] named [watcher]",
		`a: verbs [watch] on resources [pods] of groups [""]`, // get is held everywhere
	)
	wantLines(t, r.Components[1],
		"a: "+all+" on resources [rolebindings] of groups [rbac.authorization.k8s.io] named [r w]",
		`a: verbs [get list watch] on resources [pods] of groups [""]`,
		`a: verbs [get list] on resources [pods/log] of groups [""]`,
		"a: verbs [get] on paths [/metrics]",
	)
	wantLines(t, r.Components[2],
		all+" on resources [clusterrolebindings] of groups [rbac.authorization.k8s.io] named [v]",
		"verbs [bind] on resources [clusterroles] of groups [rbac.authorization.k8s.io] named [view]",
	)
	if f := r.Components[2].Findings; len(f) != 1 || f[0].Kind != FindingBind {
		t.Errorf("findings: %v", f)
	}
}

func TestWhatAReviewerHasToSeeIsFound(t *testing.T) {
	t.Parallel()
	const ref = "\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}"
	role := doc(rbac, "ClusterRole", "", "r", "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]")
	for name, c := range map[string]struct{ doc, kind, detail string }{
		"a wildcard":                  {doc(rbac, "ClusterRole", "", "w", "rules: [{apiGroups: ['*'], resources: [pods], verbs: [get]}]"), FindingWildcard, "groups [*]"},
		"a role that others add to":   {doc(rbac, "ClusterRole", "", "w", "aggregationRule: {clusterRoleSelectors: []}"), FindingAggregated, "every right there is"},
		"a role that grants escalate": {doc(rbac, "ClusterRole", "", "w", "rules: [{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [escalate]}]"), FindingEscalate, "given to nobody"},
		"D21 a role that impersonates": {
			doc(rbac, "ClusterRole", "", "w", "rules: [{apiGroups: [''], resources: [users], verbs: [impersonate]}]"), FindingPower,
			"impersonate on users",
		},
		"D21 a binding of the controller's account": {
			role + doc(rbac, "ClusterRoleBinding", "", "b",
				"subjects: [{kind: ServiceAccount, name: millwright-controller, namespace: millwright-system}]"+ref), FindingSelf, "ServiceAccount millwright-controller",
		},
		"D21 the same by its user name": {
			role + doc(rbac, "ClusterRoleBinding", "", "b",
				"subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: 'system:serviceaccount:millwright-system:millwright-x'}]"+ref), FindingSelf, "millwright-x",
		},
		"D21 the same by its group": {
			role + doc(rbac, "RoleBinding", "a", "b",
				"subjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: 'system:serviceaccounts'}]"+ref), FindingSelf, "system:serviceaccounts",
		},
		"D21 a thing beside the controller": {doc("v1", "ConfigMap", "millwright-system", "trusted-root", ""), FindingSelf, "lives in the namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings := compute(t, declare(t, "one", c.doc), nil).Findings()
			found := slices.ContainsFunc(findings, func(f Finding) bool { return f.Kind == c.kind && strings.Contains(f.Detail, c.detail) })
			if !found {
				t.Errorf("found %v, want %s: %s", findings, c.kind, c.detail)
			}
		})
	}
	t.Run("and nothing where there is nothing", func(t *testing.T) {
		t.Parallel()
		m := declare(t, "one", role+doc(rbac, "ClusterRoleBinding", "", "b", "subjects: [{kind: ServiceAccount, name: x, namespace: a}]"+ref))
		if findings := compute(t, m, nil).Findings(); len(findings) > 0 {
			t.Errorf("found %v", findings)
		}
	})
}

func TestAnAccountThatReachesAnotherComponentsObjectsIsFound(t *testing.T) {
	t.Parallel()
	m := declare(t,
		"greedy", doc(rbac, "ClusterRole", "", "editor", "rules: [{apiGroups: [''], resources: [configmaps], verbs: [get, update]}]"),
		"modest", doc(rbac, "ClusterRole", "", "reader", "rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]"),
		"other", doc("v1", "ConfigMap", "a", "b", "")+doc("v1", "ConfigMap", "a", "c", ""))
	r := compute(t, m, nil)
	want := []Finding{{FindingReach, "component other", "the rights that greedy grants let its account write 2 objects of it, first ConfigMap a/b"}}
	if diff := cmp.Diff(want, r.Findings()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNobodyIsGivenEscalate(t *testing.T) {
	t.Parallel()
	r := compute(t, declare(t, "one", doc(rbac, "ClusterRole", "", "w",
		"rules: [{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [get, escalate]}]")), nil)
	for _, line := range lines(r.Components[0]) {
		if strings.Contains(line, "escalate") {
			t.Error(line)
		}
	}
}

func TestTheControllerMaySeeWhetherAWebhookIsAnswered(t *testing.T) {
	t.Parallel()
	r := compute(t, declare(t, "one", doc("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "", "w",
		"webhooks: [{name: a, clientConfig: {service: {name: s, namespace: hooks}}}, {name: b, clientConfig: {url: 'https://x'}}]")), nil)
	if want := "hooks: verbs [list] on resources [endpointslices] of groups [discovery.k8s.io]"; !slices.Contains(lines(r.Controller), want) {
		t.Errorf("no %q among %q", want, lines(r.Controller))
	}
}

func TestWhatLeavesMayBeDeletedAndNoMore(t *testing.T) {
	t.Parallel()
	before := declare(t, "one", doc("v1", "ConfigMap", "a", "kept", "")+doc("v1", "ConfigMap", "a", "dropped", ""), "gone", doc("v1", "Service", "a", "s", ""))
	r := compute(t, declare(t, "one", doc("v1", "ConfigMap", "a", "kept", "")), before.Objects())
	wantLines(t, r.Components[0],
		"a: "+all+` on resources [configmaps] of groups [""] named [kept]`,
		`a: verbs [delete get] on resources [configmaps] of groups [""] named [dropped]`,
	)
	wantLines(t, r.Components[1], `a: verbs [delete get] on resources [services] of groups [""] named [s]`)
	if !slices.Contains(lines(r.Controller), `a: verbs [list watch] on resources [configmaps services] of groups [""]`) {
		t.Errorf("the controller may not look for what leaves: %q", lines(r.Controller))
	}
}

func TestAComponentIsNotTheController(t *testing.T) {
	t.Parallel()
	if _, err := Compute(declare(t, "controller", doc("v1", "ConfigMap", "a", "b", "")), accounts(), nil, nil); !errors.Is(err, ErrAccounts) {
		t.Errorf("got %v", err)
	}
}

func TestMergingGivesExactlyWhatWentIn(t *testing.T) {
	t.Parallel()
	for name, in := range map[string][]rbacv1.PolicyRule{
		"names and all names": {
			{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a", "b"}},
			{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"pods"}},
		},
		"names that look like two": {
			{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a b"}},
			{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"services"}, ResourceNames: []string{"a", "b"}},
		},
		"groups with different resources": {
			{Verbs: []string{"get"}, APIGroups: []string{"x"}, Resources: []string{"a", "b"}},
			{Verbs: []string{"get"}, APIGroups: []string{"y"}, Resources: []string{"a"}},
		},
		"paths": {{Verbs: []string{"get"}, NonResourceURLs: []string{"/a", "/b"}}, {Verbs: []string{"post"}, NonResourceURLs: []string{"/b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := map[permission]bool{}
			for _, p := range permissions(in) {
				set[p] = true
			}
			again := map[permission]bool{}
			for _, p := range permissions(rules(set)) {
				again[p] = true
			}
			if diff := cmp.Diff(set, again, cmp.AllowUnexported(permission{})); diff != "" {
				t.Errorf("-in +out:\n%s", diff)
			}
		})
	}
}

func TestWhatIsCoveredIsLeftOut(t *testing.T) {
	t.Parallel()
	pods := permission{verb: "get", resource: "pods"}
	for name, c := range map[string]struct {
		by, of permission
		want   bool
	}{
		"a name by all names":             {pods, permission{verb: "get", resource: "pods", name: "a"}, true},
		"all names by a name":             {permission{verb: "get", resource: "pods", name: "a"}, pods, false},
		"a verb by all verbs":             {permission{verb: "*", resource: "pods"}, pods, true},
		"a resource by all":               {permission{verb: "get", resource: "*"}, permission{verb: "get", resource: "pods/log"}, true},
		"a subresource by its resource":   {pods, permission{verb: "get", resource: "pods/log"}, false},
		"a subresource by all such":       {permission{verb: "get", resource: "*/log"}, permission{verb: "get", resource: "pods/log"}, true},
		"another group":                   {permission{verb: "get", group: "apps", resource: "pods"}, pods, false},
		"a path by its prefix":            {permission{verb: "get", url: "/a/*"}, permission{verb: "get", url: "/a/b"}, true},
		"a path by another":               {permission{verb: "get", url: "/a"}, permission{verb: "get", url: "/a/b"}, false},
		"a path by every resource":        {permission{verb: "*", group: "*", resource: "*"}, permission{verb: "get", url: "/a"}, false},
		"a resource by every path":        {permission{verb: "*", url: "*"}, pods, false},
		"itself is not what is left over": {pods, pods, true},
	} {
		if got := c.by.covers(c.of); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	twice := map[permission]bool{{verb: "get", url: "/x*"}: true, {verb: "get", url: "/x**"}: true}
	if got := minimal(twice, nil); len(got) != 1 {
		t.Errorf("of two spellings of one thing %d stay", len(got))
	}
}
