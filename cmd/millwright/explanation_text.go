package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// shownRulingPaths bounds the paths that are shown of one ruling.
const shownRulingPaths = 2

// text is the explanation for a terminal: step by step who signed, which rules
// asked for what and who vouched, then the answer.
func (e explanation) text() string {
	var b strings.Builder
	for _, s := range e.Steps {
		fmt.Fprintf(&b, "accepted %s by policy version %d\n", short(s.Commit), s.PolicyVersion)
		s.text(&b)
	}
	if e.Pending != nil {
		fmt.Fprintf(&b, "pending %s by policy version %d\n", short(e.Pending.Commit), e.Pending.PolicyVersion)
		e.Pending.text(&b)
	}
	if t := e.Tag; t != nil {
		fmt.Fprintf(&b, "tag %s of %s  %s  %s\n", shown(t.Name), short(e.Commit), t.SignedAt.Format(time.RFC3339), shown(t.Subject))
	}
	for _, r := range e.Revoked {
		fmt.Fprintf(&b, "warning: %s was accepted and is revoked since: %s\n", short(r.Commit), shown(r.Why))
	}
	if e.Refusal == nil {
		fmt.Fprintf(&b, "yes: %s to %s is signed and vouched for as policy version %d asks: %s in %s\n",
			short(e.from()), short(e.Commit), e.PolicyVersion, counted(e.commits(), "commit"), counted(len(e.Steps), "step"))
		if e.AfterRendering != nil {
			fmt.Fprintf(&b, "     once it is rendered, rules about %s are judged as well\n", e.AfterRendering.what())
		}
		return b.String()
	}
	e.Refusal.text(&b)
	if e.Accepted != "" && e.Accepted != e.Commit {
		fmt.Fprintf(&b, "  accepted up to %s\n", e.Accepted)
	}
	return b.String()
}

func (a afterRendering) what() string {
	if len(a.Overlays) == 0 {
		return "rendered objects"
	}
	return "rendered objects and " + strings.Join(shownAll(a.Overlays), ", ")
}

func (s explainedStep) text(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, c := range s.Commits {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s%s\n", short(c.Commit), c.when(), c.Kind, c.who(), c.log())
	}
	_ = w.Flush()
	for _, c := range s.Commits {
		for _, warning := range c.Warnings {
			fmt.Fprintf(b, "  warning: %s: %s\n", short(c.Commit), shown(warning))
		}
	}
	for _, r := range s.Rulings {
		r.text(b)
	}
	for _, id := range s.Void {
		fmt.Fprintf(b, "  void %s, the approval of %s, %s\n", short(id), s.approver(id), voidWhy)
	}
}

func (c explainedCommit) log() string {
	if c.Forge != "" || c.LogIndex < 0 {
		return ""
	}
	return fmt.Sprintf("\tlog %d", c.LogIndex)
}

func (r explainedRuling) text(b *strings.Builder) {
	fmt.Fprintf(b, "  rule %s: %d of role %s for %s: ", shown(r.Rule), r.Threshold, shown(r.Role), r.where())
	if len(r.Vouchers) == 0 {
		b.WriteString("nobody yet")
	} else {
		b.WriteString(strings.Join(shownAll(r.Vouchers), ", "))
	}
	if r.Missing > 0 {
		fmt.Fprintf(b, "; %d more needed", r.Missing)
	}
	b.WriteByte('\n')
}

// where names a few of the paths and counts the rest.
func (r explainedRuling) where() string {
	paths := shownAll(r.Paths)
	count := max(r.PathCount, len(paths))
	if count == 0 {
		return "what is rendered"
	}
	if len(paths) > shownRulingPaths {
		paths = paths[:shownRulingPaths]
	}
	s := strings.Join(paths, ", ")
	if rest := count - len(paths); rest > 0 {
		s += fmt.Sprintf(" and %d more", rest)
	}
	return s
}

func (n explainedNo) text(b *strings.Builder) {
	fmt.Fprintf(b, "no: %s (%s)", n.Reason, n.Code)
	if n.Commit != "" {
		fmt.Fprintf(b, " commit %s", n.Commit)
	}
	b.WriteString(pathOf(n.Path))
	if len(n.missing()) == 0 { // they say it, one by one
		b.WriteString(": " + shown(n.Detail))
	}
	b.WriteByte('\n')
	for _, r := range n.missing() {
		fmt.Fprintf(b, "  rule %s %s\n", shown(r.Rule), r.needs())
	}
	fmt.Fprintf(b, "  to mend it: %s\n", shown(n.Hint))
}
