package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/render/factory"
)

func TestTheSmokeRunMeasuresEverybody(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server for each party: left out with -short only, which neither make test nor CI gives")
	}
	workloads, titles := "w1,w2,w3,w4", []string{"W1:", "W2:", "W3:", "Nothing happens"}
	if os.Getenv("MILLWRIGHT_TEST_BENCH") != "" {
		workloads, titles = workloads+",w7", append(titles, "W4:", "W7: apps, made", "W7: one commit")
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-quick", "-workloads", workloads, "-root", "../..", "-dir", t.TempDir()}, &out, os.Stderr); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, title := range titles {
		_, section, found := strings.Cut(text, "**"+title)
		if !found {
			t.Errorf("%s is not in the report", title)
			continue
		}
		section, _, _ = strings.Cut(section, "\n**")
		for _, name := range []string{millwright, kubectl, limit} {
			if !strings.Contains(section, "| "+name+" |") {
				t.Errorf("%s does not show %s:\n%s", title, name, section)
			}
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestMain(m *testing.M) {
	// The smoke run starts this binary as the limit program.
	if len(os.Args) == 3 && os.Args[1] == "-child" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestRequestsAreCountedByVerbWithoutTheServersOwn(t *testing.T) {
	t.Parallel()
	const text = `# HELP apiserver_request_total Counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="APPLY",version="v1"} 3
apiserver_request_total{code="201",component="apiserver",dry_run="",group="apps",resource="deployments",scope="resource",subresource="",verb="APPLY",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 9
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="",scope="",subresource="/metrics",verb="GET",version=""} 7
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="",scope="",subresource="/openapi/v3",verb="GET",version=""} 1
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="WATCH",version="v1"} 1
apiserver_request_duration_seconds_count{verb="GET"} 100
`
	got, err := parseRequests([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if by := got.verbs(); by["APPLY"] != 5 || by["WATCH"] != 1 || len(by) != 2 {
		t.Errorf("counted %v", got)
	}
	if kind := (request{"APPLY", "deployments", "201"}); got[kind] != 2 || !strings.Contains(got.each(), "APPLY deployments 201: 2;") {
		t.Errorf("counted %s", got.each())
	}
	if got.total() != 5 || got.writes() != 5 {
		t.Errorf("total %v, writes %v", got.total(), got.writes())
	}
	if d := got.since(requests{{"APPLY", "deployments", "201"}: 1, {"WATCH", "pods", "200"}: 1}); d.verbs()["APPLY"] != 4 || d.verbs()["WATCH"] != 0 {
		t.Errorf("the difference is %v", d)
	}
	own := `apiserver_request_total{code="200",resource="services",subresource="",verb="LIST"} 3
apiserver_request_total{code="200",resource="",subresource="openapi/v3",verb="GET"} 7
apiserver_request_total{code="200",resource="services",subresource="",verb="GET"} 2
`
	if got, err := parseRequests([]byte(own)); err != nil || got.total() != 2 {
		t.Errorf("what the API server asks of itself is counted: %s, %v", got.each(), err)
	}
	if _, err := parseRequests([]byte("apiserver_request_total{code=\"200\"} 1\n")); err == nil {
		t.Error("a line without a verb is taken")
	}
}

func TestCPUTimeOfAProcessGrowsWithItsWork(t *testing.T) {
	t.Parallel()
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
		n++
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		after, err := cpuOf(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after > before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no CPU time after %d turns", n)
		}
	}
}

func TestRoundsArePairedWhereOneDidMoreInEach(t *testing.T) {
	t.Parallel()
	b := &benchmark{results: results{}}
	for _, wall := range []float64{3, 1, 2, 30, 10, 20} {
		b.results.note("W", millwright, cost{wall: wall})
	}
	for _, wall := range []float64{4, 60} {
		b.results.note("W", fluxOne, cost{wall: wall})
	}
	if got := b.ratio("W", fluxOne, wall); len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("the ratios are %v, want 2 and 3", got)
	}
}

func TestTheCorpusHasFourObjectsForEachAppAndDefinitionsThatParse(t *testing.T) {
	t.Parallel()
	c := corpus{definitions: 2, properties: 84, apps: 251}
	objects, bytes := 0, 0
	for name, content := range c.files() {
		if strings.HasSuffix(name, "kustomization.yaml") {
			continue
		}
		got, err := objectsOf(content)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		objects += len(got)
		if strings.Contains(name, "machine") {
			bytes += len(content)
		}
	}
	if objects != 251*4+2+1 {
		t.Errorf("%d objects", objects)
	}
	if bytes < 200_000 {
		t.Errorf("two definitions have %d bytes", bytes)
	}
	if got := c.components(); len(got) != 4 || got[3] != "apps-01" {
		t.Errorf("the components are %v", got)
	}
}

func TestEverybodyHasTheSameComponentsToApply(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../factory-config/factory.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := corpus{factory: true, definitions: 1, properties: 1, apps: 1}
	text, err := only(data, common, c.factoryYAML())
	if err != nil {
		t.Fatal(err)
	}
	config, err := factory.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var names []string
	for _, component := range config.Components {
		names = append(names, component.Name)
	}
	want := slices.Sorted(slices.Values(append(slices.Clone(common), c.components()...)))
	if slices.Sort(names); !slices.Equal(names, want) {
		t.Errorf("the factory has %v, the peers %v", names, want)
	}
}
