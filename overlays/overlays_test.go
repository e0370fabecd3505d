// Package overlays_test builds every component of every environment with the
// upstream manifests that the locks pin, and compares the objects with a list.
package overlays_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/render/factory"
	"millwright.dev/millwright/render/upstream"
)

var update = flag.Bool("update", false, "rewrite the golden lists")

// object is one built object with the component that declares it.
type object struct {
	component string
	content   map[string]any
	json      []byte
}

func (o object) field(path ...string) any {
	var at any = o.content
	for _, p := range path {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[p]
	}
	return at
}

func (o object) text(path ...string) string {
	s, _ := o.field(path...).(string)
	return s
}

// id is the object's name without its API version.
func (o object) id() string {
	group, _, found := strings.Cut(o.text("apiVersion"), "/")
	if !found {
		group = ""
	}
	name := o.text("metadata", "name")
	if ns := o.text("metadata", "namespace"); ns != "" {
		name = ns + "/" + name
	}
	return fmt.Sprintf("%s.%s %s", o.text("kind"), group, name)
}

// local is the environment local, built once for all tests.
var local = sync.OnceValues(func() ([]object, error) {
	root, err := os.MkdirTemp("", "overlays-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	if err := materialise(root); err != nil {
		return nil, err
	}
	return build(root, "local")
})

// materialise makes of root what a factory repository begins with.
func materialise(root string) error {
	for _, dir := range []string{"bases", "overlays", "factory-config"} {
		if err := copyYAML(filepath.Join(root, dir), filepath.Join("..", dir)); err != nil {
			return err
		}
	}
	_, err := upstream.Materialise(context.Background(), root, nil, upstream.Go("go"))
	return err
}

func build(root, environment string) ([]object, error) {
	data, err := os.ReadFile(filepath.Join(root, factory.Path))
	if err != nil {
		return nil, err
	}
	config, err := factory.Decode(data)
	if err != nil {
		return nil, err
	}
	e, err := config.Environment(environment)
	if err != nil {
		return nil, err
	}
	var objects []object
	for _, c := range e.Components(config) {
		options := krusty.MakeDefaultOptions()
		options.LoadRestrictions = types.LoadRestrictionsRootOnly
		built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), filepath.Join(root, c.Path))
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", c.Name, err)
		}
		for _, r := range built.Resources() {
			content, err := r.Map()
			if err != nil {
				return nil, err
			}
			j, err := json.Marshal(content)
			if err != nil {
				return nil, err
			}
			objects = append(objects, object{component: c.Name, content: content, json: j})
		}
	}
	return objects, nil
}

// copyYAML copies what a factory repository takes from here, without what was
// materialised before.
func copyYAML(to, from string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "upstream" || strings.HasPrefix(d.Name(), ".upstream-")) {
			return fs.SkipDir
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if e := filepath.Ext(p); e != ".yaml" && e != ".lock" {
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}

func mustBuild(t *testing.T) []object {
	t.Helper()
	objects, err := local()
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestTheObjectsOfEveryComponentAreThoseOnTheList(t *testing.T) {
	t.Parallel()
	var lines []string
	count, size := map[string]int{}, 0
	for _, o := range mustBuild(t) {
		lines = append(lines, fmt.Sprintf("%s %s sha256:%x", o.component, o.id(), sha256.Sum256(o.json)))
		count[o.component]++
		size += len(o.json)
	}
	slices.Sort(lines)
	t.Logf("%d objects, %d bytes of JSON: %v", len(lines), size, count)
	golden := filepath.Join("testdata", "local.golden")
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got); review, then run with -update:\n%s", golden, diff)
	}
}

func TestEveryObjectIsNamedAndDeclaredOnce(t *testing.T) {
	t.Parallel()
	owner := map[string]string{}
	for _, o := range mustBuild(t) {
		if o.text("apiVersion") == "" || o.text("kind") == "" || o.text("metadata", "name") == "" {
			t.Errorf("%s has an object without a full name: %.200s", o.component, o.json)
		}
		if other, twice := owner[o.id()]; twice {
			t.Errorf("%s is declared by %s and by %s", o.id(), other, o.component)
		}
		owner[o.id()] = o.component
	}
}

