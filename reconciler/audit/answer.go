package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"millwright.dev/millwright/reconciler/attest"
)

// Answer is the outcome of a check, or of all of them.
type Answer string

// The outcomes. What was left out on request is no outcome: it neither helps nor
// harms.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "could not tell"
	LeftOut Answer = "left out"
)

// worse is the answer of two checks together.
func worse(a, b Answer) Answer {
	rank := []Answer{LeftOut, Yes, Unknown, No}
	if slices.Index(rank, b) > slices.Index(rank, a) {
		return b
	}
	return a
}

// Names of the checks, in the order of a report.
const (
	CheckExport     = "export"
	CheckChain      = "chain"
	CheckSignatures = "signatures"
	CheckHead       = "head"
	CheckSource     = "source"
	CheckRender     = "render"
	CheckPermit     = "permit"
	CheckVerdicts   = "verdicts"
	CheckFiles      = "files"
	CheckFreshness  = "freshness"
	CheckLive       = "live"
)

// Check is one question with its answer.
type Check struct {
	Name   string `json:"name"`
	Answer Answer `json:"answer"`
	// Detail says in one line what was looked at.
	Detail string `json:"detail"`
	// Seconds is how long it took, on the clock of the auditor.
	Seconds float64 `json:"seconds"`
}

// Finding is one thing that is not a yes.
type Finding struct {
	Check string `json:"check"`
	// Answer is no, or could not tell.
	Answer Answer `json:"answer"`
	// Code is stable, for example chain/gap.
	Code string `json:"code"`
	// Sequence of the record; 0 when it is not about one.
	Sequence int64  `json:"sequence"`
	Commit   string `json:"commit,omitempty"`
	Detail   string `json:"detail"`
	Hint     string `json:"hint,omitempty"`
}

// MaxFindings bounds the findings of a report; all are counted.
const MaxFindings = 1000

// Report is the outcome of an audit. The names of its fields in JSON are
// described in docs/auditing.md; they are only ever added to.
type Report struct {
	Answer     Answer         `json:"answer"`
	Factory    attest.Factory `json:"factory"`
	ClusterUID string         `json:"clusterUID"`
	// Asked is what the auditor named: all that was taken for granted.
	Asked    Asked     `json:"asked"`
	Checks   []Check   `json:"checks"`
	Findings []Finding `json:"findings"`
	// Claim is what the records say to the claim that was asked about.
	Claim *Claimed `json:"claim,omitempty"`
	// FindingCount counts those that are not listed, too.
	FindingCount int      `json:"findingCount"`
	Records      []Record `json:"records"`

	// answers are the worst findings of each check, also of those not listed.
	answers map[string]Answer
}

// Asked is what an audit rests on, beside the evidence.
type Asked struct {
	// TrustedRoot is the digest of the trusted root, Signers who may have signed
	// records: issuer and subject, or a key's fingerprint.
	TrustedRoot string   `json:"trustedRoot"`
	Signers     []string `json:"signers"`
	Anchor      string   `json:"anchor,omitempty"`
	Head        string   `json:"head,omitempty"`
	// At is when the audit was made.
	At      string `json:"at"`
	Release string `json:"release"`
}

// Record is one record of the chain as the audit saw it. What follows Verified
// is set only when its bundle verified.
type Record struct {
	attest.Audited

	// Kind is revision, or enforcement for what became of one.
	Kind string `json:"kind,omitempty"`
	// Source and Rendered are the answers of those checks about this record.
	Source   Answer `json:"source"`
	Rendered Answer `json:"rendered"`
	// Commits is how many commits were verified for it, Objects how many objects
	// it declares, Changed how many of them were written or deleted.
	Commits int `json:"commits"`
	Objects int `json:"objects"`
	Changed int `json:"changed"`
	// Drifted is how many objects had been changed by others.
	Drifted int    `json:"drifted"`
	Ref     string `json:"ref,omitempty"`
	// Until is how far the record goes, on the controller's clock.
	Until time.Time `json:"until,omitzero"`
}

// Kinds of records.
const (
	KindRevision    = "revision"
	KindEnforcement = "enforcement"
)

// find adds a finding.
func (r *Report) find(f Finding) {
	if r.answers == nil {
		r.answers = map[string]Answer{}
	}
	r.answers[f.Check] = worse(r.answerOf(f.Check), f.Answer)
	if r.FindingCount++; len(r.Findings) < MaxFindings {
		f.Detail = line(f.Detail)
		r.Findings = append(r.Findings, f)
	}
}

// answerOf is the worst finding of a check; what nothing speaks against is a yes.
func (r *Report) answerOf(check string) Answer {
	if answer, ok := r.answers[check]; ok {
		return answer
	}
	return Yes
}

// conclude sorts the findings, a no before what could not be told, and draws
// the answer from the checks.
func (r *Report) conclude() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.rank(), a.rank()), cmp.Compare(a.Sequence, b.Sequence))
	})
	r.Answer = LeftOut
	for _, c := range r.Checks {
		r.Answer = worse(r.Answer, c.Answer)
	}
	if r.Answer == LeftOut {
		r.Answer = Unknown
	}
}

func (f Finding) rank() int {
	if f.Answer == No {
		return 1
	}
	return 0
}

// line makes text that a stranger may have written one bounded line of visible
// characters.
func line(s string) string {
	const limit = 500
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s[:min(len(s), 4*limit)])
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// counted is a number of things.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
