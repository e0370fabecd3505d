package apply

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

func recreateAll() plan.Rules {
	return plan.Rules{Recreate: func(string, render.ID) bool { return true }}
}

const job = `apiVersion: batch/v1
kind: Job
metadata: {name: run, namespace: NAME}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: run, image: "example.org/run:1"}]`

// fixed are objects of which a field is changed that cannot be: before, after.
func fixed() map[string][3]string {
	return map[string][3]string{
		"a selector": {"Deployment web", deployment, strings.ReplaceAll(deployment, "app: web", "app: other")},
		"a template": {"Job run", job, strings.ReplaceAll(job, "run:1", "run:2")},
		"a cluster address": {
			"Service s",
			"apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: NAME}\nspec: {clusterIP: 198.19.78.NUMBER, ports: [{port: 80}]}",
			"apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: NAME}\nspec: {clusterIP: 198.19.77.NUMBER, ports: [{port: 80}]}",
		},
		"a role reference": {"RoleBinding b", roleBinding("one"), roleBinding("two")},
		"what says so itself": {
			"ConfigMap c",
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NAME}\nimmutable: true\ndata: {password: hunter1}",
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NAME}\nimmutable: true\ndata: {password: hunter2}",
		},
	}
}

func roleBinding(role string) string {
	return "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: b, namespace: NAME}\n" +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: " + role + "}\n" +
		"subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: x}]"
}

// quarter fills an inventory so that one deletion is within the share.
func quarter() string {
	var out []string
	for _, n := range []string{"q1", "q2", "q3"} {
		out = append(out, configMap("NAME", n, "x"))
	}
	return strings.Join(out, "\n---\n")
}

func TestAFieldThatCannotBeChangedIsNamedAndTheObjectIsMadeAnewOnlyIfPermitted(t *testing.T) { // row H14
	t.Parallel()
	n := 0
	for name, row := range fixed() {
		n++
		site, address := "immutable"+string(rune('a'+n)), string(rune('0'+n))
		t.Run("H14 "+name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, site)
			s.namespace(site)
			s.converge(s.component(strings.ReplaceAll(row[1], "NUMBER", address), quarter()))
			changed := s.component(strings.ReplaceAll(row[2], "NUMBER", address), quarter())
			_, set := s.passWith(changed, plan.Rules{})
			f := set.Failed()
			if len(f) != 1 || f[0].Reason != plan.ReasonImmutableField || f[0].Retry || len(f[0].Differences) == 0 {
				t.Fatal(describe(set))
			}
			if !strings.Contains(f[0].Message, "recreate: true") || strings.Contains(f[0].Message, "hunter2") {
				t.Errorf("the message has no way out, or a value: %s", f[0].Message)
			}
			before := set.Inventory.Entries[f[0].ID].UID
			_, set = s.passWith(changed, recreateAll())
			if got := reasons(set)[row[0]]; got != "recreated" || !set.Complete() {
				t.Fatal(describe(set))
			}
			if after := set.Inventory.Entries[f[0].ID].UID; after == before || after == "" {
				t.Errorf("it was not made anew: %q and then %q", before, after)
			}
			s.inSync(changed)
		})
	}
}

func TestNothingIsMadeAnewWhereSomethingOfItsStageIsRefused(t *testing.T) { // row H14
	t.Parallel()
	s := newSite(t, "stagefirst")
	s.namespace("stagefirst")
	s.converge(s.component(job, quarter()))
	uid := func() string { return string(s.get(jobs, "stagefirst", "run").GetUID()) }
	before := uid()
	// Absent objects are not dry-run before: only the write tells.
	bad := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name, namespace: NAME}"
	_, set := s.passWith(s.component(strings.ReplaceAll(job, "run:1", "run:2"), quarter(), bad), recreateAll())
	if got := reasons(set)["Job run"]; got != "waiting "+ReasonRecreateDeferred || uid() != before {
		t.Error(describe(set))
	}
	// What else would be wrong with the new object is found before the old one
	// is deleted.
	guard := `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [batch], apiVersions: [v1], operations: [CREATE], resources: [jobs]}]}
  validations: [{expression: "false", message: no more jobs here}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec:
  policyName: NAME
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}}`
	s.eventually("the policy is in force", func() bool {
		_, set = s.passWith(s.component(job, quarter(), guard), plan.Rules{})
		return s.refusesJobs("stagefirst")
	})
	_, set = s.passWith(s.component(strings.ReplaceAll(job, "run:1", "run:2"), quarter(), guard), recreateAll())
	if f := set.Failed(); len(f) != 1 || f[0].Reason != ReasonAdmissionDenied || !strings.Contains(f[0].Message, "no more jobs here") || uid() != before {
		t.Error(describe(set))
	}
}

var jobs = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}

