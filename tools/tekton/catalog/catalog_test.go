package main

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	pipelinev1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/trustedresources"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// A Task that leaves to Tekton what Tekton fills in: types of parameters and results.
const task = `apiVersion: tekton.dev/v1
kind: Task
metadata:
  name: build
  namespace: factory-catalog
  labels: {millwright.dev/stage: build}
  annotations: {millwright.dev/egress: none}
spec:
  params:
  - {name: digest}
  - {name: many, default: [a, b]}
  results:
  - {name: OUT}
  stepTemplate:
    image: registry.example/step@sha256:1111111111111111111111111111111111111111111111111111111111111111
    computeResources: {}
  steps:
  - {name: one, command: [/app/step], args: ["-want=$(params.digest)"]}
  - {name: two, image: "registry.example/go@sha256:2222222222222222222222222222222222222222222222222222222222222222"}
  volumes:
  - {name: token, emptyDir: {medium: Memory, sizeLimit: 1024Ki}}
`

const pipeline = `apiVersion: tekton.dev/v1
kind: Pipeline
metadata: {name: secure-build, namespace: factory-catalog}
spec:
  tasks:
  - name: build
    taskRef: {kind: Task, resolver: cluster, params: [{name: kind, value: task}, {name: name, value: build}, {name: namespace, value: factory-catalog}]}
    params: [{name: digest, value: x}]
`

const policy = `apiVersion: tekton.dev/v1alpha1
kind: VerificationPolicy
metadata: {name: catalog, namespace: build-sample}
spec:
  resources:
  - pattern: ^/apis/tekton\.dev/v1/namespaces/factory-catalog/(task|pipeline)/[a-z0-9.-]+@[0-9a-f-]{36}$
  authorities:
  - name: catalog
    key: {data: KEY}
  mode: enforce
`

// signing is a key in a file, and what a policy says of it.
func signing(t *testing.T) (file, public string) {
	t.Helper()
	private, pub, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "catalog.key")
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(string(pub))
	if err != nil {
		t.Fatal(err)
	}
	return file, string(quoted)
}

func command(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(input), &out, &bytes.Buffer{})
	return out.String(), err
}

// signed is the catalog with its signatures in it, as kustomize merges them.
func signed(t *testing.T, key string, documents ...string) []map[string]any {
	t.Helper()
	patch, err := command(t, strings.Join(documents, "---\n"), "sign", "-key", key)
	if err != nil {
		t.Fatal(err)
	}
	signatures := map[string]any{}
	for document := range strings.SplitSeq(patch, "\n---\n") {
		var p map[string]any
		if err := yaml.Unmarshal([]byte(document), &p); err != nil {
			t.Fatal(err)
		}
		signatures[fmt.Sprint(p["kind"])] = p["metadata"].(map[string]any)["annotations"].(map[string]any)[trustedresources.SignatureAnnotation]
	}
	var all []map[string]any
	for _, document := range documents {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		metadata := o["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
			metadata["annotations"] = annotations
		}
		annotations[trustedresources.SignatureAnnotation] = signatures[fmt.Sprint(o["kind"])]
		all = append(all, o)
	}
	return all
}

func rendered(t *testing.T, objects []map[string]any, more ...string) string {
	t.Helper()
	documents := more
	for _, o := range objects {
		document, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(document))
	}
	return strings.Join(documents, "---\n")
}

