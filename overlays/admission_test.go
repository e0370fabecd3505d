package overlays_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Who asks. The reconciler's accounts begin with millwright-.
const (
	reconcilers = "system:serviceaccount:millwright-system:millwright-test"
	tekton      = "system:serviceaccount:tekton-pipelines:tekton-pipelines-controller"
	chains      = "system:serviceaccount:tekton-chains:tekton-chains-controller"
	collector   = "system:serviceaccount:kube-system:generic-garbage-collector"
	person      = "mallory"
)

// asUser is somebody with every right that RBAC can give, so that only a policy
// can say no.
func asUser(user string, groups ...string) []string {
	args := []string{"--as", user, "--as-group", "system:masters"}
	for _, g := range groups {
		args = append(args, "--as-group", g)
	}
	return args
}

// admitted is one request, and the policy that has to refuse it, if one has to.
type admitted struct {
	user    []string
	input   string
	command string
	refused string // POL-K…, or empty
}

// nativePolicies asks for everything once, and looks in the API server's own
// account that each policy has refused something: one that matches nothing lets
// all of it through.
func nativePolicies(t *testing.T) {
	for _, rows := range []map[string]admitted{runsOfTheCatalog(), shapesOfRuns(t), wordsOfChains(), credentials(), identities(), looks()} {
		ask(t, "--dry-run=server", rows)
	}
	ask(t, "--dry-run=none", writers())
	entering(t)
	namedImages(t)
	counted := regexp.MustCompile(`(?m)^apiserver_validating_admission_policy_check_total\{enforcement_action="deny",.*policy="(mw-k[0-9a-z-]+)"`)
	refused := map[string]bool{}
	for _, m := range counted.FindAllStringSubmatch(mustKubectl(t, "", "get", "--raw", "/metrics"), -1) {
		refused[m[1]] = true
	}
	for name := range strings.FieldsSeq(mustKubectl(t, "", "get", "validatingadmissionpolicies", "-o", "jsonpath={.items[*].metadata.name}")) {
		if !refused[name] {
			t.Errorf("%s has refused nothing", name)
		}
	}
}

func ask(t *testing.T, mode string, rows map[string]admitted) {
	t.Helper()
	answers := map[bool]int{}
	for name, r := range rows {
		answers[r.refused == ""]++
		out, err := kubectl(t, r.input, append(r.user, append(strings.Fields(r.command), mode)...)...)
		if r.refused == "" && err != nil || r.refused != "" && (err == nil || !strings.Contains(out, r.refused)) {
			t.Errorf("%s: want %q: %v\n%s", name, r.refused, err, out)
		}
	}
	if answers[true] == 0 || answers[false] == 0 {
		t.Errorf("only one of both answers was asked for: %v", answers)
	}
}

// pipelineRun is a good run, with more of its metadata and of its specification.
func pipelineRun(metadata, spec string) string {
	return fmt.Sprintf(`{apiVersion: tekton.dev/v1, kind: PipelineRun, metadata: {generateName: sample-, namespace: build-sample%s}, spec: {%s
		params: [{name: url, value: "http://git"}, {name: commit, value: "0"}, {name: image, value: "registry/sample"}]}}`, metadata, spec)
}

func ofCatalog(more string) string {
	return `pipelineRef: {resolver: cluster, params: [{name: kind, value: pipeline}, {name: name, value: secure-build}, {name: namespace, value: factory-catalog}]}, ` + more
}

const (
	publishes = `taskRunSpecs: [{pipelineTaskName: publish, serviceAccountName: factory-publish}], `
	volumes   = `workspaces: [{name: source, volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}, {name: deps, emptyDir: {}}], `
)

