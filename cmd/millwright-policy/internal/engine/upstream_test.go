package engine

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/cmd/millwright-policy/internal/policy"
)

// moduleDir is where the go command keeps a module that this one requires.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find module %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

// manifests reads every object of the YAML files under a path.
func manifests(t *testing.T, root string) []json.RawMessage {
	t.Helper()
	var all []json.RawMessage
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all = append(all, documents(t, string(data))...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// documents splits YAML text into objects in JSON.
func documents(t *testing.T, text string) []json.RawMessage {
	t.Helper()
	var all []json.RawMessage
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		raw, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if string(raw) != "null" {
			all = append(all, raw)
		}
	}
	return all
}

// factoryPolicies are the policies that the factory ships.
func factoryPolicies(t *testing.T) []json.RawMessage {
	t.Helper()
	var policies []json.RawMessage
	for _, raw := range manifests(t, "../../../../bases/kyverno-policies") {
		if o, err := policy.Identify(raw); err == nil && o.Kind == "ValidatingPolicy" {
			policies = append(policies, raw)
		}
	}
	if len(policies) == 0 {
		t.Fatal("the factory ships no policy")
	}
	return policies
}

func request(policies, objects []json.RawMessage) policy.Request {
	return policy.Request{
		APIVersion: policy.RequestVersion, User: policy.DefaultUser,
		Policies: policies, Objects: append(append([]json.RawMessage{}, objects...), policies...),
	}
}

func TestUpstreamManifestsSatisfyTheFactorysPolicies(t *testing.T) {
	objects := manifests(t, filepath.Join(moduleDir(t, "github.com/kyverno/kyverno"), "config", "install-latest-testing.yaml"))
	objects = append(objects, manifests(t, filepath.Join(moduleDir(t, "github.com/tektoncd/pipeline"), "config"))...)
	begin := time.Now()
	v, err := Test(t.Context(), request(factoryPolicies(t), objects))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d objects in %s: %+v", v.Objects, time.Since(begin), v.Policies)
	for _, violation := range v.Violations {
		t.Error(violation)
	}
	for _, p := range v.Policies {
		if p.Matched == 0 || p.Invalid != "" || p.NotTested != "" || p.Errors > 0 {
			t.Errorf("policy %s said nothing about upstream's objects: %+v", p.Name, p)
		}
	}
}