func TestWhatWasSignedHoldsForEveryNamespaceOfBuilds(t *testing.T) {
	t.Parallel()
	key, public := signing(t)
	one := strings.ReplaceAll(policy, "KEY", public)
	out, err := command(t, rendered(t, signed(t, key, pipeline, task), one, strings.ReplaceAll(one, "build-sample", "build-other")), "verify")
	if err != nil || out != "2 signatures hold for runs in build-other\n2 signatures hold for runs in build-sample\n" {
		t.Errorf("%q, %v", out, err)
	}
	_, strange := signing(t)
	for name, input := range map[string]string{
		"another key":            rendered(t, signed(t, key, pipeline, task), strings.ReplaceAll(policy, "KEY", strange)),
		"in one namespace only":  rendered(t, signed(t, key, pipeline, task), one, strings.ReplaceAll(strings.ReplaceAll(policy, "KEY", strange), "build-sample", "build-other")),
		"signed by another":      rendered(t, signed(t, must(signing(t)), pipeline, task), one),
		"not signed":             strings.Join([]string{one, pipeline, task}, "---\n"),
		"what is no signature":   strings.Join([]string{one, strings.ReplaceAll(task, "{millwright.dev/egress: none}", "{tekton.dev/signature: MILLWRIGHT}")}, "---\n"),
		"a key that is no key":   rendered(t, signed(t, key, task), strings.ReplaceAll(policy, "KEY", "MILLWRIGHT_CATALOG_KEY")),
		"another's signature":    strings.ReplaceAll(rendered(t, signed(t, key, pipeline, task), one), "name: build\n  namespace", "name: sbom\n  namespace"),
		"one of another catalog": strings.ReplaceAll(rendered(t, signed(t, key, pipeline, task), one), "namespace: factory-catalog", "namespace: build-sample"),
	} {
		_, err := command(t, input, "verify")
		if reason(err) != "catalog/signature" && reason(err) != "catalog/policy" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func must(file, _ string) string { return file }

func reason(err error) string {
	var no *refusal
	if errors.As(err, &no) {
		return no.reason
	}
	return ""
}

// What the API server adds, and what Tekton's webhook fills in, is not signed or is
// signed as if it had been there.
func TestASignatureHoldsForWhatIsStored(t *testing.T) {
	t.Parallel()
	key, public := signing(t)
	for i, o := range signed(t, key, pipeline, task) {
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		found, err := read(strings.NewReader(string(raw) + "\n---\n" + strings.ReplaceAll(policy, "KEY", public)))
		if err != nil {
			t.Fatal(err)
		}
		s := found.resources[0]
		s.SetDefaults(t.Context())
		s.SetUID("a3b1c0de-0000-4000-8000-00000000000" + "1")
		s.SetResourceVersion("7")
		s.SetGeneration(2)
		s.SetCreationTimestamp(metav1.Now())
		s.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "millwright/catalog@millwright-system/factory", Operation: metav1.ManagedFieldsOperationApply}})
		stored, err := json.Marshal(s.resource)
		if err != nil {
			t.Fatal(err)
		}
		var again resource = &pipelinev1.Task{}
		if i == 0 {
			again = &pipelinev1.Pipeline{}
		}
		if err := json.Unmarshal(stored, again); err != nil {
			t.Fatal(err)
		}
		if err := accepted(t.Context(), signable{resource: again, kind: s.kind}, found.policies); err != nil {
			t.Errorf("%s: %v\n%s", s.kind, err, stored)
		}
	}
}

// Whatever is changed of what was signed, in any of its fields: it is refused.
func TestNoFieldOfASignedResourceCanBeChanged(t *testing.T) {
	t.Parallel()
	key, public := signing(t)
	changed := 0
	for _, o := range signed(t, key, pipeline, task) {
		every(o, func(where string, restore func(string) func()) {
			if where == ".apiVersion" || where == ".kind" {
				return // then it is not read as one
			}
			for _, other := range []string{"x", "X"} {
				back := restore(other)
				input := rendered(t, []map[string]any{o}, strings.ReplaceAll(policy, "KEY", public))
				back()
				changed++
				if _, err := command(t, input, "verify"); reason(err) == "" {
					t.Errorf("%s with another letter: %v", where, err)
				}
			}
		})
		if _, err := command(t, rendered(t, []map[string]any{o}, strings.ReplaceAll(policy, "KEY", public)), "verify"); err != nil {
			t.Errorf("as it was signed: %v", err)
		}
	}
	if changed < 60 {
		t.Errorf("%d changes were tried", changed)
	}
}

// every calls try with each string of an object; try may put another letter behind it.
func every(v any, try func(where string, change func(string) func())) {
	var walk func(v any, where string, set func(any))
	walk = func(v any, where string, set func(any)) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(e, where+"."+k, func(to any) { v[k] = to })
			}
		case []any:
			for i, e := range v {
				walk(e, fmt.Sprintf("%s[%d]", where, i), func(to any) { v[i] = to })
			}
		case string:
			try(where, func(letter string) func() {
				set(v + letter)
				return func() { set(v) }
			})
		}
	}
	walk(v, "", nil)
}

