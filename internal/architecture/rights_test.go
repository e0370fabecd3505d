package architecture

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// Nothing that we ship is given every right, nor a way to every right: not the
// install, not the factory, not what a program would make.
func TestNobodyIsAdministratorOfTheCluster(t *testing.T) {
	t.Parallel()
	files := tracked(t, "bases/*.yaml", "overlays/*.yaml", "factory-config/*.yaml", "cmd/*.go", "reconciler/*.go", "render/*.go")
	if len(files) < 100 {
		t.Fatalf("only %d files were looked at", len(files))
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "reconciler/kubetest/") {
			continue
		}
		// A policy that asks whether somebody is an administrator makes nobody one.
		src := bytes.ReplaceAll(read(t, file), []byte(`"system:`+`masters" in request.userInfo.`), nil)
		for _, name := range []string{"cluster" + "-admin", "system:" + "masters"} {
			if bytes.Contains(src, []byte(name)) {
				t.Errorf("%s names %s", file, name)
			}
		}
	}
}

// broad is what a right of the install may not say: a wildcard, or a verb with
// which more rights could be had than are given.
var broad = regexp.MustCompile(`(?m)^[^#\n]*(['"]\*['"]|\bescalate\b|\bverbs: \[[^\]]*\bbind\b|^\s*- bind$)`)

func TestTheInstallGivesNoWildcardAndNoWayToMore(t *testing.T) {
	t.Parallel()
	binds := 0
	for _, file := range tracked(t, "bases/millwright/rbac.yaml", "overlays/*/millwright/rights/*.yaml") {
		// Of this very name the API server asks whoever applies a policy with
		// parameters. No object can have it.
		content := bytes.ReplaceAll(read(t, file), []byte("\n  resourceNames:\n  - '*'\n"), []byte("\n"))
		for _, found := range broad.FindAll(content, -1) {
			// Kyverno's accounts are bound to a role of Kubernetes, which its rules
			// name, once.
			if strings.TrimSpace(string(found)) == "- bind" && strings.HasSuffix(file, "overlays/local/millwright/rights/millwright-kyverno.yaml") {
				binds++
				continue
			}
			t.Errorf("%s: %s", file, bytes.TrimSpace(found))
		}
	}
	if binds != 1 {
		t.Errorf("bind is given %d times, want once", binds)
	}
}

func TestTheInstallHasTheResourceDefinitionsThatTheProgramsHave(t *testing.T) {
	t.Parallel()
	files := tracked(t, "reconciler/api/crds/*.yaml")
	if len(files) < 2 {
		t.Fatalf("only %d definitions were found", len(files))
	}
	for _, file := range files {
		installed := "bases/millwright/crds/" + file[strings.LastIndexByte(file, '/')+1:]
		if !bytes.Equal(read(t, file), read(t, installed)) {
			t.Errorf("%s is not %s: make generate", installed, file)
		}
	}
}
