package audit_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/audit/audittest"
)

// floor is a factory under audit, with its auditor.
type floor struct {
	*audittest.Factory

	t *testing.T
}

// newFloor has n applied revisions, by Alice and Bob in turn.
func newFloor(t *testing.T, n int) *floor {
	t.Helper()
	f, err := audittest.New(t.TempDir(), time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	w := &floor{Factory: f, t: t}
	for i := range n {
		w.change([]string{audittest.Alice, audittest.Bob}[i%2], time.Duration(i).String())
	}
	return w
}

func (w *floor) change(who, value string) {
	w.t.Helper()
	w.must(w.Change(w.t.Context(), who, value))
}

func (w *floor) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// evidence is what the factory left behind.
func (w *floor) evidence() audit.Evidence {
	w.t.Helper()
	store, err := w.Store()
	w.must(err)
	return audit.Evidence{
		Factory: w.Place, ClusterUID: w.Target.ClusterUID, Ref: audittest.Ref, Anchor: w.Anchor,
		Head: w.newest(), Records: slices.Clone(w.Records), Objects: store,
	}
}

func (w *floor) newest() string { return w.Records[len(w.Records)-1].Digest }

// export writes evidence to a file in memory.
func (w *floor) export(e audit.Evidence) []byte {
	w.t.Helper()
	store, err := w.Store()
	w.must(err)
	var out bytes.Buffer
	w.must(audit.Write(w.t.Context(), &out, e, audit.Contents{History: store}))
	return out.Bytes()
}

// options are those of an auditor who knows everything.
func (w *floor) options() audit.Options {
	w.t.Helper()
	data, err := w.Virtual.TrustedRootJSON()
	w.must(err)
	material, err := attest.ParseTrustedRoot(data)
	w.must(err)
	commits, err := gitverify.ParseTrustedRoot(data)
	w.must(err)
	return audit.Options{
		TrustedRoot: material, Commits: commits, TrustedRootDigest: attest.Digest(data),
		Signers: []attest.Policy{{Identity: attest.Identity{Issuer: audittest.Workloads, Subject: audittest.Reconciler}}},
		Factory: w.Place, ClusterUID: w.Target.ClusterUID, Anchor: w.Anchor, Head: w.newest(), Release: audittest.Release,
		Clock: func() time.Time { return w.Virtual.Now().Add(24 * time.Hour) },
	}
}

// audit reads an export and audits it.
func (w *floor) audit(export []byte, o audit.Options) audit.Report {
	w.t.Helper()
	e, err := audit.Open(w.t.Context(), bytes.NewReader(export), w.t.TempDir())
	w.must(err)
	return w.run(e, o)
}

func (w *floor) run(e audit.Evidence, o audit.Options) audit.Report {
	w.t.Helper()
	report, err := audit.Run(w.t.Context(), e, o)
	w.must(err)
	return report
}

// want compares the answer and the codes of all findings.
func want(t *testing.T, r audit.Report, answer audit.Answer, codes ...string) {
	t.Helper()
	found := []string{}
	for _, f := range r.Findings {
		found = append(found, f.Code)
	}
	slices.Sort(found)
	slices.Sort(codes)
	if found = slices.Compact(found); r.Answer != answer || !slices.Equal(found, codes) {
		t.Errorf("the answer is %q with %v, want %q with %v\n%s", r.Answer, found, answer, codes, r.Text())
	}
}