func runsOfTheCatalog() map[string]admitted {
	ref := func(kind, name, namespace, more string) string {
		return fmt.Sprintf(`pipelineRef: {resolver: cluster, params: [{name: kind, value: %s}, {name: name, value: %s}, {name: namespace, value: %s}%s]}, `, kind, name, namespace, more)
	}
	taskRunOf := `{apiVersion: tekton.dev/v1, kind: TaskRun, metadata: {generateName: t-, namespace: build-sample}, spec: {taskRef: {name: x}}}`
	rows := map[string]admitted{
		"a run of the catalog":                 {asUser(person), pipelineRun("", ofCatalog(publishes+volumes)), "create -f -", ""},
		"a run of a Task by Tekton":            {asUser(tekton), taskRunOf, "create -f -", ""},
		"a run of a Task by a person":          {asUser(person), taskRunOf, "create -f -", "POL-K02"},
		"a run of a Task by the reconciler":    {asUser(reconcilers), taskRunOf, "create -f -", "POL-K02"},
		"a run of a Task with a specification": {asUser(tekton), strings.Replace(taskRunOf, "taskRef: {name: x}", "taskSpec: {steps: [{name: s, image: i}]}", 1), "create -f -", "POL-K02"},
	}
	for name, spec := range map[string]string{
		"of its own specification":   `pipelineSpec: {tasks: [{name: t, taskRef: {name: x}}]}, `,
		"of a Pipeline beside it":    `pipelineRef: {name: secure-build}, `,
		"by another resolver":        strings.Replace(ofCatalog(""), "cluster", "git", 1),
		"of another namespace":       ref("pipeline", "secure-build", "build-sample", ""),
		"of a Task":                  ref("task", "publish", "factory-catalog", ""),
		"of two namespaces":          ref("pipeline", "secure-build", "factory-catalog", ", {name: namespace, value: build-sample}"),
		"with more than it needs":    ref("pipeline", "secure-build", "factory-catalog", ", {name: api, value: x}"),
		"of a reference and a graph": ofCatalog(`pipelineSpec: {tasks: [{name: t, taskRef: {name: x}}]}, `),
	} {
		rows["a run "+name] = admitted{asUser(person), pipelineRun("", spec), "create -f -", "POL-K02"}
	}
	return rows
}

func shapesOfRuns(t *testing.T) map[string]admitted {
	t.Helper()
	// Tekton's webhook writes it into each run, in the name of whoever makes the run.
	pods, err := yaml.YAMLToJSON([]byte(mustKubectl(t, "", "get", "configmap", "config-defaults", "-n", "tekton-pipelines", "-o", "jsonpath={.data.default-pod-template}")))
	if err != nil {
		t.Fatal(err)
	}
	template := func(pod string) string { return "taskRunTemplate: {podTemplate: " + pod + "}, " }
	rows := map[string]admitted{
		"labels of one's own":         {asUser(person), pipelineRun(", labels: {team: a}, annotations: {example.org/why: b}", ofCatalog("")), "create -f -", ""},
		"the account without rights":  {asUser(person), pipelineRun("", ofCatalog("taskRunTemplate: {serviceAccountName: factory-none}, ")), "create -f -", ""},
		"the pods that Tekton writes": {asUser(person), pipelineRun("", ofCatalog(template(string(pods)))), "create -f -", ""},
		"Tekton's labels by Tekton":   {asUser(tekton), pipelineRun(", labels: {tekton.dev/pipeline: a}", ofCatalog("")), "create -f -", ""},
	}
	packaged := func(name string) string {
		return strings.Replace(pipelineRun("", ofCatalog("")), "params: [{name: url", fmt.Sprintf("params: [{name: package, value: %s}, {name: url", name), 1)
	}
	for _, name := range []string{`"."`, "./cmd/app", "./a_b/c-d.e"} {
		rows["the package "+name] = admitted{asUser(person), packaged(name), "create -f -", ""}
	}
	for _, name := range []string{`""`, "-toolexec=./x", "./../x", "./.git", "cmd/go", "/usr/local/go/src/cmd/go", `"./a\nb"`, "./a/", "./..."} {
		rows["the package "+name] = admitted{asUser(person), packaged(name), "create -f -", "POL-K05"}
	}
	rows["a list of packages"] = admitted{asUser(person), packaged(`["./a", "-toolexec=./x"]`), "create -f -", "POL-K05"}
	for name, spec := range map[string]string{
		"pods of its own":           template("{hostNetwork: true}"),
		"more than Tekton's pods":   template(strings.Replace(string(pods), "{", "{hostNetwork: true, ", 1)),
		"less than Tekton's pods":   template(strings.Replace(string(pods), `"automountServiceAccountToken":false,`, "", 1)),
		"pods of one task":          `taskRunSpecs: [{pipelineTaskName: publish, serviceAccountName: factory-publish, podTemplate: {hostNetwork: true}}], `,
		"labels of one task":        `taskRunSpecs: [{pipelineTaskName: publish, serviceAccountName: factory-publish, metadata: {labels: {millwright.dev/egress: git}}}], `,
		"an account for the build":  `taskRunSpecs: [{pipelineTaskName: build, serviceAccountName: factory-publish}], `,
		"another account":           `taskRunSpecs: [{pipelineTaskName: publish, serviceAccountName: default}], `,
		"an account for all":        `taskRunTemplate: {serviceAccountName: factory-publish}, `,
		"another controller":        `managedBy: example.org/other, `,
		"a volume that is there":    `workspaces: [{name: source, persistentVolumeClaim: {claimName: x}}], `,
		"a Secret for a workspace":  `workspaces: [{name: source, secret: {secretName: x}}], `,
		"an identity by the volume": `workspaces: [{name: source, csi: {driver: csi.spiffe.io}}], `,
	} {
		rows["a run with "+name] = admitted{asUser(person), pipelineRun("", ofCatalog(spec)), "create -f -", "POL-K05"}
	}
	for name, metadata := range map[string]string{
		"a label of the factory":   `, labels: {millwright.dev/egress: git}`,
		"a note to the jail":       `, annotations: {millwright.dev/egress: registry}`,
		"a label of Tekton":        `, labels: {tekton.dev/pipeline: secure-build}`,
		"who manages it":           `, labels: {app.kubernetes.io/managed-by: tekton-pipelines}`,
		"how it is to be executed": `, annotations: {experimental.tekton.dev/execution-mode: x}`,
	} {
		rows["a run with "+name] = admitted{asUser(person), pipelineRun(metadata, ofCatalog("")), "create -f -", "POL-K05"}
	}
	return rows
}

