package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
)

func object(t *testing.T, content string, args ...any) *unstructured.Unstructured {
	t.Helper()
	var o unstructured.Unstructured
	must(t, o.UnmarshalJSON(fmt.Appendf(nil, content, args...)))
	return &o
}

func namespace(t *testing.T, name, purpose string) runtime.Object {
	t.Helper()
	return object(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q,"labels":{"millwright.dev/purpose":%q}}}`, name, purpose)
}

// pipelineRun is one that says of itself that it is signed.
func pipelineRun(t *testing.T, namespace, name, status string, i image) runtime.Object {
	t.Helper()
	return object(t, `{"apiVersion":"tekton.dev/v1","kind":"PipelineRun","metadata":{"namespace":%q,"name":%q,"uid":"uid-%s","annotations":{"chains.tekton.dev/signed":"true"}},
		"status":{"completionTime":"2026-01-02T03:04:%02dZ","conditions":[{"type":"Succeeded","status":%q}],
		"results":[{"name":"IMAGE_URL","value":%q},{"name":"IMAGE_DIGEST","value":"sha256:%s"},{"name":"LIST","value":["a"]}]}}`,
		namespace, name, name, len(name), status, i.repository, i.hex)
}

func newCluster(objects ...runtime.Object) cluster {
	return cluster{client: fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		namespaces: "NamespaceList", pipelineRuns: "PipelineRunList", events: "EventList",
	}, objects...)}
}

func (c cluster) events(t *testing.T) []unstructured.Unstructured {
	t.Helper()
	list, err := c.client.Resource(events).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	return list.Items
}

func TestTheLastRunsThatSucceededWhereBuildsRunAreLookedAt(t *testing.T) {
	t.Parallel()
	i := image{"registry.test/app", digest}
	c := newCluster(namespace(t, "builds", "build"), namespace(t, "releases", "release"),
		pipelineRun(t, "builds", "a", "True", i), pipelineRun(t, "builds", "bb", "True", i), pipelineRun(t, "builds", "ccc", "True", i),
		pipelineRun(t, "builds", "failed", "False", i), pipelineRun(t, "builds", "running", "Unknown", i), pipelineRun(t, "releases", "elsewhere", "True", i))
	runs, err := c.runs(t.Context(), "millwright.dev/purpose=build", 2)
	must(t, err)
	var got []string
	for _, r := range runs {
		got = append(got, r.name+" "+r.uid+" "+r.url+" "+r.digest)
	}
	if text := strings.Join(got, "\n"); text != fmt.Sprintf("ccc uid-ccc %[1]s sha256:%[2]s\nbb uid-bb %[1]s sha256:%[2]s", i.repository, i.hex) {
		t.Errorf("got\n%s", text)
	}
}

func TestAnAttestationThatIsTakenAwayIsAnAlarmWhateverTheRunSaysOfItself(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	i := s.image("app")
	w := &watcher{
		options: options{trust: s.trusted.trust(), namespaces: "millwright.dev/purpose=build", last: 10, expected: s.want},
		log:     slog.New(slog.DiscardHandler), registry: newRegistry(), ledger: newLedger(time.Millisecond), page: &page{interval: time.Minute},
		cluster: newCluster(namespace(t, "builds", "build"), pipelineRun(t, "builds", "a", "True", i), pipelineRun(t, "builds", "bb", "True", i)),
	}
	pass := func(want string) {
		t.Helper()
		if _, err := w.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.page.metrics(); !strings.Contains(got, want) {
			t.Fatalf("want %s, got\n%s", want, got)
		}
		time.Sleep(2 * time.Millisecond)
	}
	s.shelf.put(i, s.contents(), s.provenance("uid-a"), s.provenance("uid-bb"))
	pass(`{state="signed"} 2`)
	s.shelf.put(i, s.contents(), s.provenance("uid-a"))
	pass(`{state="unsigned"} 1`)
	if all := w.cluster.events(t); len(all) != 0 {
		t.Fatalf("there is no grace: %v", all)
	}
	pass(`{state="unsigned"} 1`)
	pass(`{state="unsigned"} 1`)
	all := w.cluster.events(t)
	if len(all) != 1 || !strings.HasPrefix(all[0].GetName(), "bb.") || all[0].Object["reason"] != "RunUnsigned" || all[0].Object["type"] != "Warning" ||
		!strings.HasPrefix(fmt.Sprint(all[0].Object["message"]), "OtherRun: ") {
		t.Fatalf("events: %v", all)
	}
	s.shelf.remove(i)
	pass(`{state="unsigned"} 2`)
	pass(`{state="unsigned"} 2`)
	if all := w.cluster.events(t); len(all) != 3 {
		t.Fatalf("events: %v", all)
	}
	// Started again, it counts on what it said before.
	w.ledger = newLedger(0)
	pass(`{state="unsigned"} 2`)
	counts := map[any]int{}
	for _, e := range w.cluster.events(t) {
		counts[e.Object["count"]]++
	}
	if counts[int64(2)] != 2 || counts[int64(1)] != 1 {
		t.Errorf("counts: %v", counts)
	}
	s.shelf.server.Close()
	pass(`{state="unknown"} 2`)
}

func TestItIsReadyWhilePassesGoThrough(t *testing.T) {
	t.Parallel()
	p := &page{interval: time.Minute}
	ask := func() int {
		answer := httptest.NewRecorder()
		p.handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return answer.Code
	}
	if got := ask(); got != http.StatusServiceUnavailable {
		t.Errorf("before the first pass: %d", got)
	}
	p.set(time.Now(), []verdict{{state: unsigned}, {state: unknown}})
	if got := ask(); got != http.StatusOK {
		t.Errorf("with runs that are not signed: %d", got)
	}
	p.set(time.Now().Add(-time.Hour), nil)
	if got := ask(); got != http.StatusServiceUnavailable {
		t.Errorf("an hour after the last pass: %d", got)
	}
}

func TestAWordThatIsMissingOrMeansNothingIsRefused(t *testing.T) {
	t.Parallel()
	good := []string{"-registry=registry.test/", "-issuer=http://oidc.test", "-chains=spiffe://a", "-publish=spiffe://b", "-builder=c", "-pipeline=d"}
	if o, err := parse(good, t.Output()); err != nil || o.expected.registry != "registry.test" || o.grace != 2*time.Minute || o.interval != time.Minute || o.last != 200 {
		t.Errorf("%+v %v", o, err)
	}
	for i := range good {
		if _, err := parse(append(append([]string{}, good[:i]...), good[i+1:]...), t.Output()); err == nil {
			t.Errorf("without %s", good[i])
		}
	}
	for _, bad := range []string{"-interval=0s", "-grace=-1s", "-last=0", "-unheard", "stray"} {
		if _, err := parse(append(append([]string{}, good...), bad), t.Output()); err == nil {
			t.Errorf("with %s", bad)
		}
	}
}
