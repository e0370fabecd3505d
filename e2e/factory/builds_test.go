package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// run starts a build of the sample, with words replaced, and waits until it has
// succeeded.
func (f *factory) run(t *testing.T, name string, words ...string) {
	t.Helper()
	f.start(t, name, f.sample(t), words...)
	f.succeeds(t, name)
}

// start makes a run for a commit.
func (f *factory) start(t *testing.T, name, commit string, words ...string) {
	t.Helper()
	if out, err := f.kubectlOf(t, manifest(t, "build.yaml", append([]string{"NAME", name, "COMMIT", commit}, words...)...), "create", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func (f *factory) succeeds(t *testing.T, name string) {
	t.Helper()
	eventually(t, 6*time.Minute, "build "+name+" succeeded", func() error {
		switch f.succeeded(t, name) {
		case "True":
			return nil
		case "False":
			t.Fatal(f.must(t, "get", "pipelinerun", name, "--namespace=build-sample", "--output=yaml"))
		}
		return errors.New("it runs")
	})
}

// fails waits until a run has ended, and not well.
func (f *factory) fails(t *testing.T, name string) {
	t.Helper()
	eventually(t, 3*time.Minute, "build "+name+" failed", func() error {
		switch f.succeeded(t, name) {
		case "False":
			return nil
		case "True":
			t.Fatalf("the build %s succeeded", name)
		}
		return errors.New("it runs")
	})
}

func (f *factory) succeeded(t *testing.T, name string) string {
	t.Helper()
	return f.must(t, "get", "pipelinerun", name, "--namespace=build-sample", `--output=jsonpath={.status.conditions[?(@.type=="Succeeded")].status}`)
}

func (f *factory) sample(t *testing.T) string {
	t.Helper()
	out, err := f.as(t, "alice", "sample", "git", "rev-parse", "HEAD")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(out)
}

// image is what a run has built.
func (f *factory) image(t *testing.T, run string) string {
	t.Helper()
	result := func(name string) string {
		return f.must(t, "get", "pipelinerun", run, "--namespace=build-sample", fmt.Sprintf(`--output=jsonpath={.status.results[?(@.name==%q)].value}`, name))
	}
	return result("IMAGE_URL") + "@" + result("IMAGE_DIGEST")
}

// Two builds of one commit give one digest, whoever looks.
func sameProgramTwice(t *testing.T, f *factory) {
	f.run(t, "sample-2")
	if one, two := f.image(t, "sample-1"), f.image(t, "sample-2"); one != two || !strings.Contains(one, "@sha256:") {
		t.Errorf("the same commit was built to %s and %s", one, two)
	}
}

// cosign has it verify an attestation with the keys of the Sigstore inside.
func (f *factory) cosign(t *testing.T, kind, identity, image string) (string, error) {
	t.Helper()
	host := f.registry(t)
	cmd := exec.CommandContext(t.Context(), f.path("site", "bin", "cosign"), "verify-attestation", "--offline", "--type", kind,
		"--certificate-identity", identity, "--certificate-oidc-issuer", issuer, strings.Replace(image, "registry.localhost:5000", host, 1))
	cmd.Env = []string{
		"HOME=" + t.TempDir(), "TUF_ROOT=" + t.TempDir(), "SIGSTORE_NO_CACHE=true",
		"SIGSTORE_ROOT_FILE=" + f.path("keys", "fulcio.crt"), "SIGSTORE_REKOR_PUBLIC_KEY=" + f.path("keys", "rekor.pub"),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + f.path("keys", "ct.pub"),
	}
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, problems.String())
	}
	return string(out), err
}

// registry is where the machine finds what the node calls registry.localhost.
func (f *factory) registry(t *testing.T) string {
	t.Helper()
	out := f.progress()
	_, after, found := strings.Cut(out, "registry is at ")
	if !found {
		t.Fatalf("the progress does not say where the registry is:\n%s", out)
	}
	host, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(host)
}

// Stock cosign finds provenance and contents, by whom they have to be, and by
// nobody else; and the provenance says what was built from what.
func cosignVerifies(t *testing.T, f *factory) {
	image := f.image(t, "sample-1")
	for _, row := range []struct{ name, kind, identity, refused string }{
		{"provenance", "slsaprovenance1", builder, ""},
		{"contents", "spdxjson", publisher, ""},
		{"provenance by another workload", "slsaprovenance1", publisher, "none of the attestations matched"},
		{"contents by another workload", "spdxjson", builder, "none of the attestations matched"},
		{"another statement", "vuln", builder, "none of the attestations matched"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := f.cosign(t, row.kind, row.identity, image)
			switch {
			case row.refused == "" && err != nil:
				t.Error(err)
			case row.refused != "" && (err == nil || !strings.Contains(err.Error(), row.refused)):
				t.Errorf("want a refusal with %q, got %v", row.refused, err)
			}
		})
	}
	out, err := f.cosign(t, "slsaprovenance1", builder, image)
	if err != nil {
		t.Fatal(err)
	}
	statement := payload(t, strings.Split(out, "\n")[0])
	for _, want := range []string{f.sample(t), "factory-catalog/pipeline/secure-build", "https://millwright.dev/factory/local@1"} {
		if !strings.Contains(statement, want) {
			t.Errorf("the provenance does not name %s:\n%s", want, statement)
		}
	}
}

func payload(t *testing.T, envelope string) string {
	t.Helper()
	var e struct{ Payload string }
	if err := json.Unmarshal([]byte(envelope), &e); err != nil {
		t.Fatalf("%v: %s", err, envelope)
	}
	b, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The step before the compiler has proved that nothing can be reached from there.
func jailed(t *testing.T, f *factory) {
	result := f.must(t, "get", "taskrun", "sample-1-build", "--namespace=build-sample", `--output=jsonpath={.status.results[?(@.name=="JAIL_PROOF")].value}`)
	var proof struct {
		Jailed         bool
		Probes, Checks int
	}
	if err := json.Unmarshal([]byte(result), &proof); err != nil {
		t.Fatalf("%v: %q", err, result)
	}
	if !proof.Jailed || proof.Probes < 9 || proof.Checks < 10 {
		t.Errorf("the proof is %s", result)
	}
	// A step that could be entered would be a way around it.
	pod := f.must(t, "get", "pods", "--namespace=build-sample", "--selector=tekton.dev/pipelineTask=build", "--output=jsonpath={.items[0].spec.serviceAccountName} {.items[0].spec.automountServiceAccountToken} {.items[0].spec.volumes[*].csi.driver}")
	if pod != "factory-none false " && pod != "factory-none false" {
		t.Errorf("the pod that compiles has account, token and drivers %q", pod)
	}
}