// eventually waits for a condition, for as long as a busy machine may need.
func (s *site) eventually(what string, holds func() bool) {
	s.t.Helper()
	for range 300 {
		if holds() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("it did not happen: %s", what)
}

// refusesJobs proves that a policy is in force: a dry-run of a job is denied.
func (s *site) refusesJobs(namespace string) bool {
	o := s.get(jobs, namespace, "run").DeepCopy()
	o.Object["metadata"] = map[string]any{"name": "probe", "namespace": namespace}
	delete(o.Object, "status")
	spec, _ := o.Object["spec"].(map[string]any)
	delete(spec, "selector")
	template, _ := spec["template"].(map[string]any)
	delete(template, "metadata")
	_, err := s.dynamic.Resource(jobs).Namespace(namespace).Create(s.t.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err != nil
}

func TestWhatHoldsOthersIsNeverMadeAnew(t *testing.T) { // row H14
	t.Parallel()
	s := newSite(t, "never")
	s.namespace("never")
	s.converge(s.component(definition, quarter()))
	// The scope of a definition cannot be changed.
	_, set := s.passWith(s.component(strings.ReplaceAll(definition, "scope: Namespaced", "scope: Cluster"), quarter()), recreateAll())
	if f := set.Failed(); len(f) != 1 || f[0].Reason != plan.ReasonImmutableField {
		t.Error(describe(set))
	}
}

func TestMakingAnewCountsAsDeleting(t *testing.T) {
	t.Parallel()
	s := newSite(t, "anewlimit")
	s.namespace("anewlimit")
	s.converge(s.component(job, configMap("NAME", "a", "x")))
	rules := recreateAll()
	_, err := s.tryPlan(t.Context(), s.component(strings.ReplaceAll(job, "run:1", "run:2"), configMap("NAME", "a", "x")),
		plan.Limits{MaxPrune: 25, MaxPrunePercent: 25, Rules: rules})
	if err != nil {
		t.Errorf("one of two, rounded up: %v", err)
	}
	_, err = s.tryPlan(t.Context(), s.component(strings.ReplaceAll(job, "run:1", "run:2"), configMap("NAME", "a", "x")), plan.Limits{Rules: rules})
	var no *plan.Refusal
	if !errors.As(err, &no) || no.Code != "plan/prune-count" {
		t.Errorf("got %v", err)
	}
}

func TestAnObjectThatIsToBeMadeAnewAndIsHeldWaitsAndIsMadeWhenItIsGone(t *testing.T) { // rows H12, H13
	t.Parallel()
	s := newSite(t, "heldanew")
	s.opts.GateSlice = 10 * time.Millisecond
	s.namespace("heldanew")
	s.converge(s.component(job, quarter()))
	s.edit(jobs, "heldanew", "run", "holder", map[string]any{"metadata": map[string]any{"finalizers": []any{"example.org/hold"}}})
	changed := s.component(strings.ReplaceAll(job, "run:1", "run:2"), quarter())
	_, set := s.passWith(changed, recreateAll())
	if got := reasons(set)["Job run"]; got != "deleting "+plan.ReasonTerminating {
		t.Fatal(describe(set))
	}
	// It is declared and being deleted: nobody strips its finalizer for it.
	_, set = s.passWith(changed, recreateAll())
	if r := set.Results[0]; r.Action != Waiting || r.Reason != plan.ReasonTerminating || !strings.Contains(r.Message, "example.org/hold") {
		t.Fatal(describe(set))
	}
	if o := s.get(jobs, "heldanew", "run"); o.GetDeletionTimestamp() == nil || len(o.GetFinalizers()) == 0 {
		t.Fatal("the fault did not occur")
	}
	s.edit(jobs, "heldanew", "run", "holder", map[string]any{"metadata": map[string]any{"finalizers": nil}})
	s.converge(changed)
}

func TestAConflictIsForcedOnlyWhereTheConfigurationSaysSo(t *testing.T) { // row G08
	t.Parallel()
	s := newSite(t, "forced")
	s.namespace("forced")
	for _, name := range []string{"mine", "theirs"} {
		s.appliedByTool("forced", name)
	}
	m := s.component(configMap("NAME", "mine", "x"), configMap("NAME", "theirs", "x"))
	rules := plan.Rules{Force: func(component string, id render.ID) bool { return component == "forced" && id.Name == "mine" }}
	_, set := s.passWith(m, rules)
	got := reasons(set)
	if got["ConfigMap mine"] != "updated" || got["ConfigMap theirs"] != "failed "+plan.ReasonFieldConflict {
		t.Fatal(describe(set))
	}
	f := set.Failed()[0]
	if len(f.Differences) != 1 || f.Differences[0].Path != ".data.key" || f.Differences[0].Manager != "tool" {
		t.Errorf("the conflict names %+v", f.Differences)
	}
	value := func(name string) any { return s.get(configMaps, "forced", name).Object["data"].(map[string]any)["key"] }
	if value("mine") != "x" || value("theirs") != "theirs" {
		t.Errorf("got %v and %v", value("mine"), value("theirs"))
	}
}

// appliedByTool makes a ConfigMap that another tool applied.
func (s *site) appliedByTool(namespace, name string) {
	s.t.Helper()
	o := s.component(configMap(namespace, name, "theirs")).Objects()[0].Unstructured()
	if _, err := s.dynamic.Resource(configMaps).Namespace(namespace).Apply(s.t.Context(), name, o, metav1.ApplyOptions{FieldManager: "tool"}); err != nil {
		s.t.Fatal(err)
	}
}
