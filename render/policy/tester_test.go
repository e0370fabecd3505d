package policy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millwright.dev/millwright/render/policy"
	"millwright.dev/millwright/render/policy/policytest"
)

// recording is the real policy process behind a script that counts its calls and
// keeps what it was asked.
type recording struct {
	t      *testing.T
	runner policy.Runner
	dir    string
	// plain asks without a memory, to compare with.
	plain policy.Runner
}

func record(t *testing.T) *recording {
	t.Helper()
	r := &recording{t: t, plain: policytest.Runner(t), dir: t.TempDir()}
	script := fmt.Sprintf("#!/bin/sh\nfile=$(/usr/bin/mktemp %s/asked-XXXXXX)\n/bin/cat > $file\nexec %s \"$@\" < $file\n", r.dir, r.plain.Path)
	path := filepath.Join(t.TempDir(), "policy")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r.runner = policy.Runner{Path: path}
	return r
}

// asked is how many objects each call since the last one was about.
func (r *recording) asked() []int {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "asked-*"))
	if err != nil {
		r.t.Fatal(err)
	}
	var out []int
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			r.t.Fatal(err)
		}
		var q policy.Request
		if err := json.Unmarshal(data, &q); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, len(q.Objects))
		if err := os.Remove(file); err != nil {
			r.t.Fatal(err)
		}
	}
	return out
}

func manifests(raws ...string) []policy.Manifest {
	var out []policy.Manifest
	for _, raw := range raws {
		out = append(out, policy.Manifest{Digest: policy.Digest([]byte(raw)), JSON: json.RawMessage(raw)})
	}
	return out
}

func (r *recording) test(tester *policy.Tester, raws ...string) policy.Verdict {
	r.t.Helper()
	got, err := tester.Test(r.t.Context(), r.runner, manifests(raws...))
	if err != nil {
		r.t.Fatal(err)
	}
	var all []json.RawMessage
	for _, raw := range raws {
		all = append(all, json.RawMessage(raw))
	}
	want, err := r.plain.Test(r.t.Context(), all)
	if err != nil {
		r.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("the verdict differs from that of a tester without memory (-want +got):\n%s", diff)
	}
	return got
}

const (
	catalogNamespace = `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"factory-catalog"}}`
	widgets          = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.example.org"},"spec":{"group":"example.org","scope":"Namespaced","names":{"kind":"Widget","plural":"widgets"},"versions":[]}}`
	widget           = `{"apiVersion":"example.org/v1","kind":"Widget","metadata":{"name":"w","namespace":"factory-catalog"},"spec":{"size":1}}`
)

func account(name, label string) string {
	return `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"` + name + `","namespace":"factory-catalog","labels":{"a":"` + label + `"}}}`
}

func TestOnlyWhatChangedIsTestedAgainAndTheVerdictIsTheSame(t *testing.T) {
	t.Parallel()
	r := record(t)
	k15 := string(factoryPolicy(t, "k15-no-static-credentials.yaml"))
	var tester policy.Tester
	base := []string{k15, catalogNamespace, widgets, widget, account("a", "1"), account("b", "1"), string(secret("Opaque"))}
	with := func(i int, raw string) []string {
		out := append([]string{}, base...)
		out[i] = raw
		return out
	}
	for _, step := range []struct {
		what string
		all  []string
		want []int
	}{
		{"the first time, everything", base, []int{7}},
		{"nothing changed", base, nil},
		{"an account changed: as it was, and as it is, each with policy and namespace", with(4, account("a", "2")), []int{3, 3}},
		{"it changed again: as it was is known", with(4, account("a", "3")), []int{3}},
		{"an object of a defined kind changed: its definition decides what it is called", with(3, strings.Replace(widget, `"size":1`, `"size":2`, 1)), []int{5, 5}},
		{"an object is gone", append(append([]string{}, base[:5]...), base[6:]...), nil},
		{"a namespace changed", with(1, strings.Replace(catalogNamespace, `"name"`, `"labels":{"x":"y"},"name"`, 1)), []int{7}},
		{"a definition changed", with(2, strings.Replace(widgets, `"plural":"widgets"`, `"plural":"widgetz"`, 1)), []int{7}},
		{"a policy changed", with(0, strings.Replace(k15, "POL-K15", "POL-K99", 1)), []int{7}},
	} {
		v := r.test(&tester, step.all...)
		if v.Refusal() != nil {
			t.Errorf("%s: refused: %v", step.what, v.Refusal())
		}
		if got := r.asked(); step.want != nil && !cmp.Equal(got, step.want) || step.what == "nothing changed" && len(got) > 0 {
			t.Errorf("%s: asked about %v objects, want %v", step.what, got, step.want)
		}
	}
}

func TestAChangeThatAPolicyForbidsIsFoundAndNotForgotten(t *testing.T) {
	t.Parallel()
	r := record(t)
	k15 := string(factoryPolicy(t, "k15-no-static-credentials.yaml"))
	var tester policy.Tester
	r.test(&tester, k15, catalogNamespace, account("a", "1"), string(secret("Opaque")))
	for range 2 {
		bad := r.test(&tester, k15, catalogNamespace, account("a", "1"), string(secret("kubernetes.io/service-account-token")))
		if bad.Refusal() == nil {
			t.Fatal("a token in a Secret passes after a revision that passed")
		}
	}
	if good := r.test(&tester, k15, catalogNamespace, account("a", "2"), string(secret("Opaque"))); good.Refusal() != nil {
		t.Errorf("what is mended is refused: %v", good.Refusal())
	}
}

func TestAProcessThatCannotTellAboutAChangeCannotTellAboutTheRevision(t *testing.T) {
	t.Parallel()
	r := record(t)
	k15 := string(factoryPolicy(t, "k15-no-static-credentials.yaml"))
	var tester policy.Tester
	r.test(&tester, k15, account("a", "1"))
	away := policy.Runner{Path: "/nonexistent/millwright-policy"}
	if _, err := tester.Test(t.Context(), away, manifests(k15, account("a", "2"))); err == nil {
		t.Error("a change passes although nobody looked at it")
	}
	r.test(&tester, k15, account("a", "2"))
}
