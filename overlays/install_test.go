package overlays_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// install is what overlays/local/<name> makes, by the names of the objects.
func install(t *testing.T, name string) map[string]object {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("local", name))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]object{}
	for _, r := range built.Resources() {
		content, err := r.Map()
		if err != nil {
			t.Fatal(err)
		}
		j, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		o := object{component: name, content: content, json: j}
		out[o.id()] = o
	}
	return out
}

const theController = "Deployment.apps millwright-system/millwright-controller"

// The key is exchanged for the identity, and nothing else changes: not the rights,
// not the image, not how the pod is bounded.
func TestTheIdentityTakesThePlaceOfTheKeyAndChangesNothingElse(t *testing.T) {
	t.Parallel()
	before, after := install(t, "millwright"), install(t, "millwright-identity")
	var changed []string
	for id, o := range after {
		if string(before[id].json) != string(o.json) {
			changed = append(changed, id)
		}
	}
	if diff := cmp.Diff([]string{theController}, changed); diff != "" || len(before) != len(after) {
		t.Fatalf("%d objects became %d; changed are (-want +got):\n%s", len(before), len(after), diff)
	}
	got := map[string]string{}
	compare(got, "", before[theController].content, after[theController].content)
	want := map[string]string{
		".spec.template.spec.containers.controller.args.6":                   "--attest-key=/key/attest.key → --spiffe-socket=/spiffe/api.sock",
		".spec.template.spec.containers.controller.volumeMounts.0.name":      "key → spiffe",
		".spec.template.spec.containers.controller.volumeMounts.0.mountPath": "/key → /spiffe",
		".spec.template.spec.volumes.0.name":                                 "key → spiffe",
		".spec.template.spec.volumes.0.secret":                               "map[secretName:millwright-attest-key] → <nil>",
		".spec.template.spec.volumes.0.csi":                                  "<nil> → map[driver:csi.spiffe.io readOnly:true]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

// compare writes down where two trees differ.
func compare(out map[string]string, at string, a, b any) {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			for k := range x {
				compare(out, at+"."+k, x[k], y[k])
			}
			for k := range y {
				if _, ok := x[k]; !ok {
					compare(out, at+"."+k, nil, y[k])
				}
			}
			return
		}
	case []any:
		if y, ok := b.([]any); ok && len(x) == len(y) {
			for i := range x {
				compare(out, fmt.Sprintf("%s.%s", at, step(x[i], i)), x[i], y[i])
			}
			return
		}
	}
	if fmt.Sprint(a) != fmt.Sprint(b) {
		out[at] = fmt.Sprintf("%v → %v", a, b)
	}
}

// step is the name of a container, or an index.
func step(item any, i int) string {
	if m, ok := item.(map[string]any); ok && m["image"] != nil {
		return fmt.Sprint(m["name"])
	}
	return fmt.Sprint(i)
}

func TestTheInstallRunsWhatTheFactoryBuiltAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"millwright", "millwright-identity"} {
		seen := 0
		for _, o := range install(t, name) {
			for where, image := range imagesOf(o) {
				seen++
				if digest, ok := strings.CutPrefix(image, "registry.localhost:5000/millwright@sha256:"); !ok || len(digest) != 64 {
					t.Errorf("%s: %s runs %q as %s", name, o.id(), image, where)
				}
			}
		}
		if seen != 1 {
			t.Errorf("%s: %d images were looked at, want that of the controller", name, seen)
		}
	}
}
