package policy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
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
		out = append(out, policy.Manifest{Digest: policy.Digest([]byte(raw)), JSON: func() []byte { return []byte(raw) }})
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
		{"an account changed: with policy and namespace", with(4, account("a", "2")), []int{3}},
		{"it changed again", with(4, account("a", "3")), []int{3}},
		{"it is what it was: that is known", with(4, account("a", "2")), []int{}},
		{"an object of a defined kind changed: its definition decides what it is called", with(3, strings.Replace(widget, `"size":1`, `"size":2`, 1)), []int{4}},
		{"an object is gone", append(append([]string{}, base[:5]...), base[6:]...), nil},
		{"a namespace changed", with(1, strings.Replace(catalogNamespace, `"name"`, `"labels":{"x":"y"},"name"`, 1)), []int{7}},
		{"a definition changed", with(2, strings.Replace(widgets, `"plural":"widgets"`, `"plural":"widgetz"`, 1)), []int{7}},
		{"a policy changed", with(0, strings.Replace(k15, "POL-K15", "POL-K99", 1)), []int{7}},
	} {
		v := r.test(&tester, step.all...)
		if v.Refusal() != nil {
			t.Errorf("%s: refused: %v", step.what, v.Refusal())
		}
		if got := append([]int{}, r.asked()...); step.want != nil && !cmp.Equal(got, step.want) || step.what == "nothing changed" && len(got) > 0 {
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

// counted is the real policy process behind a script that counts how often one is
// started, and lets it read what comes whenever it comes.
func counted(t *testing.T) (r policy.Runner, starts func() int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "starts")
	path := filepath.Join(t.TempDir(), "policy")
	script := fmt.Sprintf("#!/bin/sh\necho one >> %s\nexec %s \"$@\"\n", file, policytest.Runner(t).Path)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return policy.Runner{Path: path}, func() int {
		data, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.Count(string(data), "one")
	}
}

func TestAProcessThatWasBegunIsAskedFirst(t *testing.T) {
	t.Parallel()
	r, starts := counted(t)
	k15 := string(factoryPolicy(t, "k15-no-static-credentials.yaml"))
	var tester policy.Tester
	defer tester.Close()
	tester.Begin(r)
	tester.Begin(r) // one is enough
	for value := range 2 {
		v, err := tester.Test(t.Context(), r, manifests(k15, catalogNamespace, account("a", fmt.Sprint(value))))
		if err != nil || v.Objects != 3 || len(v.Policies) != 1 {
			t.Fatalf("%d objects, %d policies, %v", v.Objects, len(v.Policies), err)
		}
		if n := starts(); n != value+1 {
			t.Errorf("%d processes were started for %d tests", n, value+1)
		}
		tester.Begin(r) // something is known: another question is asked than of the first
	}
}

func TestAProcessThatWaitsIsAskedAndEveryTestHasItsOwn(t *testing.T) {
	t.Parallel()
	r, starts := counted(t)
	k15 := string(factoryPolicy(t, "k15-no-static-credentials.yaml"))
	var tester policy.Tester
	defer tester.Close()
	test := func(raws ...string) policy.Verdict {
		t.Helper()
		v, err := tester.Test(t.Context(), r, manifests(raws...))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	test(k15, catalogNamespace, account("a", "1"))
	before := starts()
	for i := range 3 {
		tester.Ready(r)
		tester.Ready(r) // one that waits is enough
		test(k15, catalogNamespace, account("a", fmt.Sprint(3+i)))
		if n := starts() - before; n != i+1 {
			t.Errorf("%d processes were started for %d tests", n, i+1)
		}
	}
	tester.Ready(r)
	if bad := test(k15, catalogNamespace, string(secret("kubernetes.io/service-account-token"))); bad.Refusal() == nil {
		t.Error("the process that waited lets a token in a Secret pass")
	}
	tester.Close()
	tester.Ready(r)
	if n := starts(); n != starts() {
		t.Errorf("a process is started after the end: %d", n)
	}
}

// Whatever came before, and whichever process answers: the verdict is that on all
// objects and all policies.
func TestNoSequenceOfRevisionsHidesADenial(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts the policy process a hundred times: left out with -short only, which neither make test nor CI gives")
	}
	plain := policytest.Runner(t)
	k15 := string(factoryPolicy(t, "k15-no-static-credentials.yaml"))
	choices := [][]string{
		{k15, strings.Replace(k15, "POL-K15", "POL-K99", 1), strings.Replace(k15, "Deny", "Audit", 1)},
		{catalogNamespace, strings.Replace(catalogNamespace, `"name"`, `"labels":{"x":"y"},"name"`, 1)},
		{widgets, strings.Replace(widgets, `"plural":"widgets"`, `"plural":"widgetz"`, 1)},
		{widget, strings.Replace(widget, `"size":1`, `"size":2`, 1), ""},
		{account("a", "1"), account("a", "2"), ""},
		{account("b", "1"), account("b", "2"), ""},
		{string(secret("Opaque")), string(secret("kubernetes.io/service-account-token")), ""},
	}
	random := rand.New(rand.NewPCG(4, 2))
	var tester policy.Tester
	defer tester.Close()
	now := make([]int, len(choices))
	denied := 0
	for step := range 30 {
		// One thing changes, now and then one that others depend on.
		i := 3 + random.IntN(len(choices)-3)
		if random.IntN(5) == 0 {
			i = random.IntN(3)
		}
		now[i] = random.IntN(len(choices[i]))
		var raws []string
		var all []json.RawMessage
		for i, c := range choices {
			if raw := c[now[i]]; raw != "" {
				raws, all = append(raws, raw), append(all, json.RawMessage(raw))
			}
		}
		if random.IntN(3) > 0 {
			tester.Ready(plain)
		}
		got, err := tester.Test(t.Context(), plain, manifests(raws...))
		if err != nil {
			t.Fatal(err)
		}
		want, err := plain.Test(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("step %d, %v: the verdict differs from that of a tester without memory (-want +got):\n%s", step, now, diff)
		}
		if want.Refusal() != nil {
			denied++
		}
	}
	if denied == 0 || denied == 30 {
		t.Errorf("%d of 30 revisions were denied: that proves nothing", denied)
	}
}
