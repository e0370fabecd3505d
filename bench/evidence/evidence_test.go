package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// at is so many milliseconds after noon.
func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

// asked is a request of the controller from a time to a time.
func asked(verb, resource, sub, name string, from, to int) request {
	namespace := localfactory.Namespace
	if resource == configMaps {
		namespace = declared
	}
	return request{
		object: object{resource, namespace, name}, verb: verb, subresource: sub, ours: true, code: 200, received: at(from), done: at(to),
	}
}

const theVerdict = "factory-0000000007-verdict-0a0b0c"

// pass are the requests of an undisturbed revision.
func pass() []request {
	dry := asked("patch", configMaps, "", "c-000", 10, 14)
	dry.dry = true
	missing := asked("get", records, "", theVerdict, 21, 22)
	missing.code = 404
	return []request{
		asked("get", configMaps, "", "c-000", 10, 13), dry,
		asked("get", namespaces, "", "kube-system", 15, 18),
		missing,
		asked("create", "events", "", "e", 19, 40),
		asked("create", records, "", theVerdict, 50, 55),
		asked("update", factories, "status", "factory", 56, 60),
		asked("patch", configMaps, "", "c-000", 61, 64),
		asked("get", namespaces, "", declared, 66, 70),
		asked("create", records, "", "factory-0000000007", 90, 94),
		asked("update", records, "status", theVerdict, 100, 103),
		asked("update", records, "status", "factory-0000000007", 104, 108),
		asked("update", factories, "status", "factory", 110, 113),
	}
}

func TestWhatARevisionWaitsForIsReadFromItsRequests(t *testing.T) {
	t.Parallel()
	f := followed{revision: 7, poked: at(0), ready: at(115)}
	got, err := timingOf(pass(), f)
	if err != nil {
		t.Fatal(err)
	}
	want := timing{before: 0.043, verdict: 0.037, server: 0.005, after: 0.024, stored: 0.014, whole: 0.115}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	unasked := slices.Delete(pass(), 3, 4) // signed ahead, it is stored without a question
	if got, err := timingOf(unasked, f); err != nil || got != want {
		t.Errorf("without a question got %+v, %v", got, err)
	}
	for i, r := range pass() {
		if !r.verdict() && !r.record() && !r.change() {
			continue
		}
		if _, err := timingOf(slices.Delete(pass(), i, i+1), f); !errors.Is(err, errUnseen) {
			t.Errorf("without %s %s: %v", r.verb, r.object, err)
		}
	}
	other := pass()
	for i := range other {
		other[i].ours = false
	}
	if _, err := timingOf(other, f); !errors.Is(err, errUnseen) {
		t.Errorf("somebody else's requests are taken: %v", err)
	}
}

func TestHowFarARevisionCameIsWhatWasWrittenUntilTheKill(t *testing.T) {
	t.Parallel()
	for until, want := range map[int]string{
		5: unasked, 20: looking, 52: decided, 58: intended, 70: writing, 95: recorded, 101: recorded, 112: registered,
	} {
		if got := reached(pass(), at(0), at(until)); got != want {
			t.Errorf("after %d ms: %s, want %s", until, got, want)
		}
	}
	refused := pass()
	for i := range refused {
		refused[i].code = 409
	}
	if got := reached(refused, at(0), at(200)); got != looking {
		t.Errorf("writes that were not carried out count: %s", got)
	}
}

