package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/cmd/millwright-policy/internal/policy"
)

// judge runs policies and objects given as YAML.
func judge(t *testing.T, policies, objects string) policy.Verdict {
	t.Helper()
	v, err := Test(t.Context(), request(documents(t, policies), documents(t, objects)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// about is a policy on ConfigMaps with one expression.
func about(name, expression, rest string) string {
	return fmt.Sprintf(`
apiVersion: policies.kyverno.io/v1
kind: ValidatingPolicy
metadata: {name: %s}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  validations:
  - expression: %q
    message: not so
%s`, name, expression, rest)
}

const configMap = `
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: ns}
data: {k: v}
`

func said(v policy.Verdict) []string {
	var all []string
	for _, violation := range v.Violations {
		all = append(all, violation.String())
	}
	return all
}

func TestTheFactorysPoliciesRefuseWhatABadCommitWouldAdd(t *testing.T) {
	for name, c := range map[string]struct{ object, want string }{
		"a token in a Secret": {
			`{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: factory-catalog}, type: kubernetes.io/service-account-token}`,
			"Secret/factory-catalog/s: mw-k15-no-static-credentials (validations[0])",
		},
		"an ordinary Secret": {
			`{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: factory-catalog}}`, "",
		},
		"an account that names a Secret": {
			`{apiVersion: v1, kind: ServiceAccount, metadata: {name: a, namespace: kyverno}, secrets: [{name: s}]}`,
			"ServiceAccount/kyverno/a: mw-k15-no-static-credentials (validations[1])",
		},
		"a Deployment with a privileged container": {
			deployment("tekton-pipelines", `{containers: [{name: c, image: i, securityContext: {privileged: true}}]}`),
			"apps/Deployment/tekton-pipelines/d: mw-k14-privileged-set (validations[2])",
		},
		"a Deployment with a privileged first container": {
			deployment("tekton-pipelines", `{containers: [{name: c, image: i}], initContainers: [{name: x, image: i, securityContext: {privileged: true}}]}`),
			"apps/Deployment/tekton-pipelines/d: mw-k14-privileged-set (validations[2])",
		},
		"a Deployment with a host path": {
			deployment("tekton-chains", `{containers: [{name: c, image: i}], volumes: [{name: v, hostPath: {path: /run}}]}`),
			"apps/Deployment/tekton-chains/d: mw-k14-privileged-set (validations[1])",
		},
		"a Deployment in the host's network": {
			deployment("tekton-chains", `{hostNetwork: true, containers: [{name: c, image: i}]}`),
			"apps/Deployment/tekton-chains/d: mw-k14-privileged-set (validations[0])",
		},
		"the same where the SPIRE agent lives": {
			deployment("spire-system", `{hostNetwork: true, containers: [{name: c, image: i}], volumes: [{name: v, hostPath: {path: /run}}]}`), "",
		},
		"an ordinary Deployment": {
			deployment("tekton-chains", `{containers: [{name: c, image: i, securityContext: {privileged: false}}], volumes: [{name: v, emptyDir: {}}]}`), "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := Test(t.Context(), request(factoryPolicies(t), documents(t, c.object)))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(said(v), "\n")
			if (c.want == "") != (got == "") || !strings.HasPrefix(got, c.want) {
				t.Errorf("said %q, want %q", got, c.want)
			}
		})
	}
}

func deployment(namespace, pod string) string {
	return `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: ` + namespace + `}, spec: {selector: {}, template: {spec: ` + pod + `}}}`
}

func TestAPolicyThatIsNotOneIsInvalidAndSaysWhy(t *testing.T) {
	for name, c := range map[string]struct{ policies, want string }{
		"an expression with a syntax error":   {about("p", "object.data.k ==", ""), "Syntax error"},
		"an expression of an unknown name":    {about("p", "objekt.data.k == 'v'", ""), "undeclared reference"},
		"an expression that is not yes or no": {about("p", "'yes'", ""), "bool"},
		"a misspelt field":                    {about("p", "true", "  validationsActions: [Deny]\n"), "unknown field"},
		"nothing that it is about": {
			"{apiVersion: policies.kyverno.io/v1, kind: ValidatingPolicy, metadata: {name: p}, spec: {validations: [{expression: 'true'}]}}", "matchConstraints",
		},
		"a name that another policy has": {about("p", "true", "") + "\n---\n" + about("p", "false", ""), "same name"},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(t, c.policies, configMap)
			last := v.Policies[len(v.Policies)-1]
			if !strings.Contains(last.Invalid, c.want) {
				t.Errorf("invalid %q, want %q", last.Invalid, c.want)
			}
		})
	}
}

