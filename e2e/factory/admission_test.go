package main

import (
	"strings"
	"testing"
	"time"
)

// Into a namespace of releases goes what the factory built, in whatever place of a
// pod an image stands.
func onlyBuilt(t *testing.T, f *factory) {
	built := f.image(t, "sample-1")
	stranger := f.must(t, "get", "deployment", "coredns", "--namespace=kube-system", "--output=jsonpath={.spec.template.spec.containers[0].image}")
	pod := func(name, image string) string { return manifest(t, "pod.yaml", "NAME", name, "IMAGE", image) }
	other := "\n  initContainers:\n  - name: other\n    image: " + stranger +
		"\n    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}\n"
	if out, err := f.kubectlOf(t, pod("built", built), "create", "-f", "-"); err != nil {
		t.Fatalf("what was built is not let in: %v\n%s", err, out)
	}
	f.must(t, "wait", "--for=condition=Ready", "--timeout=60s", "--namespace=release-sample", "pod/built")
	if out := f.must(t, "logs", "--namespace=release-sample", "built"); !strings.Contains(out, "built by the factory") {
		t.Errorf("the program says %q", out)
	}
	for _, row := range []struct{ name, input string }{
		{"not built here", pod("stranger", stranger)},
		{"by tag", pod("tag", "registry.localhost:5000/coredns:latest")},
		{"an init container", pod("init", built) + other},
		{"a volume", pod("volume", built) + "\n  volumes:\n  - {name: other, image: {reference: \"" + stranger + "\"}}\n"},
	} {
		t.Run(row.name, func(t *testing.T) { f.refused(t, "mw-k10-release-images", row.input, "create", "-f", "-") })
	}
	t.Run("an ephemeral container", func(t *testing.T) {
		f.refused(t, "mw-k10-release-images", "", "debug", "--namespace=release-sample", "pod/built", "--image="+stranger, "--profile=restricted", "--attach=false")
	})
	t.Run("another image for a running pod", func(t *testing.T) {
		f.refused(t, "mw-k10-release-images", "", "set", "image", "--namespace=release-sample", "pod/built", "app="+stranger)
	})
}

// A run chooses its parameters and fresh volumes, and no more. Where two policies
// refuse it, the API server names either.
func runShape(t *testing.T, f *factory) {
	run := func(words ...string) string {
		return manifest(t, "build.yaml", append([]string{"NAME", "denied", "COMMIT", f.sample(t)}, words...)...)
	}
	for _, row := range []struct{ name, policy, input string }{
		{"a pipeline of its own", "POL-K0", `{"apiVersion":"tekton.dev/v1","kind":"PipelineRun","metadata":{"name":"denied","namespace":"build-sample"},
			"spec":{"pipelineSpec":{"results":[{"name":"IMAGE_URL","value":"registry.localhost:5000/lie"},{"name":"IMAGE_DIGEST","value":"sha256:` + strings.Repeat("0", 64) + `"}],
			"tasks":[{"name":"x","taskSpec":{"steps":[{"name":"x","image":"registry.localhost:5000/step"}]}}]}}}`},
		{"a task that says it has built an image", "POL-K0", `{"apiVersion":"tekton.dev/v1","kind":"TaskRun","metadata":{"name":"denied","namespace":"build-sample"},
			"spec":{"taskSpec":{"results":[{"name":"IMAGE_URL"},{"name":"IMAGE_DIGEST"}],"steps":[{"name":"x","image":"registry.localhost:5000/step"}]}}}`},
		{"a task of the catalog without its pipeline", "POL-K0", `{"apiVersion":"tekton.dev/v1","kind":"TaskRun","metadata":{"name":"denied","namespace":"build-sample"},
			"spec":{"taskRef":{"resolver":"cluster","params":[{"name":"kind","value":"task"},{"name":"name","value":"publish"},{"name":"namespace","value":"factory-catalog"}]}}}`},
		{"how its pods are made", "POL-K0", run("  taskRunSpecs:", "  taskRunTemplate: {podTemplate: {hostNetwork: true}}\n  taskRunSpecs:")},
		{"a way out of the jail", "POL-K0", run("  name: denied", "  name: denied\n  annotations: {millwright.dev/egress: registry}")},
		{"an identity by label", "POL-K0", run("  name: denied", "  name: denied\n  labels: {millwright.dev/stage: publish}")},
		{"an account for every task", "POL-K0", run("  taskRunSpecs:", "  taskRunTemplate: {serviceAccountName: factory-publish}\n  taskRunSpecs:")},
		{"the account of publish for build", "POL-K0", run("pipelineTaskName: publish", "pipelineTaskName: build")},
		{"a flag for the compiler", "POL-K05", run("  - {name: image,", "  - {name: package, value: -toolexec=./anything}\n  - {name: image,")},
		{"a program that is not of the commit", "POL-K05", run("  - {name: image,", "  - {name: package, value: cmd/go}\n  - {name: image,")},
		{"who works on it", "POL-K0", run("  taskRunSpecs:", "  managedBy: somebody.example/else\n  taskRunSpecs:")},
	} {
		t.Run(row.name, func(t *testing.T) { f.refused(t, row.policy, row.input, "create", "-f", "-") })
	}
	// Tekton takes that away before anybody can refuse it.
	t.Run("that it is signed", func(t *testing.T) {
		out, err := f.kubectlOf(t, run("name: denied", "name: boast", "  namespace: build-sample", "  namespace: build-sample\n  annotations: {chains.tekton.dev/signed: \"true\"}"),
			"create", "-f", "-", "--output=jsonpath={.metadata.annotations}")
		if err != nil || strings.Contains(out, "signed") {
			t.Errorf("the run was made with %q: %v", out, err)
		}
		f.must(t, "delete", "pipelinerun", "boast", "--namespace=build-sample")
	})
}

