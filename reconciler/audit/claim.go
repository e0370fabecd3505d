package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/reconciler/attest"
)

// CheckClaim is the check of a claim.
const CheckClaim = "claim"

// ClaimNoDrift is the claim that nothing that is declared was otherwise in an
// environment from one moment to another (docs/attestation.md has its meaning).
const ClaimNoDrift = "no-drift"

// Claim is a statement about a time that the records may bear out.
type Claim struct {
	Kind        string    `json:"kind"`
	Environment string    `json:"environment"`
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
}

// ParseClaim reads "no-drift ENVIRONMENT FROM..TO". A day stands for all of it,
// in UTC; a time is RFC 3339.
func ParseClaim(s string) (Claim, error) {
	words := strings.Fields(s)
	if len(words) != 3 || words[0] != ClaimNoDrift {
		return Claim{}, fmt.Errorf("%q is not of the form %q", s, ClaimNoDrift+" ENVIRONMENT FROM..TO")
	}
	from, to, ok := strings.Cut(words[2], "..")
	if !ok {
		return Claim{}, fmt.Errorf("%q is not of the form FROM..TO", words[2])
	}
	c := Claim{Kind: words[0], Environment: words[1]}
	var err error
	if c.From, _, err = moment(from); err != nil {
		return Claim{}, err
	}
	wholeDay := false
	if c.To, wholeDay, err = moment(to); err != nil {
		return Claim{}, err
	}
	if wholeDay {
		c.To = c.To.AddDate(0, 0, 1)
	}
	if !c.From.Before(c.To) {
		return Claim{}, errors.New("the claim ends before it begins")
	}
	return c, nil
}

func moment(s string) (t time.Time, wholeDay bool, err error) {
	if t, err = time.Parse(time.DateOnly, s); err == nil {
		return t, true, nil
	}
	if t, err = time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), false, nil
	}
	return t, false, fmt.Errorf("%q is neither a day (2026-01-31) nor a time (2026-01-31T12:00:00Z)", s)
}

// String is the claim as it is asked for.
func (c Claim) String() string {
	return fmt.Sprintf("%s %s %s..%s", c.Kind, c.Environment, c.From.Format(time.RFC3339), c.To.Format(time.RFC3339))
}

// Claimed is what the records say to a claim.
type Claimed struct {
	Claim  Claim  `json:"claim"`
	Answer Answer `json:"answer"`
	// Records carry the answer: those that list drift after a no, those that
	// cover the time after a yes.
	Records []int64 `json:"records"`
	// Drift is what speaks against the claim, at most [MaxClaimed] of DriftCount.
	Drift      []ClaimedDrift `json:"drift"`
	DriftCount int            `json:"driftCount"`
	// Open are the parts of the time for which nothing can be said, at most
	// [MaxClaimed] of OpenCount.
	Open      []OpenTime `json:"open"`
	OpenCount int        `json:"openCount"`
}

