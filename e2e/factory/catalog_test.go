package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What a run consists of was signed with the catalog's key. A Task that a signed
// commit changed, by somebody who may, is not, until it is signed as well: Tekton
// starts nothing of it, and nothing comes of it.
func signedCatalog(t *testing.T, f *factory) {
	tasks := strings.Fields(f.must(t, "get", "tasks", "--namespace=factory-catalog", "--output=name"))
	if told := f.trusted(t, "pipelinerun", "sample-1"); told != "True" {
		t.Errorf("of the Pipeline of sample-1 Tekton says %q", told)
	}
	runs := strings.Fields(f.must(t, "get", "taskruns", "--namespace=build-sample", "--selector=tekton.dev/pipelineRun=sample-1", "--output=jsonpath={.items[*].metadata.name}"))
	if len(runs) != len(tasks) {
		t.Errorf("sample-1 has %q, and the catalog %q", runs, tasks)
	}
	for _, run := range runs {
		if told := f.trusted(t, "taskrun", run); told != "True" {
			t.Errorf("of the Task of %s Tekton says %q", run, told)
		}
	}

	f.commit(t, "bob", "bases/catalog/deps.yaml", "args: [mod, download]", "args: [mod, download, -x]")
	f.start(t, "unsigned-1", f.sample(t), "registry.localhost:5000/sample", "registry.localhost:5000/unsigned")
	eventually(t, 30*time.Second, "the run was refused", func() error {
		told := f.must(t, "get", "pipelinerun", "unsigned-1", "--namespace=build-sample",
			`--output=jsonpath={range .status.conditions[?(@.type=="Succeeded")]}{.status} {.reason}: {.message}{end}`)
		if !strings.HasPrefix(told, "False ResourceVerificationFailed: ") || !strings.Contains(told, "resource deps ") {
			return errors.New("it says " + told)
		}
		return nil
	})
	if told := f.trusted(t, "pipelinerun", "unsigned-1"); told != "False" {
		t.Errorf("of the changed Task Tekton says %q", told)
	}
	f.nothingStarted(t, "unsigned-1")
	f.nothingOf(t, "unsigned-1", "unsigned")

	// As docs/factory.md has it, by whoever has the key.
	sign := "kubectl kustomize overlays/local/catalog/unsigned | tekton-catalog sign -key '" + f.path("keys", "catalog.key") + "' -out overlays/local/catalog/signatures.yaml"
	if out, err := f.as(t, "alice", "factory", "bash", "-o", "pipefail", "-c", sign); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f.push(t, "bob", "the signature of whoever keeps the key")
	f.run(t, "signed-1")
	if one, two := f.image(t, "sample-1"), f.image(t, "signed-1"); one != two {
		t.Errorf("the same commit was built to %s and %s", one, two)
	}
	f.over(t, "unsigned-1", "signed-1")
}

// trusted is what Tekton says of the signature of what a run is of.
func (f *factory) trusted(t *testing.T, kind, name string) string {
	t.Helper()
	return f.must(t, "get", kind, name, "--namespace=build-sample", `--output=jsonpath={.status.conditions[?(@.type=="TrustedResourcesVerified")].status}`)
}

// nothingOf waits until Chains is done with a run that ended, and looks for an image or a
// statement about one. (Chains logs a statement of a run that failed, too: about nothing.)
func (f *factory) nothingOf(t *testing.T, run, repository string) {
	t.Helper()
	eventually(t, time.Minute, "Chains was done with "+run, func() error {
		if says := f.must(t, "get", "pipelinerun", run, "--namespace=build-sample", `--output=jsonpath={.metadata.annotations.chains\.tekton\.dev/signed}`); says == "" {
			return errors.New("it says nothing of the run")
		}
		return nil
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/v2/%s/tags/list", f.registry(t), repository), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNotFound {
		t.Errorf("the registry has something of %s: %s", run, answer.Status)
	}
}

// nothingStarted looks for what Tekton makes of a run.
func (f *factory) nothingStarted(t *testing.T, run string) {
	t.Helper()
	for _, kind := range []string{"taskruns", "pods"} {
		if made := f.must(t, "get", kind, "--namespace=build-sample", "--selector=tekton.dev/pipelineRun="+run, "--output=name"); made != "" {
			t.Errorf("there are %s of the run: %s", kind, made)
		}
	}
}

// over removes runs, whose volumes count against the namespace.
func (f *factory) over(t *testing.T, runs ...string) {
	t.Helper()
	f.must(t, append([]string{"delete", "pipelinerun", "--namespace=build-sample"}, runs...)...)
}
