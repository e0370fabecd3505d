package plan

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const us = "millwright/mill@a/b"

func tree(t testing.TB, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func managed(manager, operation, fields string) metav1.ManagedFieldsEntry {
	f := metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationType(operation), FieldsV1: &metav1.FieldsV1{}}
	f.FieldsV1.SetRawString(fields)
	return f
}

func pathsOf(d []Difference) string {
	out := make([]string, 0, len(d))
	for _, x := range d {
		out = append(out, x.Path)
	}
	return strings.Join(out, " ")
}

func TestWhatAdmissionChangedIsToldFromWhatTheServerWritesOtherwise(t *testing.T) { // row F07
	t.Parallel()
	const container = `{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},"f:image":{},"f:args":{},"f:resources":{"f:limits":{"f:cpu":{}}}}}}}`
	declared := `{"spec":{"containers":[{"name":"c","image":"a","args":["x"],"resources":{"limits":{"cpu":"1000m"}}}]}}`
	for name, c := range map[string]struct{ fields, declared, answer, want string }{
		"all is as declared":                            {container, declared, declared, ""},
		"a quantity is written otherwise":               {container, declared, strings.Replace(declared, "1000m", "1", 1), ""},
		"defaults and a sidecar beside it":              {container, declared, strings.Replace(declared, `"image"`, `"imagePullPolicy":"Always","image"`, 1), ""},
		"a sidecar before it":                           {container, declared, strings.Replace(declared, `[{"name":"c"`, `[{"name":"s"},{"name":"c"`, 1), ""},
		"another value":                                 {container, declared, strings.Replace(declared, `"a"`, `"b"`, 1), ".spec.containers[name=c].image"},
		"another quantity":                              {container, declared, strings.Replace(declared, "1000m", "2", 1), ".spec.containers[name=c].resources.limits.cpu"},
		"a value more in a list that is one value":      {container, declared, strings.Replace(declared, `["x"]`, `["x","y"]`, 1), ".spec.containers[name=c].args"},
		"a field taken away":                            {container, declared, strings.Replace(declared, `"image":"a",`, "", 1), ".spec.containers[name=c].image"},
		"the item taken away":                           {container, declared, `{"spec":{"containers":[]}}`, ".spec.containers[name=c]"},
		"a false that is left out":                      {`{"f:spec":{"f:hostNetwork":{}}}`, `{"spec":{"hostNetwork":false}}`, `{"spec":{}}`, ""},
		"an empty list that is left out":                {`{"f:rules":{}}`, `{"rules":[]}`, `{}`, ""},
		"a false that became true":                      {`{"f:spec":{"f:hostNetwork":{}}}`, `{"spec":{"hostNetwork":false}}`, `{"spec":{"hostNetwork":true}}`, ".spec.hostNetwork"},
		"defaults inside of a list that is one value":   {`{"f:rules":{}}`, `{"rules":[{"a":["x"]}]}`, `{"rules":[{"a":["x"],"scope":"*"}]}`, ""},
		"another rule in a list that is one value":      {`{"f:rules":{}}`, `{"rules":[{"a":["x"]}]}`, `{"rules":[{"a":["y"]}]}`, ".rules"},
		"text of a Secret that is read as data":         {`{"f:stringData":{"f:a":{}}}`, `{"stringData":{"a":"x"}}`, `{"data":{"a":"eA=="}}`, ""},
		"a value of a set":                              {`{"f:metadata":{"f:finalizers":{"v:\"x\"":{}}}}`, `{"metadata":{"finalizers":["x"]}}`, `{"metadata":{"finalizers":["y","x"]}}`, ""},
		"a value that left a set":                       {`{"f:metadata":{"f:finalizers":{"v:\"x\"":{}}}}`, `{"metadata":{"finalizers":["x"]}}`, `{"metadata":{"finalizers":["y"]}}`, ".metadata.finalizers"},
		"an item whose key is left to its default":      {`{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:port":{}}}}`, `{"ports":[{"port":80}]}`, `{"ports":[{"port":80,"protocol":"TCP"}]}`, ""},
		"a field that is not ours is no matter of ours": {`{"f:data":{"f:a":{}}}`, `{"data":{"a":"x","b":"y"}}`, `{"data":{"a":"x","b":"z"}}`, ""},
	} {
		got := Unheld(tree(t, c.declared), tree(t, c.answer), []metav1.ManagedFieldsEntry{
			managed(us, "Apply", c.fields), managed("rogue", "Update", `{"f:spec":{"f:other":{}}}`),
		}, us)
		if pathsOf(got) != c.want {
			t.Errorf("%s: %q, want %q", name, pathsOf(got), c.want)
		}
	}
}