func TestTheSameCatalogAndKeyGiveTheSameFile(t *testing.T) {
	t.Parallel()
	key, _ := signing(t)
	one, err := command(t, pipeline+"---\n"+task, "sign", "-key", key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.yaml"), filepath.Join(dir, "signatures.yaml")
	again := strings.ReplaceAll(task, "{millwright.dev/egress: none}", "{millwright.dev/egress: none, tekton.dev/signature: an older one}")
	if err := os.WriteFile(in, []byte(again+"---\n"+pipeline), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command(t, "", "sign", "-key", key, "-in", in, "-out", out); err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(out)
	if err != nil || string(two) != one {
		t.Errorf("%v:\n%s\nbefore:\n%s", err, two, one)
	}
	// Whoever is refused keeps what was there.
	if _, err := command(t, strings.ReplaceAll(task, "@sha256:1", ":v1"), "sign", "-key", key, "-out", out); reason(err) != "catalog/image" {
		t.Error(err)
	}
	three, err := os.ReadFile(out)
	if err != nil || !bytes.Equal(two, three) {
		t.Errorf("%v:\n%s", err, three)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("in the folder are %v, %v", left, err)
	}
}

func TestWhatMeansLessThanItSeemsIsNotSigned(t *testing.T) {
	t.Parallel()
	key, _ := signing(t)
	changed := func(of, from, to string) string {
		if !strings.Contains(of, from) {
			t.Fatalf("there is no %q", from)
		}
		return strings.ReplaceAll(of, from, to)
	}
	digest := "@sha256:" + strings.Repeat("2", 64)
	for name, row := range map[string]struct{ input, reason string }{
		"nothing":                       {"", "catalog/empty"},
		"nothing to sign":               {policy, "catalog/empty"},
		"an image by its tag":           {changed(task, digest, ":v1"), "catalog/image"},
		"an image that a run names":     {changed(task, "registry.example/go@", "$(params.digest)@"), "catalog/image"},
		"no image":                      {changed(task, "    image: registry.example/step@sha256:"+strings.Repeat("1", 64)+"\n", ""), "catalog/image"},
		"a sidecar by its tag":          {task + "  sidecars: [{name: s, image: a}]\n", "catalog/image"},
		"a step that is elsewhere":      {changed(task, "  - {name: one, ", "  - {name: ref, ref: {name: other}}\n  - {name: one, "), "catalog/reference"},
		"a Task of the run's namespace": {changed(pipeline, "resolver: cluster, params: [{name: kind, value: task}, {name: name, value: build}, {name: namespace, value: factory-catalog}]", "name: build"), "catalog/reference"},
		"the same, in the end":          {changed(pipeline, "  tasks:\n", "  finally:\n  - {name: last, taskRef: {name: other}}\n  tasks:\n"), "catalog/reference"},
		"a Pipeline in a Pipeline":      {changed(pipeline, "  tasks:\n", "  tasks:\n  - {name: last, pipelineRef: {name: other}}\n"), "catalog/reference"},
		"a Task inside, by a tag":       {changed(pipeline, "  tasks:\n", "  tasks:\n  - {name: last, taskSpec: {steps: [{name: a, image: a}]}}\n"), "catalog/image"},
		"somebody else's work":          {changed(pipeline, "  tasks:\n", "  tasks:\n  - {name: last, taskSpec: {apiVersion: a/v1, kind: B, spec: {}}}\n"), "catalog/reference"},
		"a field that Tekton has not":   {changed(task, "  results:", "  outputs: []\n  results:"), "catalog/document"},
		"a field twice":                 {changed(task, "  results:", "  params: []\n  results:"), "catalog/document"},
		"no YAML":                       {"a: [", "catalog/document"},
		"no namespace":                  {changed(task, "  namespace: factory-catalog\n", ""), "catalog/name"},
		"the same twice":                {task + "---\n" + task, "catalog/twice"},
		"an older version":              {task + "---\n" + changed(pipeline, "tekton.dev/v1", "tekton.dev/v1beta1"), "catalog/kind"},
		"a step of its own":             {task + "---\n" + "apiVersion: tekton.dev/v1beta1\nkind: StepAction\n", "catalog/kind"},
		"too much":                      {task + "---\n" + strings.Repeat("#\n", limit/2), "catalog/size"},
	} {
		if out, err := command(t, row.input, "sign", "-key", key); reason(err) != row.reason || out != "" {
			t.Errorf("%s: %v\n%.200s", name, err, out)
		}
	}
}

func TestAPolicyThatWouldRefuseNothingIsRefused(t *testing.T) {
	t.Parallel()
	key, public := signing(t)
	for name, row := range map[string]string{
		"none":                      "",
		"it only warns":             strings.ReplaceAll(strings.ReplaceAll(policy, "KEY", public), "enforce", "warn"),
		"the key is in a Secret":    strings.ReplaceAll(policy, "{data: KEY}", "{secretRef: {name: a, namespace: b}}"),
		"there is no key":           strings.ReplaceAll(policy, "    key: {data: KEY}\n", ""),
		"it is about another place": strings.ReplaceAll(strings.ReplaceAll(policy, "KEY", public), "factory-catalog", "other"),
	} {
		if out, err := command(t, rendered(t, signed(t, key, task), row), "verify"); reason(err) != "catalog/policy" {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}

func TestKeysOfOpenSSLAndCosign(t *testing.T) {
	t.Setenv("COSIGN_PASSWORD", "correct")
	write := func(content []byte) string {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	made := func(curve elliptic.Curve, password string) string {
		private, _, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(curve, func(bool) ([]byte, error) {
			if password == "" {
				return nil, nil
			}
			return []byte(password), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return write(private)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := cryptoutils.MarshalPrivateKeyToPEM(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct{ file, reason string }{
		"plain":                 {made(elliptic.P256(), ""), ""},
		"with the password":     {made(elliptic.P256(), "correct"), ""},
		"with another password": {made(elliptic.P256(), "wrong"), "key/unreadable"},
		"no key":                {write([]byte("nothing")), "key/unreadable"},
		"of another curve":      {made(elliptic.P384(), ""), "key/kind"},
		"of another kind":       {write(foreign), "key/kind"},
	} {
		if _, err := command(t, task, "sign", "-key", row.file); reason(err) != row.reason || err != nil && row.reason == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACallThatMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"seal"}, {"sign"}, {"verify", "-key", "x"}, {"sign", "-key", "x", "more"}} {
		if _, err := command(t, task, args...); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if _, err := command(t, "", "verify", "-in", "no-such-file"); err == nil || reason(err) != "" || errors.Is(err, errUsage) {
		t.Errorf("a file that is not there: %v", err)
	}
}
