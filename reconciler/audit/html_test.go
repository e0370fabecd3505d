package audit_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
)

func pageOf(t *testing.T, r audit.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestThePageHasTheAnswerAndNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	w, at := keptFloor(t)
	o := w.options()
	o.Claim = &audit.Claim{Kind: audit.ClaimNoDrift, Environment: "production", From: at[0], To: at[2]}
	page := pageOf(t, w.run(w.evidence(), o))
	for _, want := range []string{
		"<b>no</b>", "claim/drift", "kubectl-edit", ".data.key", string(w.Anchor), w.newest(), "Was every commit made and approved by people who might?", "2026-05-01 12:0",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page, "ZgotmplZ") || strings.Contains(page, "<no value>") {
		t.Error("the page has a hole")
	}
	elsewhere := regexp.MustCompile(`(?i)<(script|link|img|iframe|object|embed|form|base|a)\b|\bsrc=|\bhref=|url\(|@import|javascript:|\son[a-z]+=`)
	if m := elsewhere.FindString(page); m != "" {
		t.Errorf("the page has %q: it is to stand alone", m)
	}
}

// Names, reasons and codes come from strangers: on the page they are text.
func TestOnThePageHostileStringsAreText(t *testing.T) { // row D34
	t.Parallel()
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)> '"</style></td>{{.}} javascript:alert(3)`
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	r := audit.Report{
		Answer: hostile, Factory: attest.Factory{Namespace: hostile, Name: hostile}, ClusterUID: hostile,
		Asked:    audit.Asked{TrustedRoot: hostile, Signers: []string{hostile}, Anchor: hostile, Head: hostile, At: hostile, Release: hostile},
		Checks:   []audit.Check{{Name: hostile, Answer: hostile, Detail: hostile}},
		Findings: []audit.Finding{{Check: hostile, Answer: hostile, Code: hostile, Sequence: 1, Commit: hostile, Detail: hostile, Hint: hostile}},
		Claim: &audit.Claimed{
			Claim: audit.Claim{Kind: hostile, Environment: hostile, From: now, To: now}, Answer: hostile, Records: []int64{1},
			Drift: []audit.ClaimedDrift{{Object: hostile, Paths: []string{hostile}, Managers: []string{hostile}, Action: hostile}},
			Open:  []audit.OpenTime{{Why: hostile}},
		},
		Records: []audit.Record{
			{Audited: attest.Audited{Sequence: 1, Commit: hostile, Digest: hostile, Verified: true, Trigger: hostile, Result: hostile, Signer: hostile}, Source: hostile, Rendered: hostile, Ref: hostile},
			{Audited: attest.Audited{Sequence: 2, Commit: hostile}},
		},
	}
	page := pageOf(t, r)
	for _, harm := range []string{"<script", "<img", "</style></td>", "onerror=alert(2)>"} {
		if strings.Contains(page, harm) {
			t.Errorf("the page has %q", harm)
		}
	}
	if n := strings.Count(page, "&lt;script&gt;"); n < 15 {
		t.Errorf("only %d of the hostile strings are shown, as text", n)
	}
	if strings.Count(page, "</style>") != 1 {
		t.Error("the style ends where it should not")
	}
	for line := range strings.Lines(r.Text()) {
		if strings.ContainsAny(line, "\x1b\u202e\r") || len(line) > 4000 {
			t.Errorf("the text has the line %q", line)
		}
	}
}
