package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"millwright.dev/millwright/e2e/node"
	"millwright.dev/millwright/tools/images"
)

// In the factory's own namespaces runs what the signed repository names, and of that,
// where Kyverno may judge, what is signed by who makes images and described by them.
func onlyNamed(t *testing.T, f *factory) {
	named := f.must(t, "get", "configmap", "images", "--namespace=factory-catalog", "--output=jsonpath={.data.step}")
	stranger := f.must(t, "get", "deployment", "coredns", "--namespace=kube-system", "--output=jsonpath={.spec.template.spec.containers[0].image}")
	const notNamed = "POL-K10: the signed repository does not name the image"
	for _, namespace := range []string{"tekton-chains", "build-sample", "kyverno", "millwright-system"} {
		f.judged(t, namespace, named, "")
		f.judged(t, namespace, stranger, notNamed)
	}
	f.debugged(t, named, "")
	f.debugged(t, stranger, notNamed)

	// Four images that nobody knows, of which the repository says that they may run.
	const notSigned, notListed = "POL-K11: the image is not signed", "POL-K11: who makes the factory's images has not listed"
	rows := []struct {
		name    string
		signer  string
		says    []string
		refused string
	}{
		{"unsigned", "", nil, notSigned},
		{"foreign", "spiffe://factory.test/somebody", []string{images.Signature, images.Contents}, notSigned},
		{"undescribed", imageBuilder, []string{images.Signature}, notListed},
		{"described", imageBuilder, []string{images.Signature, images.Contents}, ""},
	}
	pushed, list := map[string]string{}, "data:\n"
	for _, row := range rows {
		pushed[row.name] = f.stranger(t, row.name, row.signer, row.says)
		list += "  stranger-" + row.name + ": " + pushed[row.name] + "\n"
	}
	f.judged(t, "tekton-chains", pushed["described"], notNamed)
	f.commit(t, "bob", "overlays/local/admission/images.yaml", "\ndata:\n", "\n"+list)
	for _, row := range rows {
		for _, namespace := range []string{"tekton-chains", "tekton-pipelines", "tekton-pipelines-resolvers", "factory-conformance", "build-sample"} {
			f.judged(t, namespace, pushed[row.name], row.refused)
		}
		f.debugged(t, pushed[row.name], row.refused)
	}
	// Kyverno has no say where it runs itself.
	f.judged(t, "kyverno", pushed["unsigned"], "")
	f.judged(t, "sigstore", pushed["unsigned"], "")
}

// judged tries a pod of the image, in whatever place of it.
func (f *factory) judged(t *testing.T, namespace, image, refused string) {
	t.Helper()
	good := f.must(t, "get", "configmap", "images", "--namespace=factory-catalog", "--output=jsonpath={.data.step}")
	pod := func(image string) string {
		return strings.Replace(manifest(t, "pod.yaml", "NAME", "judged", "IMAGE", image), "release-sample", namespace, 1)
	}
	again := func(name, image string) string {
		return "\n  - name: " + name + "\n    image: " + image +
			"\n    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}"
	}
	for place, input := range map[string]string{
		"a container": pod(image),
		// An image twice, and then another: Kyverno must not wait for itself.
		"an init container": pod(good) + "\n  initContainers:" + again("same", good) + again("other", image) + "\n",
		"a volume":          pod(good) + "\n  volumes:\n  - {name: other, image: {reference: \"" + image + "\"}}\n",
	} {
		out, err := f.kubectlOf(t, input, "create", "--dry-run=server", "-f", "-")
		if (err == nil) != (refused == "") || !strings.Contains(out, refused) {
			t.Errorf("%s as %s in %s: want %q: %v\n%s", image, place, namespace, refused, err, out)
		}
	}
}

// debugged tries to add it to a pod that runs, in an emergency.
func (f *factory) debugged(t *testing.T, image, refused string) {
	t.Helper()
	pod := f.must(t, "get", "pods", "--namespace=factory-conformance", "--output=name")
	out, err := f.kubectl(t, "debug", "--namespace=factory-conformance", pod, "--image="+image, "--profile=restricted", "--attach=false",
		"--as=somebody", "--as-group=system:masters", "--as-group=millwright:break-glass")
	if (err == nil) != (refused == "") || !strings.Contains(out, refused) {
		t.Errorf("%s as an ephemeral container: want %q: %v\n%s", image, refused, err, out)
	}
}

// stranger pushes an image of nothing, about which somebody says something, and
// returns how the node names it.
func (f *factory) stranger(t *testing.T, repository, signer string, says []string) string {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := push(t.Context(), f.registry(t), "stranger-"+repository, image)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range says {
		if err := f.signerNamed(t, signer).Attest(t.Context(), ref, kind, []byte(`{"spdxVersion":"SPDX-2.3"}`)); err != nil {
			t.Fatal(err)
		}
	}
	return node.Registry + "/" + ref.Context().RepositoryStr() + "@" + ref.DigestStr()
}

// signerNamed signs with the Sigstore beside the cluster, as a workload there.
func (f *factory) signerNamed(t *testing.T, subject string) images.Signer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.people(t)+"/token?"+url.Values{"sub": {subject}, "aud": {"sigstore"}, "ttl": {"10m"}}.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	token, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %v", resp.Status, token, err)
	}
	var root struct {
		Tlogs                  []struct{ BaseURL string }
		CertificateAuthorities []struct{ URI string }
		TimestampAuthorities   []struct{ URI string }
	}
	data, err := os.ReadFile(f.path("site", "sigstore", "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &root); err != nil || len(root.Tlogs) == 0 || len(root.CertificateAuthorities) == 0 || len(root.TimestampAuthorities) == 0 {
		t.Fatalf("the trusted root of who signs images: %v\n%s", err, data)
	}
	return images.Signer{
		Fulcio: root.CertificateAuthorities[0].URI, Rekor: root.Tlogs[0].BaseURL,
		TimestampAuthority: root.TimestampAuthorities[0].URI + "/api/v1/timestamp", Token: string(token),
	}
}
