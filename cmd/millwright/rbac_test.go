package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/render/upstream"
)

func TestRightsArePrintedWrittenAndCompared(t *testing.T) {
	t.Parallel()
	const tree = "testdata/tree"
	code, printed, stderr := answer(t, "rbac", "--root", tree)
	if code != exitYes || stderr != "" {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	golden(t, "rbac/tree.yaml", printed)

	dir := filepath.Join(t.TempDir(), "rights")
	if code, _, stderr := answer(t, "rbac", "--root", tree, "--check", dir); code != exitNo {
		t.Errorf("a folder that is not there: exit %d\n%s", code, stderr)
	}
	for range 2 { // a second time over what the first one wrote
		if code, _, stderr := answer(t, "rbac", "--root", tree, "--write", dir); code != exitYes {
			t.Fatalf("exit %d\n%s", code, stderr)
		}
	}
	check := func(what, want string, code int) {
		t.Helper()
		got, stdout, stderr := answer(t, "rbac", "--root", tree, "--check", dir)
		if got != code || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", what, got, code, want, stdout, stderr)
		}
	}
	check("what was written", "has the rights", exitYes)

	account := filepath.Join(dir, "millwright-base.yaml")
	text, err := os.ReadFile(account)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit(account, strings.Replace(string(text), "- patch", "- '*'", 1))
	check("more rights than are needed", `millwright-base.yaml differs: line 29 is "  - '*'", should be "  - patch"`, exitNo)
	edit(account, string(text)+"---\n")
	check("something after the end", `is "---", should be ""`, exitNo)
	edit(account, string(text))
	edit(filepath.Join(dir, "mallory.yaml"), "kind: ClusterRoleBinding\n")
	check("an account too many", "mallory.yaml is of no account", exitNo)
	if code, _, stderr := answer(t, "rbac", "--root", tree, "--write", dir); code != exitUnknown || !strings.Contains(stderr, "mallory.yaml was not made by") {
		t.Errorf("a folder with other files is written over: exit %d\n%s", code, stderr)
	}
}

func TestRightsOfOneComponentAsJSON(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := answer(t, "rbac", "--root", "testdata/tree", "--component", "base", "-o", "json")
	var got struct {
		Accounts []struct {
			Component, Namespace, Name string
			Objects                    []struct{ Kind string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &got); code != exitYes || err != nil || len(got.Accounts) != 1 {
		t.Fatalf("exit %d: %v\n%s%s", code, err, stdout, stderr)
	}
	var kinds []string
	for _, o := range got.Accounts[0].Objects {
		kinds = append(kinds, o.Kind)
	}
	if diff := cmp.Diff([]string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}, kinds); diff != "" || got.Accounts[0].Name != "millwright-base" {
		t.Errorf("%s: %s", got.Accounts[0].Name, diff)
	}
}

func TestRightsThatCannotBeToldAreNotPrinted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a component that is none":     {[]string{"--component", "mars"}, exitUsage, `no component "mars"`},
		"a form that is none":          {[]string{"-o", "xml"}, exitUsage, "yaml or json"},
		"one account with two names":   {[]string{"--controller", "millwright-base"}, exitUsage, "two accounts"},
		"to write and to compare":      {[]string{"--write", "x", "--check", "x"}, exitUsage, "if any flags in the group"},
		"a tree before that is none":   {[]string{"--leaving", t.TempDir()}, exitNo, "factory/missing"},
		"a tree that cannot be opened": {[]string{"--root", "/nonexistent"}, exitUnknown, "opening the tree"},
	} {
		code, stdout, stderr := answer(t, append([]string{"rbac", "--root", "testdata/tree"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", name, code, c.code, c.want, stdout, stderr)
		}
	}
}

// What is installed is what the manifests need: whoever changes them makes the
// rights anew, with
//
//	millwright vendor && millwright rbac --environment local --write overlays/local/millwright/rights
func TestTheRightsOfTheInstallAreThoseThatTheManifestsNeed(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	for _, dir := range []string{"bases", "overlays", "factory-config"} {
		if err := os.CopyFS(filepath.Join(tree, dir), os.DirFS(filepath.Join("..", "..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := upstream.Materialise(t.Context(), tree, nil, upstream.Go("go")); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := answer(t, "rbac", "--root", tree, "--environment", "local", "--check", filepath.Join(tree, "overlays", "local", "millwright", "rights"))
	if code != exitYes {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}