func TestEveryNamespaceUsedIsDeclaredByTheComponentNamespaces(t *testing.T) {
	t.Parallel()
	objects := mustBuild(t)
	declared := map[string]bool{}
	for _, o := range objects {
		if o.text("kind") == "Namespace" {
			if o.component != "namespaces" {
				t.Errorf("%s declares %s", o.component, o.id())
			}
			if o.field("metadata", "labels", "pod-security.kubernetes.io/enforce") == nil {
				t.Errorf("%s has no Pod Security level", o.id())
			}
			declared[o.text("metadata", "name")] = true
		}
	}
	for _, o := range objects {
		if ns := o.text("metadata", "namespace"); ns != "" && !declared[ns] {
			t.Errorf("%s lives in a namespace that nobody declares", o.id())
		}
	}
}

func TestNoSecretCarriesAValue(t *testing.T) {
	t.Parallel()
	for _, o := range mustBuild(t) {
		if o.text("kind") == "Secret" && (o.field("data") != nil || o.field("stringData") != nil) {
			t.Errorf("%s carries data", o.id())
		}
	}
}

// A null says "remove this" to some who merge it and "nothing" to others.
func TestNoFieldOutsideASchemaIsNull(t *testing.T) {
	t.Parallel()
	var nulls func(v any, at string) []string
	nulls = func(v any, at string) (found []string) {
		switch v := v.(type) {
		case nil:
			return []string{at}
		case map[string]any:
			for k, e := range v {
				found = append(found, nulls(e, at+"."+k)...)
			}
		case []any:
			for i, e := range v {
				found = append(found, nulls(e, fmt.Sprintf("%s[%d]", at, i))...)
			}
		}
		return found
	}
	for _, o := range mustBuild(t) {
		if found := nulls(o.content, ""); len(found) > 0 && o.text("kind") != "CustomResourceDefinition" {
			t.Errorf("%s: null at %v", o.id(), found)
		}
	}
}

// Values that a release could change under us, and what goes wrong if it does.
func TestTheStrictSettingsHold(t *testing.T) {
	t.Parallel()
	want := map[string]map[string]string{
		"ConfigMap. tekton-pipelines/feature-flags": {
			"enforce-nonfalsifiability": "none", "set-security-context": "true", "disable-creds-init": "true",
			"disable-inline-spec": "pipeline,pipelinerun,taskrun", "results-from": "termination-message", "enable-api-fields": "beta",
		},
		"ConfigMap. tekton-pipelines-resolvers/resolvers-feature-flags": {
			"enable-git-resolver": "false", "enable-http-resolver": "false", "enable-hub-resolver": "false",
			"enable-bundles-resolver": "false", "enable-cluster-resolver": "true",
		},
		"ConfigMap. tekton-pipelines-resolvers/cluster-resolver-config": {"allowed-namespaces": "factory-catalog", "blocked-namespaces": "*"},
		"ConfigMap. tekton-chains/chains-config": {
			"artifacts.pipelinerun.format": "slsa/v2alpha4", "signers.x509.fulcio.provider": "spiffe", "transparency.enabled": "true",
			"artifacts.pipelinerun.enable-deep-inspection": "false",
			"builder.id": "https://millwright.dev/factory/local@1", // what POL-K10 asks for
		},
	}
	for _, o := range mustBuild(t) {
		for key, value := range want[o.id()] {
			if got := o.text("data", key); got != value {
				t.Errorf("%s: %s is %q, want %q", o.id(), key, got, value)
			}
		}
		delete(want, o.id())
	}
	for id := range want {
		t.Errorf("there is no %s", id)
	}
}

func TestEachRelaxationIsListedWithItsEndAndMadeSomewhere(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("local", "relaxations.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
		Spec             struct {
			Relaxations []struct{ ID, Requirement, Reason, Expires string }
		}
	}
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, r := range list.Spec.Relaxations {
		if _, err := time.Parse(time.DateOnly, r.Expires); err != nil || r.Requirement == "" || r.Reason == "" || listed[r.ID] {
			t.Errorf("%+v is incomplete or listed twice: %v", r, err)
		}
		listed[r.ID] = true
	}
	made := map[string]bool{}
	mark := regexp.MustCompile(`# Relaxation ([a-z0-9-]+)`)
	err = filepath.WalkDir("local", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		for _, m := range mark.FindAllStringSubmatch(string(data), -1) {
			made[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(listed, made); diff != "" {
		t.Errorf("relaxations (-listed +made):\n%s", diff)
	}
}