func TestAWriteIsRedundantWhenNoVersionCameOfIt(t *testing.T) {
	t.Parallel()
	namespace := asked("patch", namespaces, "", declared, 2, 3)
	namespace.object.namespace = declared // as the API server names it
	all := append(pass(), namespace)
	versions := map[object]int{
		{configMaps, declared, "c-000"}:                            1,
		{namespaces, "", declared}:                                 1,
		{records, localfactory.Namespace, theVerdict}:              2,
		{records, localfactory.Namespace, "factory-0000000007"}:    2,
		{factories, localfactory.Namespace, "factory"}:             2,
		{configMaps, localfactory.Namespace, "nobody-writes-this"}: 5,
	}
	if got := redundant(all, versions); len(got) != 0 {
		t.Errorf("redundant: %v", got)
	}
	again := asked("patch", configMaps, "", "c-000", 300, 301)
	foreign := asked("patch", configMaps, "", "c-009", 300, 301)
	foreign.ours = false
	failed := again
	failed.code = 409
	got := redundant(append(all, again, foreign, failed), versions)
	if want := (map[object]int{{configMaps, declared, "c-000"}: 1}); !maps.Equal(got, want) {
		t.Errorf("redundant: %v, want %v", got, want)
	}
	// A version more than writes is somebody's who is not in the log, and no harm.
	versions[object{configMaps, declared, "c-000"}] = 3
	if got := redundant(all, versions); len(got) != 0 {
		t.Errorf("redundant: %v", got)
	}
}