// The run that onlyTektonWritesStatus made is there.
func wordsOfChains() map[string]admitted {
	patch := func(text string) string { return "patch taskrun run -n default --type=merge -p " + text }
	signed := patch(`{"metadata":{"annotations":{"chains.tekton.dev/signed":"true"}}}`)
	return map[string]admitted{
		"signed, by Chains":               {asUser(chains), "", signed, ""},
		"signed, by a person":             {asUser(person), "", signed, "POL-K"}, // K05 too
		"signed, by Tekton":               {asUser(tekton), "", signed, "POL-K18"},
		"signed, by the reconciler":       {asUser(reconcilers), "", signed, "POL-K"},
		"a finalizer, by Chains":          {asUser(chains), "", patch(`{"metadata":{"finalizers":["chains.tekton.dev"]}}`), ""},
		"another finalizer, by Chains":    {asUser(chains), "", patch(`{"metadata":{"finalizers":["example.org/x"]}}`), "POL-K18"},
		"a label, by Chains":              {asUser(chains), "", patch(`{"metadata":{"labels":{"a":"b"}}}`), "POL-K18"},
		"another annotation, by Chains":   {asUser(chains), "", patch(`{"metadata":{"annotations":{"tekton.dev/a":"b"}}}`), "POL-K18"},
		"the specification, by Chains":    {asUser(chains), "", patch(`{"spec":{"timeout":"1h"}}`), "POL-K18"},
		"a label by who cleans up":        {asUser(collector), "", patch(`{"metadata":{"labels":{"a":"b"}}}`), ""},
		"a label of one's own":            {asUser(person), "", patch(`{"metadata":{"labels":{"a":"b"}}}`), ""},
		"a label of the factory's, later": {asUser(person), "", patch(`{"metadata":{"labels":{"millwright.dev/egress":"git"}}}`), "POL-K05"},
	}
}

func credentials() map[string]admitted {
	secret := func(namespace, kind string) string {
		return fmt.Sprintf(`{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: %s, annotations: {kubernetes.io/service-account.name: default}}, type: %s}`, namespace, kind)
	}
	return map[string]admitted{
		"a Secret":                       {asUser(person), secret("sigstore", "Opaque"), "create -f -", ""},
		"a token in a Secret":            {asUser(person), secret("sigstore", "kubernetes.io/service-account-token"), "create -f -", "POL-K15"},
		"a Secret where builds run":      {asUser(person), secret("build-sample", "Opaque"), "create -f -", "POL-K15"},
		"an account":                     {asUser(person), `{apiVersion: v1, kind: ServiceAccount, metadata: {name: a, namespace: release-sample}}`, "create -f -", ""},
		"an account that names a Secret": {asUser(person), `{apiVersion: v1, kind: ServiceAccount, metadata: {name: a, namespace: release-sample}, secrets: [{name: s}]}`, "create -f -", "POL-K15"},
	}
}

