package overlays_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// theList is where POL-K10 looks up what may run.
const theList = "configmap images -n factory-catalog"

// podOf is a pod as restrictive as any, with more of its specification.
func podOf(namespace, image, more string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: %s}, spec: {serviceAccountName: p, nodeName: nowhere, automountServiceAccountToken: false, %s
		securityContext: {runAsNonRoot: true, runAsUser: 1, seccompProfile: {type: RuntimeDefault}}, containers: [%s]}}`, namespace, more, container("c", image))
}

func container(name, image string) string {
	return fmt.Sprintf(`{name: %s, image: %q, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}`, name, image)
}

// imageNamed is one that the environment names.
func imageNamed(t *testing.T, name string) string {
	t.Helper()
	for _, image := range listed(t, mustBuild(t)) {
		if strings.Contains(image, "/"+name+"@") {
			return image
		}
	}
	t.Fatalf("no image %s is listed", name)
	return ""
}

// namedImages needs the pod p that entering made in the namespace sigstore.
func namedImages(t *testing.T) {
	good, digest := imageNamed(t, "step"), "@sha256:"+strings.Repeat("0", 64)
	const notNamed, byTag = "POL-K10: the signed repository does not name the image", "POL-K10: an image is named by its digest"
	other := "registry.example.org/step" + digest
	for _, namespace := range []string{"build-sample", "millwright-system", "spire-system", "default"} {
		mustKubectl(t, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: p, namespace: `+namespace+`}}`, "create", "-f", "-")
	}
	again := func(text string) string { return strings.Replace(text, "name: p,", "name: again,", 1) }
	volume := func(image string) string { return fmt.Sprintf("volumes: [{name: v, image: {reference: %q}}],", image) }
	rows := map[string]admitted{
		"an image that is named":            {asUser(person), podOf("sigstore", good, ""), "create -f -", ""},
		"one that is not":                   {asUser(person), podOf("sigstore", other, ""), "create -f -", notNamed},
		"by the reconciler":                 {asUser(reconcilers), podOf("sigstore", other, ""), "create -f -", notNamed},
		"one of this registry":              {asUser(person), podOf("sigstore", "registry.localhost:5000/pause"+digest, ""), "create -f -", notNamed},
		"a tag":                             {asUser(person), podOf("sigstore", "registry.localhost:5000/step:latest", ""), "create -f -", byTag},
		"half a digest":                     {asUser(person), podOf("sigstore", "registry.localhost:5000/step@sha256:00", ""), "create -f -", byTag},
		"to begin with":                     {asUser(person), podOf("sigstore", good, "initContainers: ["+container("i", other)+"],"), "create -f -", notNamed},
		"to begin with, a named one":        {asUser(person), podOf("sigstore", good, "initContainers: ["+container("i", good)+"],"), "create -f -", ""},
		"as a volume":                       {asUser(person), podOf("spire-system", good, volume(other)), "create -f -", notNamed},
		"as a volume, a named one":          {asUser(person), podOf("spire-system", good, volume(good)), "create -f -", ""},
		"where builds run":                  {asUser(tekton), podOf("build-sample", other, ""), "create -f -", notNamed},
		"where builds run, a named one":     {asUser(tekton), podOf("build-sample", good, ""), "create -f -", ""},
		"beside the reconciler":             {asUser(person), podOf("millwright-system", other, ""), "create -f -", notNamed},
		"where releases run":                {asUser(person), podOf("release-sample", other, ""), "create -f -", ""}, // Kyverno's to judge
		"outside of the factory":            {asUser(person), podOf("default", other, ""), "create -f -", ""},
		"a note on a pod that is there":     {asUser(person), "", "label pod p -n sigstore a=b", ""},
		"another image for it":              {asUser(person), "", "set image pod/p -n sigstore c=" + other, notNamed},
		"another image for it, a named one": {asUser(person), "", "set image pod/p -n sigstore c=" + imageNamed(t, "files"), ""},
	}
	for name, r := range rows {
		r.input = again(r.input)
		rows[name] = r
	}
	ask(t, "--dry-run=server", rows)

	emergency := asUser(person, "millwright:break-glass")
	for name, row := range map[string]struct{ image, refused string }{"good": {good, ""}, "other": {other, notNamed}} {
		image, refused := row.image, row.refused
		out, err := kubectl(t, "", append(emergency, "debug", "p", "-n", "sigstore", "--image="+image, "--profile=restricted", "--container="+name)...)
		if (err == nil) != (refused == "") || !strings.Contains(out, refused) {
			t.Errorf("an ephemeral container of %s: want %q: %v\n%s", image, refused, err, out)
		}
	}
	withoutTheList(t, good)
}

// What was let in is looked after when the repository names it no more, and nothing
// new of it starts; where nothing is named nothing starts.
func withoutTheList(t *testing.T, image string) {
	change := func(command string) { mustKubectl(t, "", append(asUser(reconcilers), strings.Fields(command)...)...) }
	refused := func(want string) {
		t.Helper()
		// The API server hears of what it stores a moment later.
		deadline := time.Now().Add(10 * time.Second)
		for {
			out, err := kubectl(t, strings.Replace(podOf("sigstore", image, ""), "name: p,", "name: again,", 1), append(asUser(person), "create", "--dry-run=server", "-f", "-")...)
			if err != nil && strings.Contains(out, "mw-k10-named-images") && strings.Contains(out, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("want a refusal with %q: %v\n%s", want, err, out)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	for _, gone := range []string{"/data/step", "/data"} {
		change("patch " + theList + ` --type=json -p [{"op":"remove","path":"` + gone + `"}]`)
		refused("POL-K10: the signed repository does not name the image")
		mustKubectl(t, "", append(asUser(person), "label", "pod", "p", "-n", "sigstore", "--dry-run=server", "a=b")...)
	}
	change("delete " + theList)
	refused("parameterNotFoundAction")
	mustKubectl(t, list(t, mustBuild(t), func(o object) bool { return o.component == "admission" }),
		append(asUser(reconcilers), "apply", "--server-side", "--field-manager=millwright/test", "-f", "-")...)
}
