package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Every image that a component runs is named by digest, and stock cosign finds
// beside it who made it and what is in it.
func imagesSigned(t *testing.T, f *factory) {
	out := f.must(t, "get", "pods", "--all-namespaces", "--field-selector=metadata.namespace!=build-sample,metadata.namespace!=release-sample",
		"--output=jsonpath={range .items[*]}{range .spec.containers[*]}{.image} {end}{range .spec.initContainers[*]}{.image} {end}{end}")
	running := strings.Fields(out)
	slices.Sort(running)
	running = slices.Compact(running)
	if len(running) < 20 {
		t.Errorf("only %d images are running: %q", len(running), running)
	}
	host, people := f.registry(t), f.people(t)
	for _, image := range running {
		here, found := strings.CutPrefix(image, "registry.localhost:5000")
		if !found || !strings.Contains(image, "@sha256:") {
			t.Errorf("%s is not of this factory, or not named by digest", image)
			continue
		}
		for _, what := range [][]string{{"verify"}, {"verify-attestation", "--type=spdxjson"}} {
			args := append(what, "--new-bundle-format", "--trusted-root="+f.path("trusted_root.json"), "--certificate-identity="+imageBuilder,
				"--certificate-oidc-issuer="+people, host+here)
			cmd := exec.CommandContext(t.Context(), f.path("site", "bin", "cosign"), args...)
			cmd.Env = []string{"HOME=" + t.TempDir(), "TUF_ROOT=" + t.TempDir(), "SIGSTORE_NO_CACHE=true"}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s %s: %v\n%s", what[0], image, err, out)
			}
		}
	}
	t.Logf("%d images", len(running))
}

// people is the issuer of the workloads beside the cluster.
func (f *factory) people(t *testing.T) string {
	t.Helper()
	_, after, found := strings.Cut(f.progress(), "images are signed by "+imageBuilder+" of ")
	if !found {
		t.Fatal(fmt.Errorf("the progress does not say who signs images:\n%s", f.progress()))
	}
	issuer, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(issuer)
}
