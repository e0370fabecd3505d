package render_test

import (
	"errors"
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"millwright.dev/millwright/render"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\n  namespace: factory\ndata:\n  a: b\n"

// files is a tree with one component, overlays/local/app, which resources
// config.yaml, plus what a case adds or replaces. An empty text removes a file.
func files(changes map[string]string) fstest.MapFS {
	all := map[string]string{
		"overlays/local/app/kustomization.yaml": "resources:\n- config.yaml\n",
		"overlays/local/app/config.yaml":        configMap,
	}
	maps.Copy(all, changes)
	tree := fstest.MapFS{}
	for name, text := range all {
		if text != "" {
			tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		}
	}
	return tree
}

func kustomization(lines ...string) map[string]string {
	return map[string]string{"overlays/local/app/kustomization.yaml": strings.Join(lines, "\n") + "\n"}
}

func with(changes map[string]string, more ...string) map[string]string {
	all := maps.Clone(changes)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func object(lines ...string) map[string]string {
	return map[string]string{"overlays/local/app/config.yaml": strings.Join(lines, "\n") + "\n"}
}

func app(tree fs.FS, limits render.Limits) (render.Manifests, error) {
	return render.Render(tree, "overlays/local", []render.Component{{Name: "app"}}, limits)
}

const (
	dir  = "overlays/local/app/"
	bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" +
		"b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" +
		"c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
		"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n" +
		"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n" +
		"f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
	few = "a: &a [x,x,x]\nb: [*a,*a]\n"
)

// refusal is a case with its twin: what differs between them is what is refused.
type refusal struct {
	tree, twin map[string]string
	code       string
	// says is a part of the detail.
	says   string
	limits render.Limits
}

func (r refusal) run(t *testing.T) {
	t.Helper()
	m, err := app(files(r.tree), r.limits)
	var refused *render.Refusal
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if refused.Code != r.code || refused.Hint == "" || refused.Reason == "" {
		t.Errorf("got %v, want code %s", refused, r.code)
	}
	if !strings.Contains(refused.Detail, r.says) {
		t.Errorf("detail %q does not say %q", refused.Detail, r.says)
	}
	if len(m.Objects()) != 0 || m.Digest() != "" {
		t.Error("a refusal came with manifests")
	}
	if m, err := app(files(r.twin), r.limits); err != nil || len(m.Objects()) == 0 {
		t.Errorf("the accepted twin: %d objects, %v", len(m.Objects()), err)
	}
}

func TestAPathThatLeavesTheRepositoryIsRefused(t *testing.T) {
	t.Parallel()
	inside := with(kustomization("resources:", "- ../../../bases/app"),
		"bases/app/kustomization.yaml", "resources: [config.yaml]\n", "bases/app/config.yaml", configMap)
	generator := func(source ...string) map[string]string {
		return with(kustomization(append([]string{"configMapGenerator:", "- name: made"}, source...)...),
			dir+"app.env", "A=b\n", "overlays/local/other.env", "A=b\n")
	}
	patch := with(kustomization("resources: [config.yaml]", "patches:", "- path: patch.yaml"), dir+"patch.yaml", configMap)
	for name, r := range map[string]refusal{
		"D01 resources":             {tree: kustomization("resources:", "- ../../../../etc"), twin: inside},
		"D01 resources, detour":     {tree: kustomization("resources:", "- x/../../../../../etc/passwd"), twin: inside},
		"D01 components":            {tree: kustomization("components:", "- ../../../../etc"), twin: inside},
		"D01 patches":               {tree: kustomization("resources: [config.yaml]", "patches:", "- path: ../../../../etc/passwd"), twin: patch},
		"D01 patchesStrategicMerge": {tree: kustomization("resources: [config.yaml]", "patchesStrategicMerge:", "- ../../../../x"), twin: patch},
		"D01 patchesJson6902":       {tree: kustomization("resources: [config.yaml]", "patchesJson6902:", "- path: ../../../../x"), twin: patch},
		"D01 configurations":        {tree: kustomization("resources: [config.yaml]", "configurations:", "- ../../../../x"), twin: patch},
		"D01 crds":                  {tree: kustomization("resources: [config.yaml]", "crds:", "- ../../../../x"), twin: patch},
		"D01 replacements":          {tree: kustomization("resources: [config.yaml]", "replacements:", "- path: ../../../../x"), twin: patch},
		"D01 a file of the directory above": {
			tree: with(kustomization("resources:", "- ../shared.yaml"), "overlays/local/shared.yaml", configMap), twin: inside,
		},
		"D02 absolute":       {tree: kustomization("resources:", "- /etc/passwd"), twin: inside},
		"D02 home":           {tree: kustomization("resources:", "- ~/secret.yaml"), twin: inside},
		"D02 file URL":       {tree: kustomization("resources:", "- file:///etc/passwd"), twin: inside},
		"D02 File URL":       {tree: kustomization("resources:", "- FILE://etc"), twin: inside},
		"D02 backslashes":    {tree: kustomization("resources:", `- ..\..\x.yaml`), twin: inside},
		"D02 drive":          {tree: kustomization("resources:", "- C:/x.yaml"), twin: inside},
		"D10 files":          {tree: generator("  files: [../../../../proc/self/environ]"), twin: generator("  files: [app.env]")},
		"D10 files with key": {tree: generator("  files: [k=/proc/self/environ]"), twin: generator("  files: [k=app.env]")},
		"D10 envs":           {tree: generator("  envs: [/proc/self/environ]"), twin: generator("  envs: [app.env]")},
		"D10 env":            {tree: generator("  env: ../other.env"), twin: generator("  env: app.env")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.code = "render/outside-root"
			r.run(t)
		})
	}
}

func TestWhatKustomizeWouldFetchIsRefused(t *testing.T) {
	t.Parallel()
	for name, ref := range map[string]string{
		"D08 https": "https://example.com/x.yaml", "D08 https with a reference": "https://example.com/x?ref=main",
		"D08 ssh": "ssh://git@example.com/x", "D08 scp": "git@example.com:x/y.git", "D08 scp with a slash": "me@example.com/x/y",
		"D08 oci": "oci://example.com/x", "D08 forced git": "git::https://example.com/x", "D08 github": "github.com/x/y/z",
		"D08 github upper case": "GitHub.com/x/y", "D08 github scp": "github.com:x/y", "D08 query": "x?ref=main", "D08 marker": "x//y",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Directories of the very name change nothing: kustomize would not look at them.
			twin := with(kustomization("resources: [plain/x]"),
				dir+"plain/x/kustomization.yaml", "resources: [c.yaml]", dir+"plain/x/c.yaml", configMap)
			refusal{
				tree: with(kustomization("resources:", `- "`+ref+`"`),
					dir+ref+"/kustomization.yaml", "resources: [c.yaml]", dir+ref+"/c.yaml", configMap),
				twin: twin, code: "render/remote",
			}.run(t)
			refusal{
				tree: with(kustomization("resources: [plain/x]"), dir+"plain/x/kustomization.yaml", "components: ['"+ref+"']"),
				twin: twin, code: "render/remote",
			}.run(t)
		})
	}
}

