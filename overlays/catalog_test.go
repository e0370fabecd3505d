package overlays_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// declaration is what matters here of a Task of the catalog, or of one in a Pipeline.
type declaration struct {
	Metadata struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Spec struct {
		Workspaces []struct {
			Name     string
			ReadOnly bool
		}
		Results []struct{ Name, Value string }
		Steps   []struct {
			Name, Image string
			Args        []string
		}
		Volumes []map[string]any
		Tasks   []struct {
			Name, Timeout string
			RunAfter      []string
		}
	}
}

func catalog(t *testing.T) map[string]declaration {
	t.Helper()
	all := map[string]declaration{}
	for _, o := range mustBuild(t) {
		if o.component != "catalog" {
			continue
		}
		var made declaration
		if err := json.Unmarshal(o.json, &made); err != nil {
			t.Fatal(err)
		}
		all[made.Metadata.Name] = made
	}
	return all
}

// Where code of somebody else is compiled or runs, nothing can be reached and nothing
// is to be had, and that is proven first.
func TestCodeOfOthersRunsInTheJailAndWritesNothingThatCounts(t *testing.T) {
	t.Parallel()
	writes := map[string][]string{"build": {"out"}, "test": nil}
	for name, made := range catalog(t) {
		want, others := writes[name]
		if label := made.Metadata.Labels["millwright.dev/usercode"]; made.Metadata.Name != "secure-build" && (label == "true") != others {
			t.Errorf("%s: usercode is %q", name, label)
		}
		if !others {
			continue
		}
		delete(writes, name)
		if made.Metadata.Labels["millwright.dev/egress"] != "none" || made.Metadata.Annotations["millwright.dev/egress"] != "none" {
			t.Errorf("%s may reach %q", name, made.Metadata.Annotations["millwright.dev/egress"])
		}
		if steps := made.Spec.Steps; len(steps) != len(catalogSteps[name]) || steps[0].Args[0] != "canary" || len(steps[0].Args) < 3 {
			t.Errorf("%s does not begin with a canary that has something to try", name)
		}
		for i, s := range made.Spec.Steps {
			if i < len(catalogSteps[name]) && s.Name != catalogSteps[name][i] {
				t.Errorf("%s: step %d is %s", name, i, s.Name)
			}
		}
		for _, w := range made.Spec.Workspaces {
			if w.ReadOnly == slices.Contains(want, w.Name) {
				t.Errorf("%s: of its workspace %s it is said that read-only is %v", name, w.Name, w.ReadOnly)
			}
		}
		for _, v := range made.Spec.Volumes {
			if v["name"] != "tmp" || v["emptyDir"] == nil {
				t.Errorf("%s has the volume %v", name, v)
			}
		}
	}
	if len(writes) > 0 {
		t.Errorf("there is no Task %v", writes)
	}
}

// catalogSteps are in an order that counts: what has been tested can have done
// anything to its pod, so that nothing of ours comes after it.
var catalogSteps = map[string][]string{
	"build": {"canary", "verify-source", "verify-deps", "compile", "seal"},
	"test":  {"canary", "verify-source", "verify-deps", "test"},
}

// believed are the names that Chains goes by.
var believed = regexp.MustCompile(`^CHAINS-|IMAGE_URL$|IMAGE_DIGEST$|^IMAGES$|ARTIFACT`)

// What Chains believes comes from Tasks in which no code of others runs, and is
// published after the tests.
func TestWhatChainsBelievesIsSaidByTheFactoryAlone(t *testing.T) {
	t.Parallel()
	all := catalog(t)
	said := 0
	for name, made := range all {
		for _, r := range made.Spec.Results {
			if !believed.MatchString(r.Name) {
				continue
			}
			said++
			_, from, _ := strings.Cut(r.Value, "$(tasks.")
			from, _, _ = strings.Cut(from, ".")
			if name != "source" && name != "publish" && (name != "secure-build" || from != "source" && from != "publish") {
				t.Errorf("%s says %s, with the value %q", name, r.Name, r.Value)
			}
		}
	}
	if said != 8 {
		t.Errorf("%d results are for Chains, want two each of source, publish, and both of the Pipeline", said)
	}
	if results := all["test"].Spec.Results; len(results) > 0 {
		t.Errorf("test has results: %v", results)
	}
	for _, in := range all["secure-build"].Spec.Tasks {
		if in.Name == "publish" && !slices.Contains(in.RunAfter, "test") {
			t.Error("publish does not wait for test")
		}
		if in.Name == "test" && in.Timeout == "" {
			t.Error("test may go on for ever")
		}
	}
}
