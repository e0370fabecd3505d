package factory_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
)

// withObjects is a file whose component tekton has the given entries.
func withObjects(entries string) string {
	text := strings.Replace(accepted, "drift: off", `drift: "off"`, 1)
	return strings.Replace(text, "drift: alert}", "drift: alert, objects: ["+entries+"]}", 1)
}

func TestOfSeveralRulesTheMostSpecificCountsAlone(t *testing.T) {
	t.Parallel()
	c, err := factory.Decode([]byte(withObjects(`
    {group: apps, kind: Deployment, drift: "off"},
    {group: apps, kind: Deployment, namespace: build, ignore: [.spec.replicas]},
    {group: apps, kind: Deployment, name: web, force: true},
    {group: apps, kind: Deployment, namespace: build, name: web, recreate: true},
    {kind: ConfigMap, exact: true}`)))
	if err != nil {
		t.Fatal(err)
	}
	k, _ := c.Component("tekton")
	deployment := func(namespace, name string) render.ID {
		return render.ID{Group: "apps", Kind: "Deployment", Namespace: namespace, Name: name}
	}
	for name, row := range map[string]struct {
		id   render.ID
		want factory.Rule
	}{
		"by kind":                          {deployment("other", "api"), factory.Rule{Drift: factory.DriftOff}},
		"by namespace":                     {deployment("build", "api"), factory.Rule{Ignore: []string{".spec.replicas"}}},
		"by name":                          {deployment("other", "web"), factory.Rule{Force: true}},
		"by both":                          {deployment("build", "web"), factory.Rule{Recreate: true}},
		"by kind of the core group":        {render.ID{Kind: "ConfigMap", Namespace: "x", Name: "y"}, factory.Rule{Exact: true}},
		"not by a kind of another group":   {render.ID{Group: "example.org", Kind: "ConfigMap", Name: "y"}, factory.Rule{}},
		"not by another kind of the group": {render.ID{Group: "apps", Kind: "DaemonSet", Name: "web"}, factory.Rule{}},
	} {
		if diff := cmp.Diff(row.want, k.Rule(row.id)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	other, _ := c.Component("namespaces")
	if diff := cmp.Diff(factory.Rule{}, other.Rule(deployment("build", "web"))); diff != "" {
		t.Errorf("a rule of another component counts: %s", diff)
	}
}

func TestAFieldThatIsIgnoredStandsForAllBelowItAndNothingBeside(t *testing.T) {
	t.Parallel()
	r := factory.Rule{Ignore: []string{".spec.replicas", `.metadata.annotations["example.org/a"]`, ".spec.containers[name=web]"}}
	for path, want := range map[string]bool{
		".spec.replicas":                         true,
		".spec.replicasMax":                      false,
		".spec":                                  false,
		".":                                      false,
		`.metadata.annotations["example.org/a"]`: true,
		`.metadata.annotations["example.org/ab"]`:  false,
		".spec.containers[name=web].image":         true,
		".spec.containers[name=web][0]":            true,
		".spec.containers[name=webber].image":      false,
		`.metadata.annotations["example.org/a"].b`: true,
	} {
		if got := r.Ignores(path); got != want {
			t.Errorf("%s: got %v", path, got)
		}
	}
}

func TestRulesThatAreNotExactlyUnderstoodAreRefused(t *testing.T) {
	t.Parallel()
	ignore := func(field string) string { return "{kind: Pod, ignore: ['" + field + "']}" }
	for name, row := range map[string]struct{ entries, code string }{
		"a twin that is fine":                {"{kind: Pod, force: true}", ""},
		"no kind":                            {"{group: apps, force: true}", "factory/object"},
		"a plural instead of a kind":         {"{group: apps, kind: deployments, force: true}", "factory/object"},
		"a group with its version":           {"{group: apps/v1, kind: Deployment, force: true}", "factory/object"},
		"a namespace as a pattern":           {"{kind: Pod, namespace: 'b*', force: true}", "factory/object"},
		"a name as a pattern":                {"{kind: Pod, name: 'b*', force: true}", "factory/object"},
		"a name of RBAC is fine":             {"{group: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:x', force: true}", ""},
		"nothing set":                        {"{kind: Pod, name: x}", "factory/object"},
		"nothing set but falsehood":          {"{kind: Pod, force: false}", "factory/object"},
		"an empty list of fields":            {"{kind: Pod, ignore: []}", "factory/object"},
		"an unknown setting":                 {"{kind: Pod, prune: false}", "factory/syntax"},
		"a setting given twice":              {"{kind: Pod, force: true, force: true}", "factory/syntax"},
		"the same objects twice":             {"{kind: Pod, force: true}, {kind: Pod, exact: true}", "factory/twice"},
		"an unknown drift mode":              {"{kind: Pod, drift: ignore}", "factory/drift"},
		"drift off, and yet exact":           {`{kind: Pod, drift: "off", exact: true}`, "factory/object"},
		"drift off, and yet ignoring":        {`{kind: Pod, drift: "off", ignore: [.spec]}`, "factory/object"},
		"recreate of a namespace":            {"{kind: Namespace, recreate: true}", "factory/object"},
		"recreate of a definition":           {"{group: apiextensions.k8s.io, kind: CustomResourceDefinition, recreate: true}", "factory/object"},
		"recreate of a claim":                {"{kind: PersistentVolumeClaim, name: x, recreate: true}", "factory/object"},
		"recreate of a job is fine":          {"{group: batch, kind: Job, recreate: true}", ""},
		"a plain field":                      {ignore(".spec.replicas"), ""},
		"a quoted key":                       {ignore(`.metadata.annotations["example.org/a]b"]`), ""},
		"an item by name":                    {ignore(".spec.containers[name=web].image"), ""},
		"an item by index":                   {ignore(".spec.args[0]"), ""},
		"an empty key":                       {ignore(`.data[""]`), ""},
		"a field without its dot":            {ignore("spec.replicas"), "factory/field"},
		"the whole object":                   {ignore("."), "factory/field"},
		"an empty field":                     {ignore(""), "factory/field"},
		"a plain key in brackets":            {ignore(`.data["plain"]`), "factory/field"},
		"an index with a sign":               {ignore(".spec.args[+1]"), "factory/field"},
		"an index that is none":              {ignore(".spec.args[x]"), "factory/field"},
		"any item":                           {ignore(".spec.args[*]"), "factory/field"},
		"a bracket that is not closed":       {ignore(".spec.args[0"), "factory/field"},
		"a quote that is not closed":         {ignore(`.data["a/b`), "factory/field"},
		"JSON pointer":                       {ignore("/spec/replicas"), "factory/field"},
		"all metadata, and with it the name": {ignore(".metadata"), "factory/field"},
		"the status, which is never drift":   {ignore(".status.phase"), "factory/field"},
		"the same field twice":               {"{kind: Pod, ignore: [.spec.a, .spec.a]}", "factory/twice"},
		"a field and one below it":           {"{kind: Pod, ignore: [.spec.a, .spec]}", "factory/twice"},
		"too long a field":                   {ignore("." + strings.Repeat("a", 256)), "factory/field"},
		"too many fields":                    {"{kind: Pod, ignore: [" + strings.Repeat(".a, ", 33) + "]}", "factory/count"},
		"too many entries":                   {strings.Repeat("{kind: Pod, force: true}, ", 257), "factory/count"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := factory.Decode([]byte(withObjects(row.entries)))
			var no *factory.Refusal
			switch {
			case row.code == "" && err != nil:
				t.Errorf("refused: %v", err)
			case row.code != "" && (!errors.As(err, &no) || no.Code != row.code || no.Hint == ""):
				t.Errorf("got %v, want code %s with a hint", err, row.code)
			}
		})
	}
}

func TestAGateHasATimeAndExpressionsThatCompile(t *testing.T) {
	t.Parallel()
	with := func(setting string) string {
		text := strings.Replace(accepted, "drift: off", `drift: "off"`, 1)
		return strings.Replace(text, "drift: alert}", "drift: alert, "+setting+"}", 1)
	}
	c, err := factory.Decode([]byte(with(`wait: 90s, health: [{apiVersion: example.org/v1, kind: Mill, current: "object.status.ready"}]`)))
	if err != nil {
		t.Fatal(err)
	}
	k, _ := c.Component("tekton")
	if k.Wait != 90*time.Second || len(k.Health) != 1 || !k.Health[0].For("example.org/v1", "Mill") {
		t.Errorf("got %+v", k)
	}
	check := func(s string) string { return "health: [{" + s + "}]" }
	for name, row := range map[string]struct{ setting, code string }{
		"no duration":               {"wait: yes", "factory/wait"},
		"a number without its unit": {"wait: '30'", "factory/wait"},
		"no time at all":            {"wait: 0s", "factory/wait"},
		"a day":                     {"wait: 24h", "factory/wait"},
		"a kind without a group":    {check("apiVersion: v1, kind: Pod, current: 'true'"), "factory/check"},
		"a kind of Kubernetes":      {check("apiVersion: apps/v1, kind: Deployment, current: 'true'"), "factory/check"},
		"no kind":                   {check("apiVersion: example.org/v1, current: 'true'"), "factory/check"},
		"no expression":             {check("apiVersion: example.org/v1, kind: Mill"), "factory/check"},
		"a bad expression":          {check("apiVersion: example.org/v1, kind: Mill, current: object."), "factory/check"},
		"a bad second expression":   {check("apiVersion: example.org/v1, kind: Mill, current: 'true', failed: '1'"), "factory/check"},
		"an unknown field":          {check("apiVersion: example.org/v1, kind: Mill, current: 'true', inProgress: x"), "factory/syntax"},
		"a kind twice": {"health: [{apiVersion: example.org/v1, kind: Mill, current: 'true'}, " +
			"{apiVersion: example.org/v1, kind: Mill, current: 'true'}]", "factory/twice"},
		"too many kinds": {"health: [" + strings.Repeat("{apiVersion: example.org/v1, kind: Mill, current: 'true'}, ", 65) + "]", "factory/count"},
	} {
		_, err := factory.Decode([]byte(with(row.setting)))
		var no *factory.Refusal
		if !errors.As(err, &no) || no.Code != row.code || no.Hint == "" {
			t.Errorf("%s: got %v, want code %s with a hint", name, err, row.code)
		}
	}
}