func TestPluginsAreRefused(t *testing.T) {
	t.Parallel()
	function := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: f\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./x}\n"
	for name, tree := range map[string]map[string]string{
		"D09 helmCharts":                  kustomization("helmCharts:", "- name: x"),
		"D09 helmGlobals":                 kustomization("helmGlobals:", "  chartHome: x"),
		"D09 helmChartInflationGenerator": kustomization("helmChartInflationGenerator:", "- chartName: x"),
		"D09 generators":                  kustomization("generators:", "- config.yaml"),
		"D09 transformers":                kustomization("transformers:", "- config.yaml"),
		"D09 transformers inline":         kustomization("transformers:", "- |", "  apiVersion: builtin", "  kind: LabelTransformer"),
		"D09 validators":                  kustomization("validators:", "- config.yaml"),
		"D09 other case of the letters":   kustomization("HELMcharts:", "- name: x"),
		"D09 function":                    {dir + "config.yaml": function},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusal{tree: tree, code: "render/plugin"}.run(t)
		})
	}
}

func TestALinkIsRefusedWhereverItStands(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		link string
		mode fs.FileMode
		code string
	}{
		"D03 file":                       {dir + "config.yaml", fs.ModeSymlink, "render/symlink"},
		"D03 kustomization":              {dir + "kustomization.yaml", fs.ModeSymlink, "render/symlink"},
		"D03 component":                  {"overlays/local/app", fs.ModeSymlink, "render/symlink"},
		"D03 directory above":            {"overlays", fs.ModeSymlink, "render/symlink"},
		"D06 submodule as the component": {"overlays/local/app", fs.ModeIrregular, "render/submodule"},
		"D06 submodule above":            {"overlays/local", fs.ModeIrregular, "render/submodule"},
		"D03 device":                     {dir + "config.yaml", fs.ModeDevice, "render/symlink"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := app(retyped{files(nil), c.link, c.mode}, render.Limits{})
			var refused *render.Refusal
			if !errors.As(err, &refused) || refused.Code != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
			if _, err := app(retyped{files(nil), "overlays/local/elsewhere", c.mode}, render.Limits{}); err != nil {
				t.Errorf("a link that nothing names: %v", err)
			}
		})
	}
}

