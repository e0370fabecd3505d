package audit

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Bounds of the text; -o json and the HTML report have all.
const (
	shownRecords  = 20
	shownFindings = 50
)

// Text is the report for a terminal: the newest records, the checks, what is not
// a yes, and the answer.
func (r Report) Text() string {
	var b strings.Builder
	r.records(&b)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f s\n", c.Answer, c.Name, line(c.Detail), c.Seconds)
	}
	_ = w.Flush()
	for i, f := range r.Findings {
		if i == shownFindings {
			fmt.Fprintf(&b, "and %d more: -o json has them\n", r.FindingCount-i)
			break
		}
		f.text(&b)
	}
	fmt.Fprintf(&b, "%s: %s\n", r.Answer, r.Sentence())
	return b.String()
}

func (r Report) records(b *strings.Builder) {
	from := max(0, len(r.Records)-shownRecords)
	if from > 0 {
		fmt.Fprintf(b, "%d older records: -o json has them\n", from)
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, l := range r.Records[from:] {
		if !l.Verified {
			fmt.Fprintf(w, "%6d\t%s\tREFUSED\t\t\t\t\n", l.Sequence, short(line(l.Commit)))
			continue
		}
		fmt.Fprintf(w, "%6d\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Sequence, short(line(l.Commit)), l.when(), l.Trigger, l.Result, l.proofs(), line(l.Signer))
	}
	_ = w.Flush()
}

func (r Record) when() string {
	if r.SignedAt == nil {
		return "time not proven"
	}
	return r.SignedAt.UTC().Format("2006-01-02T15:04:05Z")
}

// proofs says how far a record was gone over again.
func (r Record) proofs() string {
	switch {
	case r.Source == Yes && r.Rendered == Yes:
		return "verified, rendered alike"
	case r.Source == Yes && r.Rendered == LeftOut:
		return "verified, not rendered"
	case r.Source == No || r.Rendered == No:
		return "REFUSED"
	}
	return "could not tell"
}

func (f Finding) text(b *strings.Builder) {
	fmt.Fprintf(b, "%s: %s", f.Answer, f.Code)
	if f.Sequence != 0 {
		fmt.Fprintf(b, " record %d", f.Sequence)
	}
	if f.Commit != "" {
		fmt.Fprintf(b, " commit %s", short(line(f.Commit)))
	}
	fmt.Fprintf(b, ": %s\n", f.Detail)
	if f.Hint != "" {
		fmt.Fprintf(b, "  to mend it: %s\n", line(f.Hint))
	}
}

// Sentence is the answer in words.
func (r Report) Sentence() string {
	var left []string
	for _, c := range r.Checks {
		if c.Answer == LeftOut {
			left = append(left, c.Name)
		}
	}
	what := fmt.Sprintf("%s of factory %s in cluster %s", counted(len(r.Records), "record"), line(r.Factory.String()), line(r.ClusterUID))
	switch r.Answer {
	case Yes:
		what = "the chain is whole, and says what happened: " + what
	case No:
		what = fmt.Sprintf("the evidence does not hold, %s: %s", counted(r.FindingCount, "finding"), what)
	default:
		what = fmt.Sprintf("nothing speaks against it, and not all is known, %s: %s", counted(r.FindingCount, "open question"), what)
	}
	if len(left) > 0 {
		what += "; left out: " + strings.Join(left, ", ")
	}
	return what
}
