package audit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
)

// keptFloor is a factory that was kept for hours: a revision, a heartbeat, a
// drift that was put back, a gap, another revision, a heartbeat. Its hours are
// marks in time, each the end of a record.
func keptFloor(t *testing.T) (w *floor, marks []time.Time) {
	t.Helper()
	w = newFloor(t, 1)
	mark := func() { marks = append(marks, w.Until()) }
	mark() // 0: the first revision
	w.must(w.Keep(attest.TriggerSchedule, attest.Stretch{Looks: 2, Objects: 1}))
	mark() // 1: kept without drift
	at := w.Until()
	w.must(w.Keep(attest.TriggerDrift, attest.Stretch{Looks: 2, Objects: 1, Drift: attest.NewSightings([]attest.Sighting{{
		Object: "ConfigMap default/settings", Component: "app", Paths: []string{".data.key"}, Managers: []string{"kubectl-edit"}, Operations: []string{"Update"},
		After: at.Add(10 * time.Second), ChangedOn: at.Add(20 * time.Second), SeenOn: at.Add(21 * time.Second), EndedOn: at.Add(22 * time.Second), Action: attest.ActionCorrected,
	}})}))
	mark() // 2: a drift from 20 to 22 seconds after mark 1, in doubt from 10
	at = w.Until()
	w.must(w.Keep(attest.TriggerSchedule, attest.Stretch{Looks: 1, Objects: 1, Gaps: attest.NewGaps([]attest.Gap{{
		From: at.Add(5 * time.Second), To: at.Add(15 * time.Second), Reason: attest.GapRestart,
	}})}))
	mark() // 3: a gap from 5 to 15 seconds after mark 2
	w.change("bob@factory.test", "later")
	mark() // 4: the second revision
	w.must(w.Keep(attest.TriggerSchedule, attest.Stretch{Looks: 1, Objects: 1}))
	mark() // 5: kept without drift
	return w, marks
}

func TestAClaimIsAnsweredFromTheRecords(t *testing.T) {
	t.Parallel()
	w, at := keptFloor(t)
	second := func(mark, n int) time.Time { return at[mark].Add(time.Duration(n) * time.Second) }
	for name, c := range map[string]struct {
		from, to time.Time
		env      string
		answer   audit.Answer
		records  []int64
	}{
		"a stretch without drift":             {at[0], at[1], "", audit.Yes, []int64{2}},
		"half of it":                          {second(0, 5), second(0, 20), "", audit.Yes, []int64{2}},
		"the drift":                           {at[1], at[2], "", audit.No, []int64{3}},
		"a moment of the drift":               {second(1, 21), second(1, 22), "", audit.No, []int64{3}},
		"before the drift, without doubt":     {at[1], second(1, 10), "", audit.Yes, []int64{3}},
		"before the drift, in doubt":          {at[1], second(1, 15), "", audit.Unknown, []int64{3}},
		"after the drift":                     {second(1, 22), at[2], "", audit.Yes, []int64{3}},
		"a gap":                               {at[2], at[3], "", audit.Unknown, []int64{4}},
		"between gap and revision":            {second(2, 15), at[3], "", audit.Yes, []int64{4}},
		"over the second revision":            {at[3], at[5], "", audit.Yes, []int64{5, 6}},
		"with the drift and a gap: it is no":  {at[0], at[5], "", audit.No, []int64{3}},
		"before there was anything":           {at[0].Add(-time.Hour), at[1], "", audit.Unknown, []int64{2}},
		"after the newest record":             {at[4], at[5].Add(time.Second), "", audit.Unknown, []int64{6}},
		"an environment that nobody recorded": {at[0], at[1], "staging", audit.Unknown, []int64{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := w.options()
			o.Claim = &audit.Claim{Kind: audit.ClaimNoDrift, Environment: "production", From: c.from, To: c.to}
			if c.env != "" {
				o.Claim.Environment = c.env
			}
			r := w.run(w.evidence(), o)
			if r.Claim.Answer != c.answer || r.Answer != c.answer || !slices.Equal(r.Claim.Records, c.records) {
				t.Errorf("the claim is %q by %v, the audit %q; want %q by %v\n%s", r.Claim.Answer, r.Claim.Records, r.Answer, c.answer, c.records, r.Text())
			}
			if (r.Claim.OpenCount > 0) != (c.answer == audit.Unknown) || (r.Claim.DriftCount > 0) != (c.answer == audit.No) {
				t.Errorf("the claim: %+v", r.Claim)
			}
		})
	}
}

// A claim rests on every record: without one of them it is never borne out.
func TestWithoutAnyRecordAClaimIsNotBorneOut(t *testing.T) { // row F11
	t.Parallel()
	w, at := keptFloor(t)
	for name, c := range map[string]struct {
		from, to time.Time
		before   audit.Answer
	}{
		"a yes": {at[3], at[5], audit.Yes},
		"a no":  {at[1], at[2], audit.No},
	} {
		for i := range w.Records {
			o, e := w.options(), w.evidence()
			o.Claim = &audit.Claim{Kind: audit.ClaimNoDrift, Environment: "production", From: c.from, To: c.to}
			if r := w.run(e, o); r.Claim.Answer != c.before {
				t.Fatalf("%s: with all records it is %q\n%s", name, r.Claim.Answer, r.Text())
			}
			e.Records = slices.Delete(e.Records, i, i+1)
			if i == len(w.Records)-1 {
				o.Head = "" // nobody noted it down
			}
			if r := w.run(e, o); r.Answer == audit.Yes || c.before == audit.No && r.Claim.Answer == audit.Yes || i < len(w.Records)-1 && r.Claim.Answer == audit.Yes {
				t.Errorf("%s: without record %d the claim is %q, the audit %q", name, i+1, r.Claim.Answer, r.Answer)
			}
		}
	}
}

func TestClaimsAreReadStrictly(t *testing.T) {
	t.Parallel()
	c, err := audit.ParseClaim("no-drift production 2026-01-01..2026-03-31")
	if err != nil || c.String() != "no-drift production 2026-01-01T00:00:00Z..2026-04-01T00:00:00Z" {
		t.Errorf("%v: %v", c, err)
	}
	c, err = audit.ParseClaim("no-drift production 2026-01-01T10:00:00+02:00..2026-01-01T09:00:00Z")
	if err != nil || c.String() != "no-drift production 2026-01-01T08:00:00Z..2026-01-01T09:00:00Z" {
		t.Errorf("%v: %v", c, err)
	}
	for _, bad := range []string{"", "no-drift", "no-drift production", "drift production 2026-01-01..2026-01-02", "no-drift production 2026-01-01", "no-drift production 2026-01-02..2026-01-01", "no-drift production 2026-13-01..2026-14-01", "no-drift a b 2026-01-01..2026-01-02"} {
		if c, err := audit.ParseClaim(bad); err == nil || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%q is read as %v: %v", bad, c, err)
		}
	}
}