func TestYAMLThatShowsSomethingElseThanItMeansIsRefused(t *testing.T) { // row D12
	t.Parallel()
	for name, hidden := range map[string]string{
		"a comment that a line separator ends":      "# reviewed\u2028x: 1\n",
		"a comment that a paragraph separator ends": "# reviewed\u2029x: 1\n",
		"a comment that a next line ends":           "# reviewed\u0085x: 1\n",
		"a comment that a carriage return ends":     "# reviewed\rx: 1\n",
		"a comment that turns its text":             "# \u202ereviewed\n",
		"a control of the terminal":                 "# \x1b[2Jreviewed\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refusal{code: "render/yaml", tree: object(configMap + hidden), twin: object(configMap + "# reviewed\u00a0\r\n")}
			r.run(t)
		})
	}
}

func TestADocumentThatGrowsIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	data := func(text string) string { return configMap + strings.ReplaceAll("\n"+text, "\n", "\n  ") + "\n" }
	patched := func(text string) map[string]string {
		return kustomization("resources: [config.yaml]", "patches:", "- patch: |", strings.ReplaceAll("    "+configMap+text, "\n", "\n    "))
	}
	for name, r := range map[string]refusal{
		"D11 resource": {tree: object(configMap + bomb), twin: object(configMap + few)},
		"D11 kustomization": {
			tree: kustomization("resources: [config.yaml]", "x-bomb:", strings.ReplaceAll("  "+bomb, "\n", "\n  ")), twin: nil,
		},
		"D11 second document": {tree: object(configMap + "---\n" + data(bomb)), twin: object(configMap)},
		"D11 inline patch":    {tree: patched(bomb), twin: patched(few)},
		"D11 merge keys": {
			tree: object(configMap + "a: &a {x: 1, y: 2}\nb: &b {<<: *a, m: [" + strings.Repeat("*a,", 4000) + "*a]}\n"),
			twin: object(configMap + "a: &a {x: 1, y: 2}\nb: &b {<<: *a, z: 3}\n"),
		},
		"D11 few nodes, many bytes": {
			tree: object(configMap + "a: &a " + strings.Repeat("x", 2000) + "\nb: [" + strings.Repeat("*a,", 2000) + "]\n"),
			twin: object(configMap + few),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.code = "limits/yaml-expansion"
			r.run(t)
		})
	}
}