func identities() map[string]admitted {
	id := func(template, more string, selectors ...string) string {
		return fmt.Sprintf(`{apiVersion: spire.spiffe.io/v1alpha1, kind: ClusterSPIFFEID, metadata: {name: i}, spec: {spiffeIDTemplate: %q, %s
			namespaceSelector: {matchLabels: {a: b}}, podSelector: {matchLabels: {a: b}}, workloadSelectorTemplates: [%s]}}`, template, more, strings.Join(selectors, ", "))
	}
	const good = "spiffe://{{ .TrustDomain }}/factory/x"
	rows := map[string]admitted{"an identity": {asUser(reconcilers), id(good, "", `"k8s:ns:a"`, `"k8s:sa:b"`), "create -f -", ""}}
	for name, text := range map[string]string{
		"with power":               id(good, "admin: true,", `"k8s:ns:a"`, `"k8s:sa:b"`),
		"of a server below":        id(good, "downstream: true,", `"k8s:ns:a"`, `"k8s:sa:b"`),
		"with a name":              id(good, `dnsNameTemplates: [x],`, `"k8s:ns:a"`, `"k8s:sa:b"`),
		"of another place":         id("spiffe://{{ .TrustDomain }}/ns/x", "", `"k8s:ns:a"`, `"k8s:sa:b"`),
		"that pods choose":         id("spiffe://{{ .TrustDomain }}/factory/{{ .PodMeta.Name }}", "", `"k8s:ns:a"`, `"k8s:sa:b"`),
		"of a namespace":           id(good, "", `"k8s:ns:a"`),
		"of what a pod says":       id(good, "", `"k8s:ns:{{ .PodMeta.Namespace }}"`, `"k8s:sa:b"`),
		"of an entry of one's own": `{apiVersion: spire.spiffe.io/v1alpha1, kind: ClusterStaticEntry, metadata: {name: e}, spec: {spiffeID: "spiffe://a/b", parentID: "spiffe://a/c", selectors: ["k8s:ns:a"]}}`,
	} {
		rows["an identity "+name] = admitted{asUser(reconcilers), text, "create -f -", "POL-K20"}
	}
	return rows
}

const task = `{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: t, namespace: build-sample}, spec: {steps: [{name: s, image: i}]}}`

// Nothing is kept of a dry run, so that POL-K16 lets it pass: Tekton has the API
// server look at what a resolver gave it, and auditors compare. The others answer as
// they would in earnest.
func looks() map[string]admitted {
	return map[string]admitted{
		"a Task by Tekton, to look at":      {asUser(tekton), task, "create -f -", ""},
		"a flag by a person, to look at":    {asUser(person), "", flags, ""},
		"a binding by a person, to look at": {asUser(person), "", "delete clusterrolebinding spire-server", ""},
		"a Secret by a person, to look at":  {asUser(person), `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: build-sample}}`, "create -f -", "POL-K15"},
	}
}

const flags = "patch configmap feature-flags -n tekton-pipelines --type=merge -p {\"data\":{\"coschedule\":\"disabled\"}}"