func TestWhatOthersAddedIsFoundAndNothingElse(t *testing.T) { // row F05
	t.Parallel()
	live := `{"metadata":{"labels":{"x":"y"}},"data":{"a":"1","b/c":"2"},"status":{"ok":true},
		"spec":{"containers":[{"name":"evil"},{"name":"c","image":"a","env":[{"name":"E","value":"v"}]}],"replicas":1,"args":["x"]}}`
	own := managed(us, "Apply", `{"f:metadata":{"f:labels":{"f:x":{}}},"f:data":{"f:a":{}},"f:spec":{"f:args":{},"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},"f:image":{}}}}}`)
	for name, c := range map[string]struct {
		by   metav1.ManagedFieldsEntry
		want string
	}{
		"a sidecar and an environment variable": {
			managed("rogue", "Update", `{"f:spec":{"f:containers":{"k:{\"name\":\"evil\"}":{".":{},"f:name":{}},"k:{\"name\":\"c\"}":{"f:env":{".":{},"k:{\"name\":\"E\"}":{".":{},"f:name":{},"f:value":{}}}}}}}`),
			"/spec/containers/1/env /spec/containers/0",
		},
		"a key with a slash":                       {managed("rogue", "Update", `{"f:data":{".":{},"f:b/c":{}}}`), "/data/b~1c"},
		"metadata and status are no content":       {managed("rogue", "Update", `{"f:metadata":{"f:annotations":{"f:z":{}}},"f:status":{"f:ok":{}}}`), ""},
		"the same fields as ours":                  {managed("rogue", "Update", `{"f:data":{"f:a":{}},"f:spec":{"f:args":{}}}`), ""},
		"a field that is not there any more":       {managed("rogue", "Update", `{"f:data":{"f:gone":{}}}`), ""},
		"what our keeper of ignored fields holds":  {managed(IgnoredManager(us), "Apply", `{"f:spec":{"f:replicas":{}}}`), ""},
		"our own name, but another way of writing": {managed(us, "Update", `{"f:spec":{"f:replicas":{}}}`), "/spec/replicas"},
		"a field that is ignored":                  {managed("rogue", "Update", `{"f:spec":{"f:ignored":{}}}`), ""},
	} {
		fields := []metav1.ManagedFieldsEntry{own, c.by}
		found := Extras(tree(t, live), Ownership{fields, fields}, us, false, func(path string) bool { return path == ".spec.ignored" })
		got := make([]string, 0, len(found))
		for _, x := range found {
			got = append(got, x.Pointer)
			if x.Manager != c.by.Manager || x.Operation != "Update" {
				t.Errorf("%s: by %q", name, x.Manager)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if foreign := Foreign(&metav1.ObjectMeta{ManagedFields: fields}, us); len(got) > 0 && !foreign {
			t.Errorf("%s: Foreign says that nobody else owns anything", name)
		}
	}
	scale := managed("autoscaler", "Update", `{"f:spec":{"f:replicas":{}}}`)
	scale.Subresource = "scale"
	if Foreign(&metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{own, scale}}, us) {
		t.Error("a subresource's writer is taken for a stranger")
	}
}

func TestIgnoredFieldsAreTakenOutAndKeptApart(t *testing.T) {
	t.Parallel()
	declared := `{"metadata":{"annotations":{"a.b/c":"x","d":"y"}},"spec":{"replicas":1,"list":[{"name":"one","v":1,"w":2},{"name":"two","v":3}],"plain":[{"v":1}]}}`
	for name, c := range map[string]struct {
		paths       []string
		rest, taken string
	}{
		"nothing":            {nil, declared, "null"},
		"what is not there":  {[]string{".spec.other", ".spec.list[name=three].v", ".spec.list[name=one].x"}, declared, "null"},
		"a field":            {[]string{".spec.replicas"}, strings.Replace(declared, `"replicas":1,`, "", 1), `{"spec":{"replicas":1}}`},
		"a quoted key":       {[]string{`.metadata.annotations["a.b/c"]`}, strings.Replace(declared, `"a.b/c":"x",`, "", 1), `{"metadata":{"annotations":{"a.b/c":"x"}}}`},
		"an index is left":   {[]string{".spec.plain[0].v"}, declared, "null"},
		"two of one item":    {[]string{".spec.list[name=one].v", ".spec.list[name=one].w"}, strings.Replace(declared, `,"v":1,"w":2`, "", 1), `{"spec":{"list":[{"name":"one","v":1,"w":2}]}}`},
		"of several places":  {[]string{".spec.list[name=two].v", ".spec.replicas"}, strings.Replace(strings.Replace(declared, `"replicas":1,`, "", 1), `,"v":3`, "", 1), `{"spec":{"replicas":1,"list":[{"name":"two","v":3}]}}`},
		"a whole item stays": {[]string{".spec.list[name=two]"}, declared, "null"},
	} {
		before := tree(t, declared)
		rest, taken := Divide(before, c.paths)
		var want map[string]any
		if c.taken != "null" {
			want = tree(t, c.taken)
		}
		if diff := cmp.Diff(tree(t, c.rest), rest); diff != "" {
			t.Errorf("%s: the rest:\n%s", name, diff)
		}
		if diff := cmp.Diff(want, taken); diff != "" {
			t.Errorf("%s: taken:\n%s", name, diff)
		}
		if diff := cmp.Diff(tree(t, declared), before); diff != "" {
			t.Errorf("%s: the declared object was changed:\n%s", name, diff)
		}
	}
	long := "millwright/" + strings.Repeat("x", 110)
	if len(IgnoredManager(long)) > maxManager || IgnoredManager(long) == IgnoredManager(long+"y") {
		t.Error("the keeper's name is too long, or not its own")
	}
}
