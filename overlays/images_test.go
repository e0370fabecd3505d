package overlays_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A base leaves upstream's placeholder where an environment must name an image. A
// tag may be another image tomorrow; a digest never is.
func TestEveryImageIsNamedByItsDigest(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`^[a-z0-9.]+(:[0-9]+)?(/[a-z0-9._-]+)+(:[A-Za-z0-9._-]+)?@sha256:[0-9a-f]{64}$`)
	seen := map[string]int{}
	for _, o := range mustBuild(t) {
		if strings.Contains(string(o.json), "ko://") {
			t.Errorf("%s names an image that only its own build can resolve", o.id())
		}
		for where, image := range imagesOf(o) {
			seen[o.text("kind")]++
			if !pinned.MatchString(image) {
				t.Errorf("%s runs %q as %s", o.id(), image, where)
			}
		}
	}
	want := map[string]int{"DaemonSet": 2, "Deployment": 21, "StatefulSet": 6, "Task": 10}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("images that were looked at (-want +got):\n%s", diff)
	}
}

// POL-K10 lets run what the list names: all that something of the environment runs,
// and nothing that nothing runs. Millwright's own image is whoever's who installs it.
func TestTheListOfImagesIsOfThoseThatRunAndOfNoOthers(t *testing.T) {
	t.Parallel()
	install, err := os.ReadFile(filepath.Join("local", "millwright", "controller.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	own := regexp.MustCompile(`image: (\S+)`).FindSubmatch(install)
	if own == nil {
		t.Fatal("the install names no image")
	}
	if diff := cmp.Diff(running(mustBuild(t), string(own[1])), listed(t, mustBuild(t))); diff != "" {
		t.Errorf("images (-run +listed):\n%s", diff)
	}
}

func running(objects []object, more ...string) []string {
	all := more
	for _, o := range objects {
		for _, image := range imagesOf(o) {
			all = append(all, image)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// listed are the images that the parameters of POL-K10 name.
func listed(t *testing.T, objects []object) []string {
	t.Helper()
	var all []string
	for _, o := range objects {
		if o.id() != "ConfigMap. factory-catalog/images" {
			continue
		}
		if o.component != "admission" || all != nil {
			t.Errorf("%s declares %s", o.component, o.id())
		}
		data, _ := o.field("data").(map[string]any)
		for _, image := range data {
			all = append(all, fmt.Sprint(image))
		}
	}
	slices.Sort(all)
	return all
}

// imagesOf are the images that an object has run, by where it says so: of its pods,
// in arguments (Tekton adds containers to pods of builds), and of the steps of a Task.
func imagesOf(o object) map[string]string {
	out := map[string]string{}
	add := func(at string, value any) {
		if image, ok := value.(string); ok {
			out[at] = image
		}
	}
	for _, at := range [][]string{{"spec", "template", "spec", "initContainers"}, {"spec", "template", "spec", "containers"}, {"spec", "steps"}} {
		containers, _ := o.field(at...).([]any)
		for i, c := range containers {
			container, _ := c.(map[string]any)
			name := fmt.Sprintf("%s[%d]", at[len(at)-1], i)
			add(name, container["image"])
			args, _ := container["args"].([]any)
			for j := 1; j < len(args); j++ {
				if flag, _ := args[j-1].(string); strings.HasSuffix(flag, "-image") {
					add(name+" "+flag, args[j])
				}
			}
		}
	}
	if template, ok := o.field("spec", "stepTemplate").(map[string]any); ok {
		add("stepTemplate", template["image"])
	}
	return out
}

// Rules for the network add up: one that selects the pods that may reach nothing
// would be the one that counts (N02, N03).
func TestNoRuleForTheNetworkIsAboutBuildsThatMayReachNothing(t *testing.T) {
	t.Parallel()
	denied := map[string]bool{}
	for _, o := range mustBuild(t) {
		if o.text("kind") != "NetworkPolicy" {
			continue
		}
		namespace := o.text("metadata", "namespace")
		if o.text("metadata", "name") == "default-deny" {
			denied[namespace] = o.field("spec", "ingress") == nil && o.field("spec", "egress") == nil
			continue
		}
		class := o.text("spec", "podSelector", "matchLabels", "millwright.dev/egress")
		if namespace == "build-sample" && (class == "" || class == "none" || o.field("spec", "podSelector", "matchExpressions") != nil) {
			t.Errorf("%s selects builds of the class %q", o.id(), class)
		}
	}
	for _, o := range mustBuild(t) {
		if name := o.text("metadata", "name"); o.text("kind") == "Namespace" && name != "factory-catalog" && !denied[name] {
			t.Errorf("%s does not deny by default", o.id())
		}
	}
}
