package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

var digest = strings.Repeat("ab", 32)

func want(registry string) expected {
	return expected{
		registry: registry, issuer: "http://oidc.test", chains: "spiffe://factory.test/factory/chains", publish: "spiffe://factory.test/factory/publish",
		builder: "https://millwright.dev/factory/test@1", pipeline: "/apis/tekton.dev/v1/namespaces/factory-catalog/pipeline/secure-build@",
	}
}

func TestAnImageIsWhatTheResultsOfARunNameInTheFactorysRegistry(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ url, digest, cause string }{
		"an image":             {"registry.test:5000/team/app", "sha256:" + digest, ""},
		"no results":           {"", "", "NoImage"},
		"no digest":            {"registry.test:5000/app", "", "NoImage"},
		"a short digest":       {"registry.test:5000/app", "sha256:" + digest[1:], "NoImage"},
		"another algorithm":    {"registry.test:5000/app", "sha512:" + digest, "NoImage"},
		"more after it":        {"registry.test:5000/app", "sha256:" + digest + "\n", "NoImage"},
		"a tag":                {"registry.test:5000/app:latest", "sha256:" + digest, "NoImage"},
		"a way up":             {"registry.test:5000/../app", "sha256:" + digest, "NoImage"},
		"a question":           {"registry.test:5000/app?x=y", "sha256:" + digest, "NoImage"},
		"a scheme":             {"http://registry.test:5000/app", "sha256:" + digest, "NoImage"},
		"a user":               {"me@registry.test:5000/app", "sha256:" + digest, "NoImage"},
		"a long name":          {"registry.test:5000/" + strings.Repeat("a", 300), "sha256:" + digest, "NoImage"},
		"another registry":     {"other.test/app", "sha256:" + digest, "ImageElsewhere"},
		"one that begins so":   {"registry.test:50001/app", "sha256:" + digest, "ImageElsewhere"},
		"a name that has that": {"other.test/registry.test/app", "sha256:" + digest, "ImageElsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := imageOf(buildRun{url: row.url, digest: row.digest}, "registry.test:5000")
			var f *finding
			switch {
			case row.cause == "" && (err != nil || got.String() != row.url+"@"+row.digest):
				t.Errorf("%v %v", got, err)
			case row.cause != "" && (!errors.As(err, &f) || f.cause != row.cause):
				t.Errorf("want %s, got %v", row.cause, err)
			}
		})
	}
}

func TestARunIsSignedByProvenanceOfItselfAndAListOfContents(t *testing.T) {
	t.Parallel()
	e := want("registry.test")
	said := func(kind string, predicate any) statement {
		data, err := json.Marshal(predicate)
		must(t, err)
		return statement{PredicateType: kind, Predicate: data}
	}
	mine, list := said(typeProvenance, built(e.builder, e.pipeline+"1", "uid")), said(typeContents, map[string]any{})
	other := said(typeProvenance, built(e.builder, e.pipeline+"1", "another"))
	signedBy := func(chains ...statement) answer { return answer{there: 2, chains: chains, publish: []statement{list}} }
	for name, row := range map[string]struct {
		named  error
		answer answer
		state  state
		cause  string
	}{
		"both":                          {nil, signedBy(mine), signed, ""},
		"and of other runs":             {nil, signedBy(other, mine), signed, ""},
		"nothing":                       {nil, answer{}, unsigned, "NoProvenance"},
		"a list only":                   {nil, signedBy(), unsigned, "NoProvenance"},
		"provenance only":               {nil, answer{chains: []statement{mine}}, unsigned, "NoContents"},
		"a list by chains":              {nil, answer{chains: []statement{mine, list}}, unsigned, "NoContents"},
		"provenance by publish":         {nil, answer{publish: []statement{mine, list}}, unsigned, "NoProvenance"},
		"provenance of another kind":    {nil, signedBy(said("https://slsa.dev/provenance/v0.2", built(e.builder, e.pipeline, "uid"))), unsigned, "NoProvenance"},
		"another builder":               {nil, signedBy(said(typeProvenance, built("https://x", e.pipeline, "uid"))), unsigned, "OtherBuilder"},
		"another pipeline":              {nil, signedBy(said(typeProvenance, built(e.builder, "/apis/tekton.dev/v1/namespaces/build-sample/pipeline/secure-build@1", "uid"))), unsigned, "OtherPipeline"},
		"another run":                   {nil, signedBy(other), unsigned, "OtherRun"},
		"a run nobody names":            {nil, signedBy(said(typeProvenance, built(e.builder, e.pipeline, ""))), unsigned, "OtherRun"},
		"provenance that is none":       {nil, signedBy(said(typeProvenance, "x")), unsigned, "OtherProvenance"},
		"no image":                      {&finding{"NoImage", ""}, signedBy(mine), unsigned, "NoImage"},
		"no image, and no registry":     {&finding{"NoImage", ""}, answer{err: errors.New("away")}, unsigned, "NoImage"},
		"the registry does not answer":  {nil, answer{err: errors.New("away")}, unknown, "RegistryAway"},
		"something that nobody foresaw": {errors.New("?"), signedBy(mine), unknown, "Unexpected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := judge(buildRun{uid: "uid"}, row.named, row.answer, e); got.state != row.state || got.cause != row.cause {
				t.Errorf("got %+v, want %s %s", got, row.state, row.cause)
			}
		})
	}
}

func TestARunThatStaysUnsignedIsAnAlarmAfterTheGraceAndThenNowAndThen(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l := newLedger(2 * time.Minute)
	none, away, good := verdict{unsigned, "NoProvenance", ""}, verdict{unknown, "RegistryAway", ""}, verdict{state: signed}
	for _, step := range []struct {
		after   time.Duration
		verdict verdict
		alarm   bool
		changed bool
		next    time.Duration // after start; 0: none
	}{
		{0, none, false, true, 2 * time.Minute},
		{time.Minute, good, false, true, 0},
		{2 * time.Minute, none, false, true, 4 * time.Minute},
		{3 * time.Minute, away, false, true, 4 * time.Minute},
		{4 * time.Minute, away, true, false, 0},
		{5 * time.Minute, away, false, false, 4*time.Minute + reminder},
		{6 * time.Minute, none, true, true, 0}, // another cause, the same grace
		{7 * time.Minute, away, false, true, 4*time.Minute + reminder},
		{6*time.Minute + reminder, none, true, true, 0},
		{37 * time.Minute, good, false, true, 0},
		{38 * time.Minute, none, false, true, 40 * time.Minute},
		{40 * time.Minute, none, true, false, 0},
	} {
		alarms, changed, next := l.note(start.Add(step.after), []buildRun{{uid: "1"}}, []verdict{step.verdict})
		want := time.Time{}
		if step.next != 0 {
			want = start.Add(step.next)
		}
		if (len(alarms) == 1) != step.alarm || (len(changed) == 1) != step.changed || !next.Equal(want) {
			t.Fatalf("after %s: alarms %v, changed %v, next %v", step.after, alarms, changed, next)
		}
	}
	if alarms, _, _ := l.note(start.Add(41*time.Minute), nil, nil); len(alarms) != 0 || len(l.runs) != 0 {
		t.Errorf("runs that are gone are remembered: %v %v", alarms, l.runs)
	}
}