func TestAnExpressionThatFailsIsANoUnlessThePolicySaysIgnore(t *testing.T) {
	failing := "object.spec.missing == 1"
	if v := judge(t, about("p", failing, ""), configMap); len(v.Violations) != 1 || !strings.Contains(v.Violations[0].Message, "no such key") {
		t.Errorf("violations %v", v.Violations)
	}
	v := judge(t, about("p", failing, "  failurePolicy: Ignore\n"), configMap)
	if len(v.Violations) != 0 || v.Policies[0].Errors != 1 {
		t.Errorf("violations %v, result %+v", v.Violations, v.Policies[0])
	}
}

func TestAPolicyThatOnlyAuditsWarns(t *testing.T) {
	v := judge(t, about("p", "false", "  validationActions: [Audit]\n"), configMap)
	if len(v.Violations) != 0 || len(v.Warnings) != 1 || v.Policies[0].Failed != 1 {
		t.Errorf("verdict %+v", v)
	}
}

func TestAPolicyThatAsksAServerIsNotTestedAndNeverPasses(t *testing.T) {
	for name, c := range map[string]struct{ expression, want string }{
		"the cluster":                 {`resource.Get("v1", "configmaps", "ns", "c").data.k == "v"`, "v1 configmaps ns/c"},
		"the cluster, with a way out": {`resource.List("v1", "configmaps", "ns").items.size() == 0 || true`, "list of v1 configmaps"},
		"a global context entry":      {`globalContext.Get("e", "") == null`, `global context entry "e"`},
		"a registry":                  {`image.GetMetadata("registry.invalid/i").config != null`, `image "registry.invalid/i"`},
		"a web server":                {`http.Get("http://localhost:1/").ok == true`, "HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(t, about("p", c.expression, ""), configMap)
			if got := v.Policies[0]; !strings.Contains(got.NotTested, c.want) || got.Invalid != "" {
				t.Errorf("result %+v, want not tested with %q", got, c.want)
			}
		})
	}
}

func TestPoliciesSeeWhatAdmissionWouldShowThem(t *testing.T) {
	const objects = configMap + `
---
{apiVersion: v1, kind: Namespace, metadata: {name: ns, labels: {team: a}}}
`
	for name, expression := range map[string]string{
		"the operation":             "request.operation == 'CREATE'",
		"the requester":             "request.userInfo.username == 'system:serviceaccount:millwright-system:millwright-controller'",
		"the requester's groups":    "'system:serviceaccounts:millwright-system' in request.userInfo.groups",
		"the resource":              "request.resource.resource == 'configmaps'",
		"the namespace":             "namespaceObject.metadata.labels.team == 'a'",
		"the namespace's own label": "namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == 'ns'",
		"the object":                "object.data.k == 'v' && object.metadata.namespace == 'ns'",
		"that it is not a dry run":  "!request.dryRun",
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(t, about("p", expression, ""), objects)
			if got := said(v); len(got) != 0 || v.Policies[0].Matched != 1 {
				t.Errorf("said %v, result %+v", got, v.Policies[0])
			}
		})
	}
}

func TestACustomKindIsMatchedByTheResourceOfItsDefinition(t *testing.T) {
	const objects = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: oxen.farm.test}
