package overlays_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/reconciler/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

// kubectl runs the API server's own client and returns both of its streams.
func kubectl(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	cluster := kubetest.Shared(t)
	cmd := exec.CommandContext(t.Context(), cluster.Kubectl, append([]string{"--kubeconfig", cluster.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func mustKubectl(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, err := kubectl(t, input, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// list is the input of kubectl for the objects that keep says.
func list(t *testing.T, objects []object, keep func(object) bool) string {
	t.Helper()
	var items []json.RawMessage
	for _, o := range objects {
		if keep(o) {
			items = append(items, o.json)
		}
	}
	j, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		t.Fatal(err)
	}
	return string(j)
}

func isCRD(o object) bool    { return o.text("kind") == "CustomResourceDefinition" }
func isNotCRD(o object) bool { return !isCRD(o) }

// versions are the resource versions of all objects of the environment.
func versions(t *testing.T, objects []object) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, keep := range []func(object) bool{isCRD, isNotCRD} {
		text := mustKubectl(t, list(t, objects, keep), "get", "-f", "-",
			"-o", `jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
		for line := range strings.Lines(text) {
			if i := strings.LastIndexByte(line, ' '); i > 0 && strings.Contains(line, "/") {
				out[line[:i]] = line[i+1:]
			}
		}
	}
	return out
}

// One test, since each step stands on the one before: the factory applies to an
// API server where nothing was, a second time changes nothing (else every sweep
// would find drift), and what it declares is enforced.
func TestTheFactoryAppliesToAnEmptyAPIServer(t *testing.T) {
	objects := mustBuild(t)
	apply := func(keep func(object) bool) {
		mustKubectl(t, list(t, objects, keep), append(asUser(reconcilers), "apply", "--server-side", "--field-manager=millwright/test", "-f", "-")...)
	}
	apply(func(o object) bool { return o.component == "namespaces" })
	apply(isCRD)
	mustKubectl(t, list(t, objects, isCRD), "wait", "--for=condition=Established", "--timeout=60s", "-f", "-")
	apply(isNotCRD)
	before := versions(t, objects)
	if len(before) != len(objects) {
		t.Fatalf("%d objects are live, want %d", len(before), len(objects))
	}

	apply(isCRD)
	apply(isNotCRD)
	if diff := cmp.Diff(before, versions(t, objects)); diff != "" {
		t.Errorf("the second apply changed objects (-before +after):\n%s", diff)
	}
	t.Run("and only the Tekton controller writes the status of a run", onlyTektonWritesStatus)
	t.Run("and only results that the Task declares", onlyDeclaredResults)
	t.Run("and exceptions from policies are refused", exceptionsAreRefused)
	t.Run("and whoever edits a namespace may not start builds", editorsStartNoBuilds)
	t.Run("and what the native policies are for is refused, and nothing else", nativePolicies)
}

const taskRun = `{"apiVersion":"tekton.dev/v1","kind":"TaskRun","metadata":{"name":"run","namespace":"default"},"spec":{"taskRef":{"name":"x"}}}`

func onlyTektonWritesStatus(t *testing.T) {
	mustKubectl(t, taskRun, append(asUser(tekton), "create", "-f", "-")...)
	rows := map[string]bool{
		tekton:   true,
		"mallet": false,
		"system:serviceaccount:tekton-chains:tekton-chains-controller":     false,
		"system:serviceaccount:millwright-system:millwright-controller":    false,
		"system:serviceaccount:default:tekton-pipelines-controller":        false,
		"system:serviceaccount:tekton-pipelines:tekton-pipelines-webhook":  false,
		"system:serviceaccount:tekton-pipelines:tekton-events-controller":  false,
		"system:serviceaccount:tekton-pipelines:tekton-pipelines-controll": false,
	}
	for user, allowed := range rows {
		out, err := kubectl(t, "", append(asUser(user), "patch", "taskrun", "run", "-n", "default",
			"--subresource=status", "--type=merge", "-p", `{"status":{"podName":"by-`+user[strings.LastIndexByte(user, ':')+1:]+`"}}`)...)
		if denied := err != nil && strings.Contains(out, "POL-K17"); denied == allowed || (allowed && err != nil) {
			t.Errorf("%s: %v %s", user, err, out)
		}
	}
}

// The controller copies what a container wrote, whoever that was: only what the Task
// declares is taken.
func onlyDeclaredResults(t *testing.T) {
	result := func(name string) string { return `"results":[{"name":"` + name + `","type":"string","value":"x"}]` }
	artifact := `"outputs":[{"name":"a","values":[{"uri":"b","digest":{"sha256":"c"}}]}]`
	const declared = `"taskSpec":{"results":[{"name":"OUT_DIGEST"}],"steps":[{"name":"push","results":[{"name":"url"}]},{"name":"test"}]}`
	for name, row := range map[string]struct{ status, refused string }{
		"what is declared":                  {result("OUT_DIGEST"), ""},
		"nothing":                           {`"results":null`, ""},
		"an image":                          {result("IMAGE_DIGEST"), "POL-K17"},
		"one of both":                       {`"results":[{"name":"OUT_DIGEST","value":"x"},{"name":"CHAINS-GIT_COMMIT","value":"x"}]`, "POL-K17"},
		"what a step declares":              {`"steps":[{"name":"push",` + result("url") + `},{"name":"test"}]`, ""},
		"another result of a step":          {`"steps":[{"name":"push",` + result("digest") + `}]`, "POL-K17"},
		"what another step declares":        {`"steps":[{"name":"test",` + result("url") + `}]`, "POL-K17"},
		"no artifacts":                      {`"artifacts":{}`, ""},
		"artifacts":                         {`"artifacts":{` + artifact + `}`, "POL-K17"},
		"artifacts of a step":               {`"steps":[{"name":"test",` + artifact + `}]`, "POL-K17"},
		"a result of a step without a name": {`"steps":[{` + result("url") + `}]`, "POL-K17"},
	} {
		out, err := kubectl(t, "", append(asUser(tekton), "patch", "taskrun", "run", "-n", "default", "--subresource=status", "--type=merge",
			"-p", `{"status":{`+declared+`,"results":null,"steps":null,"artifacts":null}}`)...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err = kubectl(t, "", append(asUser(tekton), "patch", "taskrun", "run", "-n", "default", "--subresource=status", "--type=merge", "-p", `{"status":{`+row.status+`}}`)...)
		if row.refused == "" && err != nil || row.refused != "" && (err == nil || !strings.Contains(out, row.refused)) {
			t.Errorf("%s: want %q: %v\n%s", name, row.refused, err, out)
		}
	}
}

func exceptionsAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"policies.kyverno.io": `{"apiVersion":"policies.kyverno.io/v1","kind":"PolicyException","metadata":{"name":"a","namespace":"default"},
			"spec":{"policyRefs":[{"name":"x","kind":"ValidatingPolicy"}]}}`,
		"kyverno.io": `{"apiVersion":"kyverno.io/v2","kind":"PolicyException","metadata":{"name":"a","namespace":"default"},
			"spec":{"exceptions":[{"policyName":"x","ruleNames":["r"]}],"match":{"any":[{"resources":{"kinds":["Pod"]}}]}}}`,
	} {
		if out, err := kubectl(t, text, "create", "-f", "-"); err == nil || !strings.Contains(out, "POL-K21") {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}

// Without the controller that aggregates roles the label says it: nothing that
// lets runs be created may be aggregated into the roles given to people.
func editorsStartNoBuilds(t *testing.T) {
	for _, label := range []string{"edit", "admin"} {
		out := mustKubectl(t, "", "get", "clusterroles", "-l", "rbac.authorization.k8s.io/aggregate-to-"+label+"=true",
			"-o", `jsonpath={range .items[*]}{.metadata.name} {.rules[*].apiGroups}{"\n"}{end}`)
		if strings.Contains(out, "tekton.dev") {
			t.Errorf("aggregated to %s:\n%s", label, out)
		}
	}
}