// Not even the administrator of the cluster says by hand what the factory says.
func untouchable(t *testing.T, f *factory) {
	t.Run("the status of a run", func(t *testing.T) {
		f.refused(t, "POL-K17", "", "patch", "pipelinerun", "sample-1", "--namespace=build-sample", "--subresource=status", "--type=merge",
			`--patch={"status":{"results":[{"name":"IMAGE_URL","value":"registry.localhost:5000/lie"}]}}`)
	})
	t.Run("that a run is signed", func(t *testing.T) {
		f.refused(t, "POL-K", "", "annotate", "pipelinerun", "sample-1", "--namespace=build-sample", "--overwrite", "chains.tekton.dev/signed=false")
	})
	t.Run("a feature flag", func(t *testing.T) {
		f.refused(t, "POL-K16", "", "patch", "configmap", "feature-flags", "--namespace=tekton-pipelines", "--type=merge", `--patch={"data":{"enable-api-fields":"alpha"}}`)
	})
	t.Run("an identity", func(t *testing.T) {
		f.refused(t, "POL-K", "", "patch", "clusterspiffeid", "publish", "--type=merge", `--patch={"spec":{"podSelector":null}}`)
	})
	t.Run("a task of the catalog", func(t *testing.T) {
		f.refused(t, "POL-K16", "", "delete", "task", "build", "--namespace=factory-catalog")
	})
	t.Run("a token in a Secret", func(t *testing.T) {
		f.refused(t, "POL-K15", `{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token","metadata":{"name":"denied","namespace":"build-sample","annotations":{"kubernetes.io/service-account.name":"factory-publish"}}}`, "create", "-f", "-")
	})
	t.Run("a shell beside the signing keys", func(t *testing.T) {
		f.refused(t, "POL-K19", "", "exec", "--namespace=spire-server", "spire-server-0", "--container=spire-server", "--", "/app/spire-server", "entry", "show")
	})
	t.Run("a record", func(t *testing.T) {
		f.refused(t, "it never changes", "", "patch", "appliedrevision", "factory-0000000001", "--namespace=millwright-system", "--type=merge", `--patch={"spec":{"commit":"`+strings.Repeat("0", 40)+`"}}`)
	})
}

// masquerade is somebody whom no policy stops: what a stolen right would be.
var masquerade = []string{"--as=system:serviceaccount:millwright-system:millwright-stolen", "--as-group=system:masters"}

// What gets past admission is put back.
func drift(t *testing.T, f *factory) {
	flag := func() string {
		return f.must(t, "get", "configmap", "feature-flags", "--namespace=tekton-pipelines", "--output=jsonpath={.data.enable-api-fields}")
	}
	before := flag()
	f.must(t, append([]string{"patch", "configmap", "feature-flags", "--namespace=tekton-pipelines", "--type=merge", `--patch={"data":{"enable-api-fields":"alpha"}}`}, masquerade...)...)
	eventually(t, 10*time.Second, "the feature flag was put back", func() error { return differs(flag(), before) })

	// The API server lets nobody guard admission policies.
	uid := func() (string, error) {
		return f.kubectl(t, "get", "validatingadmissionpolicy", "mw-k17-status-integrity", "--output=jsonpath={.metadata.uid}")
	}
	old, err := uid()
	if err != nil {
		t.Fatal(old)
	}
	f.must(t, "delete", "validatingadmissionpolicy", "mw-k17-status-integrity")
	eventually(t, 10*time.Second, "the deleted policy was put back", func() error {
		now, err := uid()
		if err != nil {
			return err
		}
		if now == old {
			t.Fatal("the policy was not deleted")
		}
		return nil
	})
}