spec: {group: farm.test, names: {kind: Ox, plural: oxen}, scope: Namespaced}
---
{apiVersion: farm.test/v1, kind: Ox, metadata: {name: o, namespace: ns}}
`
	v := judge(t, strings.NewReplacer(`[""]`, "[farm.test]", "configmaps", "oxen").Replace(about("p", "false", "")), objects)
	if len(v.Violations) != 1 {
		t.Errorf("verdict %+v", v)
	}
}

func TestANamespacedPolicyIsAboutItsNamespaceOnly(t *testing.T) {
	p := strings.NewReplacer("kind: ValidatingPolicy", "kind: NamespacedValidatingPolicy", "{name: p}", "{name: p, namespace: m}").Replace(about("p", "false", ""))
	v := judge(t, p, configMap+"---"+strings.ReplaceAll(configMap, "namespace: ns", "namespace: m"))
	if got := said(v); len(got) != 1 || !strings.HasPrefix(got[0], "ConfigMap/m/c: m/p") {
		t.Errorf("said %v", got)
	}
}

func TestTektonsOwnValidationRefusesWhatTektonWouldRefuse(t *testing.T) {
	const good = `{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: t, namespace: ns}, spec: {steps: [{name: a, image: i, script: x}]}}`
	const flags = `{apiVersion: v1, kind: ConfigMap, metadata: {name: feature-flags, namespace: tekton-pipelines, labels: {app.kubernetes.io/part-of: tekton-pipelines}}, data: {FLAG}}`
	const alpha = `{apiVersion: tekton.dev/v1, kind: Pipeline, metadata: {name: p, namespace: ns}, spec: {tasks: [{name: a, pipelineRef: {name: q}}]}}`
	for name, c := range map[string]struct{ objects, want string }{
		"a good Task":                    {good, ""},
		"a Task without steps":           {strings.ReplaceAll(good, "{name: a, image: i, script: x}", ""), "missing field(s): spec.steps"},
		"a Task with a misspelt field":   {strings.ReplaceAll(good, "script: x", "skript: x"), `unknown field "skript"`},
		"a Pipeline in a circle":         {`{apiVersion: tekton.dev/v1, kind: Pipeline, metadata: {name: p, namespace: ns}, spec: {tasks: [{name: a, taskRef: {name: t}, runAfter: [b]}, {name: b, taskRef: {name: t}, runAfter: [a]}]}}`, "cycle"},
		"a kind that Tekton dropped":     {strings.NewReplacer("tekton.dev/v1", "tekton.dev/v1beta1", "Task", "ClusterTask").Replace(good), "not a kind of this version"},
		"an alpha field without alpha":   {alpha, "enable-api-fields"},
		"an alpha field with alpha":      {alpha + "\n---\n" + strings.ReplaceAll(flags, "FLAG", "enable-api-fields: alpha"), ""},
		"a feature flag that is not one": {good + "\n---\n" + strings.ReplaceAll(flags, "FLAG", "enable-api-fields: gamma"), "gamma"},
	} {
		t.Run(name, func(t *testing.T) {
			got := said(judge(t, "", c.objects))
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want) || !strings.Contains(got[0], policy.TektonRule)) {
				t.Errorf("said %v, want %q", got, c.want)
			}
		})
	}
}

func TestTheSameRequestGivesTheSameVerdictWhateverTheOrder(t *testing.T) {
	policies := documents(t, about("b", "object.data.size() > 1", "")+"\n---\n"+about("a", "object.data.k != 'v'", ""))
	objects := documents(t, configMap+"---"+strings.ReplaceAll(configMap, "name: c", "name: d")+"---"+strings.ReplaceAll(configMap, "name: c", "name: b"))
	var answers []string
	for range 3 {
		v, err := Test(t.Context(), request(policies, objects))
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Violations) != 6 {
			t.Fatalf("violations %v", v.Violations)
		}
		b, _ := json.Marshal(v.Violations)
		answers = append(answers, string(b))
		objects[0], objects[2] = objects[2], objects[0]
		objects[1], objects[2] = objects[2], objects[1]
	}
	for _, a := range answers[1:] {
		if diff := cmp.Diff(answers[0], a); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMoreViolationsThanAreListedAreCounted(t *testing.T) {
	var objects strings.Builder
	for i := range policy.MaxViolations + 7 {
		fmt.Fprintf(&objects, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c%d, namespace: ns}}\n---\n", i)
	}
	v := judge(t, about("p", "false", ""), objects.String())
	if len(v.Violations) != policy.MaxViolations || v.Omitted != 7 || v.Policies[0].Failed != policy.MaxViolations+7 {
		t.Errorf("listed %d, omitted %d, failed %d", len(v.Violations), v.Omitted, v.Policies[0].Failed)
	}
}

// Trying the policies beforehand leaves nothing behind, and where a request is cut
// makes no difference.
func TestARequestInTwoPartsHasTheVerdictOfOneInOne(t *testing.T) {
	policies := documents(t, about("told", "object.data.k == 'v'", "")+"\n---\n"+about("broken", "object.data.none == 'v'", ""))
	objects := documents(t, configMap+"\n---\n"+strings.ReplaceAll(configMap, "{k: v}", "{k: x}")+
		"\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: ns}}\n---\n{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: ns}}")
	want, err := Test(t.Context(), request(policies, objects))
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Violations) == 0 {
		t.Fatal("nothing is found, so nothing is compared")
	}
	for cut := range len(objects) + 1 {
		first := request(policies, objects[:cut])
		first.More = true
		p, err := Prepare(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Test(t.Context(), objects[cut:])
		if err != nil {
			t.Fatal(err)
		}
		for i, places := range got.Matches { // they count places in another order
			if len(places) != len(want.Matches[i]) {
				t.Errorf("cut after %d, policy %d matched %v", cut, i, places)
			}
		}
		got.Matches = want.Matches
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("cut after %d (-want +got):\n%s", cut, diff)
		}
	}
}