// POL-K16 looks at what is kept only, so these are asked for in earnest. None
// stands in another's way, whichever comes first.
func writers() map[string]admitted {
	policy := `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: net, namespace: build-sample}, spec: {podSelector: {}}}`
	role := func(labels string) string {
		return `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: kyverno, labels: {` + labels + `}}, rules: []}`
	}
	bundle := "patch configmap spire-bundle -n spire-system --type=merge -p {\"data\":{\"bundle.crt\":\"x\"}}"
	return map[string]admitted{
		"a Task by the reconciler":               {asUser(reconcilers), task, "create -f -", ""},
		"a Task by a person":                     {asUser(person), task, "create -f -", "POL-K16"},
		"a Task by Tekton":                       {asUser(tekton), task, "create -f -", "POL-K16"},
		"a Task changed by Tekton":               {asUser(tekton), "", "annotate task build -n factory-catalog a=b", "POL-K16"},
		"a Pipeline deleted":                     {asUser(person), "", "delete pipeline secure-build -n factory-catalog", "POL-K16"},
		"a Task taken along":                     {asUser(collector), "", "delete task sbom -n factory-catalog", ""},
		"an identity changed":                    {asUser(person), "", `patch clusterspiffeid publish --type=merge -p {"spec":{"ttl":"2h"}}`, "POL-K16"},
		"what SPIRE's manager says of one":       {asUser("system:serviceaccount:spire-server:spire-server"), "", `patch clusterspiffeid publish --subresource=status --type=merge -p {"status":{"stats":{"podsSelected":1}}}`, ""},
		"a policy of Kyverno deleted":            {asUser(person), "", "delete validatingpolicy mw-k14-privileged-set", "POL-K16"},
		"a flag by a person":                     {asUser(person), "", flags, "POL-K16"},
		"a flag by the reconciler":               {asUser(reconcilers), "", strings.Replace(flags, "disabled", "workspaces", 1), ""},
		"what may run by a person":               {asUser(person), "", "patch " + theList + ` --type=merge -p {"data":{"other":"x"}}`, "POL-K16"},
		"what may run deleted":                   {asUser(person), "", "delete " + theList, "POL-K16"},
		"another ConfigMap":                      {asUser(person), `{apiVersion: v1, kind: ConfigMap, metadata: {name: tuf-repository, namespace: sigstore}}`, "create -f -", ""},
		"the bundle by SPIRE's server":           {asUser("system:serviceaccount:spire-server:spire-server"), "", bundle, ""},
		"the bundle by a person":                 {asUser(person), "", strings.Replace(bundle, `:"x"`, `:"y"`, 1), "POL-K16"},
		"a rule for the network":                 {asUser(person), policy, "create -f -", "POL-K16"},
		"the same elsewhere":                     {asUser(person), strings.Replace(policy, "build-sample", "default", 1), "create -f -", ""},
		"a role":                                 {asUser(person), role(""), "create -f -", "POL-K16"},
		"a role of the reconciler's":             {asUser(person), role("millwright.dev/rights-of: millwright-system"), "create -f -", ""},
		"a Deployment by its controller":         {asUser("system:serviceaccount:kube-system:deployment-controller"), "", `annotate deployment fulcio -n sigstore deployment.kubernetes.io/revision=1`, ""},
		"a Deployment by a person":               {asUser(person), "", "annotate deployment fulcio -n sigstore a=b", "POL-K16"},
		"the reconciler's by who installs it":    {asUser(person), "", "label namespace millwright-system a=b", ""},
		"a namespace named by the install":       {asUser(person), `{apiVersion: v1, kind: Namespace, metadata: {name: tekton-chains}}`, "apply --server-side --field-manager=bootstrap -f -", ""},
		"a namespace with a new owner":           {asUser(person), "", `patch namespace tekton-chains --type=merge -p {"metadata":{"managedFields":[{}]}}`, "POL-K16"},
		"a namespace with a note":                {asUser(person), "", "annotate namespace tekton-chains a=b", "POL-K16"},
		"a namespace relabelled":                 {asUser(person), "", "label namespace build-sample millwright.dev/purpose-", "POL-K16"},
		"a definition by Tekton's webhook":       {asUser("system:serviceaccount:tekton-pipelines:tekton-pipelines-webhook"), "", "annotate crd tasks.tekton.dev a=b", ""},
		"a definition by a person":               {asUser(person), "", "annotate crd tasks.tekton.dev c=d", "POL-K16"},
		"somebody else's binding":                {asUser(person), "", "create clusterrolebinding other --clusterrole=view --user=a", ""},
		"a binding of the factory's":             {asUser(person), "", "delete clusterrolebinding spire-server", "POL-K16"},
		"a definition deleted by the API server": {asUser("system:apiserver"), "", "annotate crd tasks.tekton.dev e=f", ""},
	}
}

// entering needs a pod, and says no more than that: without a kubelet nobody gets in.
func entering(t *testing.T) {
	image := imageNamed(t, "step")
	for _, namespace := range []string{"release-sample", "sigstore"} {
		mustKubectl(t, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: p, namespace: `+namespace+`}}`, "create", "-f", "-")
		mustKubectl(t, podOf(namespace, image, ""), "create", "-f", "-")
		// Else the client does not even ask.
		mustKubectl(t, "", "patch", "pod", "p", "-n", namespace, "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Running"}}`)
	}
	for _, row := range []struct {
		user      []string
		namespace string
		refused   bool
	}{
		{asUser(person), "sigstore", true},
		{asUser(reconcilers), "sigstore", true},
		{asUser(person, "millwright:break-glass"), "sigstore", false},
		{asUser(person), "release-sample", false},
	} {
		for _, command := range []string{"exec p -n %s -- true", "attach p -n %s", "port-forward pod/p -n %s :1", "debug p -n %s --image=" + image + " --profile=restricted --container=d"} {
			out, _ := kubectl(t, "", append(row.user, strings.Fields(fmt.Sprintf(command, row.namespace))...)...)
			if refused := strings.Contains(out, "POL-K19:"); refused != row.refused {
				t.Errorf("%v %s in %s: refused %t, want %t\n%s", row.user, command, row.namespace, refused, row.refused, out)
			}
		}
	}
}