// The bound is 10 ms on an idle machine; the best of some runs keeps the test
// true on a busy one.
func TestABombIsRefusedWithinTenMilliseconds(t *testing.T) {
	t.Parallel()
	tree := files(object(configMap + bomb))
	best := time.Hour
	for range 20 {
		start := time.Now()
		if _, err := app(tree, render.Limits{}); err == nil {
			t.Fatal("accepted")
		}
		best = min(best, time.Since(start))
	}
	if best > 10*time.Millisecond {
		t.Errorf("took %v", best)
	}
}

func TestWhatIsTooLargeIsRefusedByName(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("---\n", 20)
	big := configMap + "  big: " + strings.Repeat("x", 1000) + "\n"
	fan := with(kustomization("resources: [../../../bases/a1, ../../../bases/a2]"),
		"bases/k1/kustomization.yaml", "namePrefix: a", "bases/k2/kustomization.yaml", "namePrefix: a")
	for level := byte('a'); level < 'k'; level++ {
		next := "../" + string(level+1)
		for _, side := range []string{"1", "2"} {
			fan["bases/"+string(level)+side+"/kustomization.yaml"] = "resources: [" + next + "1, " + next + "2]\n"
		}
	}
	for name, r := range map[string]refusal{
		"D12 depth of flow": {tree: object(configMap + "x: " + strings.Repeat("[", 100_000)), code: "render/yaml"},
		"D12 nested brackets": {
			tree: object(configMap + "x: " + strings.Repeat("[", 120) + strings.Repeat("]", 120)),
			twin: object(configMap + "x: " + strings.Repeat("[", 90) + strings.Repeat("]", 90)), code: "limits/yaml-depth",
		},
		"D12 nested blocks": {
			tree: object(configMap + "x:\n " + strings.Repeat("- ", 150) + "x"),
			twin: object(configMap + "x:\n " + strings.Repeat("- ", 50) + "x"), code: "limits/yaml-depth",
		},
		"D12 documents": {
			tree: object(configMap + strings.Repeat("---\n\n", 30)), twin: object(configMap + many),
			code: "limits/yaml-documents", limits: render.Limits{Documents: 15},
		},
		"D12 file": {tree: object(big), code: "limits/file-size", limits: render.Limits{FileBytes: 500}},
		"D12 all files": {
			tree: with(kustomization("resources: [config.yaml, more.yaml]"), dir+"more.yaml", strings.ReplaceAll(configMap, "app", "two")),
			code: "limits/total-size", limits: render.Limits{TotalBytes: 160},
		},
		"D16 fan of bases": {tree: fan, code: "limits/kustomizations"},
		"D26 object":       {tree: object(big), code: "limits/object-size", says: "ConfigMap factory/app", limits: render.Limits{ObjectBytes: 500}},
		"D26 objects": {
			tree: object(configMap + "---\n" + strings.ReplaceAll(configMap, "app", "two")), code: "limits/object-count",
			limits: render.Limits{Objects: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.run(t)
		})
	}
}