func TestTheAuditLogIsReadOverItsFilesWithoutWatches(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	line := func(stage, verb, uri, agent string, second int) string {
		return fmt.Sprintf(`{"kind":"Event","level":"Metadata","stage":%q,"requestURI":%q,"verb":%q,"userAgent":%q,"objectRef":{"resource":"configmaps","namespace":"bench","name":"c-000","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-27T12:00:%02d.500000Z","stageTimestamp":"2026-11-27T12:00:%02d.501500Z"}`+"\n",
			stage, uri, verb, agent, second, second)
	}
	const path, ours = "/api/v1/namespaces/bench/configmaps/c-000", "millwright-controller/dev"
	newer := line("ResponseComplete", "patch", path+"?fieldManager=m&force=true", ours, 8) + line("ResponseComplete", "get", path, "millwright/dev", 7)
	older := line("ResponseComplete", "get", path, ours, 1) + line("ResponseStarted", "watch", path, ours, 3) +
		line("ResponseComplete", "watch", path, ours, 3) + line("ResponseComplete", "patch", path+"?dryRun=All&fieldManager=m", ours, 4)
	for name, content := range map[string]string{"audit.log": newer, "audit-2026-11-27T12-00-05.000.log": older} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readRequests(filepath.Join(dir, "audit.log"), noon.Add(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, r := range got {
		told = append(told, fmt.Sprintf("%s %s dry:%t ours:%t wrote:%t %v", r.verb, r.object, r.dry, r.ours, r.wrote(), r.done.Sub(r.received)))
	}
	want := []string{
		"patch configmaps bench/c-000 dry:true ours:true wrote:false 1.5ms",
		"get configmaps bench/c-000 dry:false ours:false wrote:false 1.5ms",
		"patch configmaps bench/c-000 dry:false ours:true wrote:true 1.5ms",
	}
	if !slices.Equal(told, want) {
		t.Errorf("read\n%s", strings.Join(told, "\n"))
	}
	if got := byKind(got); !slices.Equal(got, []string{"get configmaps 1", "patch configmaps 1", "patch configmaps (dry run) 1"}) {
		t.Errorf("by kind: %v", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "audit.log"), []byte("{half a line"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRequests(filepath.Join(dir, "audit.log"), noon); err == nil {
		t.Error("half a line is passed over")
	}
}

// good are three revisions as they have to be.
func good() (commits []string, report audit.Report, values, made map[string]int) {
	values, made = map[string]int{"0": 20}, map[string]int{}
	report.Answer = audit.Yes
	for i := range 3 {
		commit := strings.Repeat(fmt.Sprint(i), 40)
		commits = append(commits, commit)
		sequence := int64(i + 1)
		report.Records = append(report.Records, audit.Record{Audited: attest.Audited{Sequence: sequence, Commit: commit, Digest: fmt.Sprint("sha256:", i)}, Kind: "revision"})
		made[recordName(sequence)] = 1
		if i > 0 {
			values[fmt.Sprint(i)] = 1
		}
	}
	return commits, report, values, made
}

func TestARevisionThatIsLostOrDoubledFailsTheCommand(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(commits *[]string, r *audit.Report, values, made map[string]int)
		says  string
	}{
		"nothing": {spoil: func(*[]string, *audit.Report, map[string]int, map[string]int) {}},
		"a revision without a record": {func(_ *[]string, r *audit.Report, _, _ map[string]int) {
			r.Records = r.Records[:2]
		}, "1 lost: revision 2"},
		"a record in the middle is gone": {func(_ *[]string, r *audit.Report, _, _ map[string]int) {
			r.Records = slices.Delete(r.Records, 1, 2)
		}, "record 3 stands where 2 has to"},
		"a revision with two records": {func(_ *[]string, r *audit.Report, _, made map[string]int) {
			twice := r.Records[2]
			twice.Sequence = 4
			r.Records = append(r.Records, twice)
			made[recordName(4)] = 1
		}, "has 2 records"},
		"a record that was made twice": {func(_ *[]string, _ *audit.Report, _, made map[string]int) {
			made[recordName(2)] = 2
		}, "was made 2 times"},
		"a revision that was written twice": {func(_ *[]string, _ *audit.Report, values, _ map[string]int) {
			values["2"] = 2
		}, "was written 2 times"},
		"a revision that nobody saw": {func(_ *[]string, _ *audit.Report, values, _ map[string]int) {
			delete(values, "1")
		}, "was not seen in the cluster"},
		"a record of a commit that nobody pushed": {func(commits *[]string, _ *audit.Report, _, _ map[string]int) {
			*commits = (*commits)[:2]
		}, "which nobody pushed"},
		"a record of drift": {func(_ *[]string, r *audit.Report, _, _ map[string]int) {
			r.Records[1].Kind = "enforcement"
		}, "nothing drifted"},
		"an audit that cannot tell": {func(_ *[]string, r *audit.Report, _, _ map[string]int) {
			r.Answer = audit.Unknown
		}, `says "could not tell"`},
	} {
		commits, report, values, made := good()
		tc.spoil(&commits, &report, values, made)
		err := tally(commits, report, values, made).err()
		if tc.says == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%s: %v, want %q", name, err, tc.says)
		}
	}
}

func TestTheClusterKeepsTheNewestOfTheAuditedRecords(t *testing.T) {
	t.Parallel()
	_, report, _, _ := good()
	chain := func(from int) []v1alpha1.AppliedRevision {
		var out []v1alpha1.AppliedRevision
		for _, r := range report.Records[from:] {
			out = append(out, v1alpha1.AppliedRevision{
				ObjectMeta: metav1.ObjectMeta{Name: recordName(r.Sequence)},
				Spec:       v1alpha1.AppliedRevisionSpec{Sequence: r.Sequence, Digest: r.Digest}, Status: v1alpha1.AppliedRevisionStatus{Stored: true},
			})
		}
		return out
	}
	for _, from := range []int{0, 1} {
		if wrong := compare(chain(from), report.Records); len(wrong) != 0 {
			t.Errorf("from %d: %v", from, wrong)
		}
	}
	another, unstored := chain(1), chain(1)
	another[0].Spec.Digest, unstored[1].Status.Stored = "sha256:9", false
	for name, tc := range map[string]struct {
		chain []v1alpha1.AppliedRevision
		says  string
	}{
		"another record": {another, "sha256:9"}, "one that is in the cluster only": {unstored, "in the cluster only"},
		"the newest is gone": {chain(1)[:1], "where the export has"}, "none": {nil, "0 records"},
	} {
		if got := strings.Join(compare(tc.chain, report.Records), "; "); !strings.Contains(got, tc.says) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestTheLimitProgramSignsAndKeepsEveryBundle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := newLimit(dir, [][]byte{[]byte("one"), []byte("another")})
	if err != nil {
		t.Fatal(err)
	}
	took, err := l.run(t.Context(), 3)
	if err != nil || took <= 0 {
		t.Fatalf("took %v: %v", took, err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, "limit"))
	if err != nil || strings.Count(string(kept), "another") != 3 {
		t.Errorf("kept %q: %v", kept, err)
	}
	if _, err := newLimit(dir, nil); err == nil {
		t.Error("it is content with nothing to sign")
	}
}

// measured is a benchmark that was run.
func measured() *benchmark {
	commits, report, values, made := good()
	b := &benchmark{config: config{revisions: 4, rounds: 2, kills: 3, small: 20, keep: 200, seed: 7}, log: io.Discard, perRevision: 4, asked: pass()}
	for i := range 2 {
		r := round{wall: 2, entries: 2, limit: 0.004, cosignKey: 0.1, cosignToken: 0.2, followed: make([]followed, 2)}
		for range 2 {
			r.timings = append(r.timings, timing{before: 0.01 + 0.01*float64(i), verdict: 0.008, after: 0.03, stored: 0.04, whole: 0.2})
		}
		b.rounds = append(b.rounds, r)
	}
	b.stages = map[string]float64{"fetch": 0.04}
	b.deaths = []death{{steady: 1.5}, {}, {again: true, steady: 1.8}}
	b.places = map[string]int{looking: 2, recorded: 1}
	b.redundant = [2]map[object]int{{}, {{configMaps, declared, "c-000"}: 1}}
	b.proof = tally(commits, report, values, made)
	return b
}

func TestTheReportTellsWhatWasMeasuredAndWhetherThatIsEnough(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	measured().report(&out)
	for _, want := range []string{
		"then 3 SIGKILLs (seed 7)",
		"| revisions and records in a second | 1.00 (1.00–1.00) |",
		"| attestations in a second (4 statements for each revision) | 4.00 (4.00–4.00) |",
		"| requests to the API server for each revision, without watches | 3.2 |",
		"| of it until the verdict is stored | 8.0 | 8.0 | 8.0 | 4 % |",
		"fetch 10.0,",
		"| 2.00 (2.00–2.00) | 0.05 (0.04–0.05) | 2000.0 (2000.0–2000.0) |",
		"3 SIGKILLs at random moments of revisions, 1 of them",
		"| before the verdict | 2 |",
		"| restart to steady | 2 | 1.80 | 1.80 | 1.80 |",
		"| revisions that were seen in the cluster | 3 |",
		"Redundant were writes of configmaps bench/c-000 (1).",
		"| added to a revision before its first write, p99, ms | ≤ 15 | 20 | **no** |",
		"| lost: seen in the cluster, without a record | ≤ 0 | 0 | yes |",
		"| restart to steady, s | ≤ 2 | 1.8 (1.5–1.8) | yes |",
		"| redundant writes after SIGKILLs | ≤ 0 | 1 | **no** |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestWhatWasNotMeasuredIsNoAnswer(t *testing.T) {
	t.Parallel()
	b := measured()
	b.deaths, b.kills = nil, 0
	var out strings.Builder
	b.report(&out)
	if !strings.Contains(out.String(), "| restart to steady, s | ≤ 2 | – | not measured |") || strings.Contains(out.String(), "at random moments") {
		t.Error(out.String())
	}
}

func TestEachRevisionChangesOneConfigMapOfTheFactory(t *testing.T) {
	t.Parallel()
	files := factoryFiles(3)
	for revision := 1; revision < 7; revision++ {
		name, content := configMap(revision%3, revision)
		before, there := files[name]
		if !there || before == content || !strings.Contains(content, fmt.Sprintf("revision: %q", fmt.Sprint(revision))) {
			t.Errorf("revision %d makes %s %q, was %q", revision, name, content, before)
		}
		files[name] = content
	}
	for _, args := range [][]string{{"-rounds", "0"}, {"-revisions", "2", "-rounds", "3"}, {"-samples", "0"}, {"-kills", "-1"}, {"-objects", "0"}, {"-signer", "quill"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

// TestTheSmokeRunLosesNothing is the whole, small.
func TestTheSmokeRunLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server and a Sigstore: left out with -short only, which neither make test nor CI gives")
	}
	var out strings.Builder
	args := []string{"-root", "../..", "-dir", t.TempDir(), "-revisions", "4", "-rounds", "1", "-samples", "1", "-kills", "3", "-keep", "10", "-seed", "1"}
	if err := run(t.Context(), args, &out, os.Stderr); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"every revision rendered | yes |", "| of them without a record | 0 |", "| with two, or written twice | 0 |", "cosign"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