// ClaimedDrift is one object that was not as declared.
type ClaimedDrift struct {
	Sequence int64     `json:"sequence"`
	Object   string    `json:"object"`
	Paths    []string  `json:"paths"`
	Managers []string  `json:"managers"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Action   string    `json:"action"`
}

// OpenTime is a part of a claim's time that no record answers for.
type OpenTime struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Why  string    `json:"why"`
}

// MaxClaimed bounds the drift and the open times that are listed.
const MaxClaimed = 100

// skew is how much the controller's clock and the proven time may differ.
const skew = 5 * time.Minute

// span is a part of time, from a moment up to another.
type span struct{ from, to time.Time }

func (s span) meets(o span) bool {
	if s.from.Equal(s.to) { // one moment
		return !s.from.Before(o.from) && s.from.Before(o.to)
	}
	return s.from.Before(o.to) && o.from.Before(s.to)
}

// claim answers the claim that the auditor asks about.
func (a *auditor) claim() {
	if a.o.Claim == nil {
		return
	}
	c := claiming{Claimed: Claimed{Claim: *a.o.Claim, Records: []int64{}, Drift: []ClaimedDrift{}, Open: []OpenTime{}}, time: span{a.o.Claim.From, a.o.Claim.To}}
	for _, r := range a.report.Records {
		if !r.Verified {
			continue
		}
		if p := r.Evidence.Statement.Place(); p.Target.Environment == c.Claim.Environment && p.Target.ClusterUID == a.report.ClusterUID && p.Factory == a.report.Factory {
			c.record(r)
		}
	}
	holds := a.report.answerOf(CheckChain) != No && a.report.answerOf(CheckSignatures) != No
	c.conclude(holds)
	a.report.Claim = &c.Claimed
	a.claimed(&c.Claimed, holds)
}

// claimed makes findings of what speaks against a claim.
func (a *auditor) claimed(c *Claimed, holds bool) {
	if c.DriftCount > 0 {
		d := c.Drift[0]
		a.report.find(Finding{
			Check: CheckClaim, Answer: No, Code: CodeClaimDrift, Sequence: d.Sequence,
			Detail: fmt.Sprintf("%s had drifted; first %s from %s to %s, by %s", counted(c.DriftCount, "object"), d.Object, d.From.Format(time.RFC3339), d.To.Format(time.RFC3339), strings.Join(d.Managers, ", ")),
			Hint:   "the records that the answer names say which fields, and who wrote them",
		})
	}
	if c.OpenCount > 0 {
		o := c.Open[0]
		a.open(CheckClaim, CodeClaimOpen, 0, fmt.Sprintf("nothing can be said of %s of the time; first %s to %s: %s",
			counted(c.OpenCount, "part"), o.From.Format(time.RFC3339), o.To.Format(time.RFC3339), o.Why), "claim a time for which there are records without gaps, or find the missing ones")
	}
	if !holds {
		a.open(CheckClaim, CodeClaimOpen, 0, "the chain does not hold, so that what is missing from it is not known", "see what the checks of chain and signatures say")
	}
	a.checked(CheckClaim, fmt.Sprintf("%s: %s, by %s", c.Claim, c.Answer, counted(len(c.Records), "record")))
}

// claiming gathers what the records say about a time.
type claiming struct {
	Claimed

	time    span
	covered []covered
	// doubts are parts of the time in which something may have been otherwise.
	doubts []OpenTime
	drift  []ClaimedDrift
}

// covered is a part of the time that a record answers for.
type covered struct {
	span

	sequence int64
}

// record takes in one record: what it covers, leaves open, and lists as drift.
func (c *claiming) record(r Record) {
	s := r.Evidence.Statement
	stretch, p := s.Predicate.Enforced, s.Place()
	if s.Enforcement != nil {
		stretch = &s.Enforcement.Enforced
	} else {
		c.applying(r, s.Predicate)
	}
	if stretch == nil {
		return
	}
	whole := span{stretch.From, stretch.To}
	for _, d := range stretch.Drift.Entries {
		c.sighting(p.Sequence, whole, d)
	}
	if !whole.meets(c.time) {
		return
	}
	switch {
	case unprovenAt(r, stretch.To):
		c.doubt(whole, fmt.Sprintf("nothing proves that record %d was signed when it ends", r.Sequence))
	case stretch.Drift.Total > len(stretch.Drift.Entries):
		c.doubt(whole, fmt.Sprintf("record %d saw more drift than it lists", r.Sequence))
	default:
		c.cover(whole, r.Sequence)
	}
	for _, g := range stretch.Gaps.Entries {
		c.doubt(span{g.From, g.To}, fmt.Sprintf("record %d says that it does not know: %s", r.Sequence, g.Reason))
	}
}

// applying is the time in which a revision was applied.
func (c *claiming) applying(r Record, p attest.Predicate) {
	during := span{p.StartedOn, p.FinishedOn}
	if !during.meets(c.time) {
		return
	}
	for _, d := range p.Drift.Entries {
		c.drift = append(c.drift, ClaimedDrift{Sequence: r.Sequence, Object: d.Object, Paths: d.Paths, Managers: d.Managers, From: during.from, To: during.to, Action: d.Action})
	}
	switch {
	case unprovenAt(r, during.to):
		c.doubt(during, fmt.Sprintf("nothing proves that record %d was signed when it ends", r.Sequence))
	case p.Result != attest.ResultApplied:
		c.doubt(during, fmt.Sprintf("revision %d was not applied as a whole", r.Sequence))
	case p.Drift.Total > len(p.Drift.Entries):
		c.doubt(during, fmt.Sprintf("record %d saw more drift than it lists", r.Sequence))
	default:
		c.cover(during, r.Sequence)
	}
}

func (c *claiming) cover(s span, sequence int64) {
	if s.from.Before(s.to) {
		c.covered = append(c.covered, covered{s, sequence})
	}
}

// unprovenAt says that the proven time of a record does not bear its end out.
func unprovenAt(r Record, end time.Time) bool {
	return r.SignedAt == nil || r.SignedAt.Before(end.Add(-skew))
}

// sighting takes in one drift: the time in which it was for certain, and the
// doubt before it.
func (c *claiming) sighting(sequence int64, stretch span, d attest.Sighting) {
	was := span{d.ChangedOn, d.EndedOn}
	if was.from.IsZero() {
		was.from = d.SeenOn
	}
	if was.to.IsZero() {
		was.to = stretch.to
	}
	if was.meets(c.time) {
		c.drift = append(c.drift, ClaimedDrift{
			Sequence: sequence, Object: d.Object, Paths: d.Paths, Managers: d.Managers, From: was.from, To: was.to, Action: d.Action,
		})
	}
	after := d.After
	if after.IsZero() {
		after = stretch.from
	}
	c.doubt(span{after, was.from}, fmt.Sprintf("record %d does not know since when %s had drifted", sequence, d.Object))
}

func (c *claiming) doubt(s span, why string) {
	if s.from.Before(s.to) && s.meets(c.time) {
		c.doubts = append(c.doubts, OpenTime{later(s.from, c.time.from), earlier(s.to, c.time.to), line(why)})
	}
}

// conclude draws the answer. A drift is a no whatever else is missing.
func (c *claiming) conclude(holds bool) {
	open := append(c.doubts, c.uncovered()...)
	slices.SortStableFunc(open, func(a, b OpenTime) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To)) })
	c.DriftCount, c.OpenCount = len(c.drift), len(open)
	c.Drift = append(c.Drift, c.drift[:min(len(c.drift), MaxClaimed)]...)
	switch {
	case len(c.drift) > 0:
		c.Answer = No
		for _, d := range c.drift {
			c.name(d.Sequence)
		}
		c.OpenCount = 0 // it changes nothing any more
		return
	case len(open) > 0 || !holds:
		c.Answer = Unknown
	default:
		c.Answer = Yes
	}
	c.Open = append(c.Open, open[:min(len(open), MaxClaimed)]...)
	for _, s := range c.covered {
		c.name(s.sequence)
	}
}

// name adds a record to those that carry the answer.
func (c *claiming) name(sequence int64) {
	if !slices.Contains(c.Records[max(0, len(c.Records)-2):], sequence) {
		c.Records = append(c.Records, sequence)
	}
}

// uncovered are the parts of the time that no record is about.
func (c *claiming) uncovered() []OpenTime {
	slices.SortStableFunc(c.covered, func(a, b covered) int { return a.from.Compare(b.from) })
	var open []OpenTime
	at := c.time.from
	for _, s := range c.covered {
		if s.from.After(at) {
			open = append(open, OpenTime{at, earlier(s.from, c.time.to), "no record is about it"})
		}
		at = later(at, s.to)
	}
	if at.Before(c.time.to) {
		open = append(open, OpenTime{at, c.time.to, "no record is about it"})
	}
	return open
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