func TestWhatCannotBeRenderedIsRefused(t *testing.T) {
	t.Parallel()
	meta := func(line string) map[string]string {
		return object("apiVersion: v1", "kind: ConfigMap", "metadata:", "  name: app", "  "+line)
	}
	secret := func(field string) map[string]string {
		return object("apiVersion: v1", "kind: Secret", "metadata: {name: app}", field)
	}
	for name, r := range map[string]refusal{
		"D07 LFS pointer":                        {tree: object("version https://git-lfs.github.com/spec/v1", "oid sha256:0", "size 1"), code: "render/lfs"},
		"D15 UTF-16":                             {tree: object("\xff\xfea\x00"), code: "render/yaml"},
		"D15 document end":                       {tree: object(configMap + "...\n" + configMap), code: "render/yaml"},
		"D15 carriage returns":                   {tree: object(configMap + "\r---\r" + strings.ReplaceAll(configMap, "\n", "\r")), code: "render/yaml"},
		"D16 itself":                             {tree: kustomization("resources: [.]"), code: "render/cycle"},
		"D16 parent":                             {tree: with(kustomization("resources: [..]"), "overlays/local/kustomization.yaml", "resources: [app]"), code: "render/cycle"},
		"D16 through a component":                {tree: with(kustomization("resources: [b]"), dir+"b/kustomization.yaml", "components: [../]"), code: "render/cycle"},
		"missing file":                           {tree: kustomization("resources: [nothing.yaml]"), code: "render/missing", says: "nothing.yaml"},
		"missing kustomization":                  {tree: map[string]string{dir + "kustomization.yaml": ""}, code: "render/missing"},
		"two kustomizations":                     {tree: map[string]string{dir + "Kustomization": "{}"}, code: "render/kustomization"},
		"unknown field":                          {tree: kustomization("resources: [config.yaml]", "resuorces: []"), code: "render/kustomization", says: "resuorces"},
		"duplicate field":                        {tree: kustomization("resources: [config.yaml]", "resources: []"), code: "render/yaml"},
		"own schema":                             {tree: kustomization("resources: [config.yaml]", "openapi: {version: v1}"), code: "render/unsupported"},
		"D19 twice in a component, by kustomize": {tree: with(kustomization("resources: [config.yaml, two.yaml]"), dir+"two.yaml", configMap), code: "render/build"},
		"D24 managedFields":                      {tree: meta("managedFields: []"), code: "render/metadata", says: "managedFields"},
		"D24 uid":                                {tree: meta("uid: x"), code: "render/metadata"},
		"D24 resourceVersion":                    {tree: meta("resourceVersion: '1'"), code: "render/metadata"},
		"D24 ownerReferences":                    {tree: meta("ownerReferences: []"), code: "render/metadata"},
		"D24 generateName":                       {tree: meta("generateName: x"), code: "render/metadata"},
		"D24 creationTimestamp":                  {tree: meta("creationTimestamp: 2026-01-01T00:00:00Z"), twin: meta("creationTimestamp: null"), code: "render/metadata"},
		"D24 no name":                            {tree: object("apiVersion: v1", "kind: ConfigMap", "metadata: {labels: {a: b}}"), code: "render/build"},
		"D25 data":                               {tree: secret("data: {password: aHVudGVyMg==}"), twin: secret("data: {password: ''}"), code: "render/secret", says: "data.password"},
		"D25 stringData":                         {tree: secret("stringData: {password: hunter2}"), twin: secret("type: Opaque"), code: "render/secret"},
		"D25 data not a mapping":                 {tree: secret("data: hunter2"), twin: secret("data: {}"), code: "render/secret"},
		"D25 generated":                          {tree: kustomization("secretGenerator:", "- name: x", "  literals: [password=hunter2]"), code: "render/secret"},
		"D14 a number without JSON":              {tree: object(configMap + "x: .nan"), twin: object(configMap + "x: 1.5"), code: "render/yaml"},
		"D14 a binary tag":                       {tree: object(configMap + "x: !!binary aGk="), code: "render/yaml"},
		"a key that is a number":                 {tree: object(configMap + "x: {1: a}"), twin: object(configMap + "x: {'1': a}"), code: "render/yaml"},
		"vars":                                   {tree: kustomization("resources: [config.yaml]", "vars: [{name: A, objref: {kind: ConfigMap, name: app, apiVersion: v1}}]"), code: "render/unsupported"},
		"the same key twice":                     {tree: object(configMap + "x: {a: 1, b: 2, a: 3}"), code: "render/yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.run(t)
			if _, err := app(files(r.tree), r.limits); strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "aHVudGVyMg") {
				t.Errorf("the error has the value of a Secret: %v", err)
			}
		})
	}
}
