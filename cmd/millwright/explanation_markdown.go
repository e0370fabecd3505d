package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// maxTable bounds the table in bytes: forges take comments of 64 KiB.
const maxTable = 40_000

// maxCell bounds one text, in characters.
const maxCell = 200

// markdown is the explanation for a comment on a pull request. All that a
// stranger may have chosen stands in <code> with every character that could mean
// something written as a number: no link, mention, picture or table cell comes
// out of it. Messages of commits are not shown at all.
func (e explanation) markdown() string {
	var b strings.Builder
	if e.Refusal == nil {
		fmt.Fprintf(&b, "### Accepted\n\n%s from `%s` to `%s` is signed and vouched for as policy version %d asks: %s in %s.\n",
			code(e.Ref), short(e.from()), short(e.Commit), e.PolicyVersion, counted(e.commits(), "commit"), counted(len(e.Steps), "step"))
		if t := e.Tag; t != nil {
			fmt.Fprintf(&b, "The tag %s is signed by %s at %s.\n", code(t.Name), code(t.Subject), t.SignedAt.Format(time.RFC3339))
		}
		if e.AfterRendering != nil {
			fmt.Fprintf(&b, "Once it is rendered, rules about rendered objects%s are judged as well.\n", orNone(" and ", codes(e.AfterRendering.Overlays)))
		}
	} else {
		e.refusalMarkdown(&b)
	}
	for _, r := range e.Revoked {
		fmt.Fprintf(&b, "\n**Revoked:** `%s` was accepted before: %s\n", short(r.Commit), code(r.Why))
	}
	e.table(&b)
	return b.String()
}

func (e explanation) refusalMarkdown(b *strings.Builder) {
	n := e.Refusal
	fmt.Fprintf(b, "### Not accepted: %s (`%s`)\n\n", n.Reason, n.Code)
	if n.Commit != "" {
		fmt.Fprintf(b, "Commit `%s`%s: ", short(n.Commit), orNone(" at ", codes(slices.DeleteFunc([]string{n.Path}, func(p string) bool { return p == "" }))))
	}
	missing := n.missing()
	if len(missing) == 0 {
		b.WriteString(prose(n.Detail) + "\n")
	} else {
		b.WriteString("people are missing\n\n")
	}
	for _, r := range missing {
		fmt.Fprintf(b, "- rule %s needs **%d more** of role %s", code(r.Rule), r.Missing, code(r.Role))
		if len(r.Candidates) == 0 {
			b.WriteString(", and nobody who has it is left\n")
			continue
		}
		fmt.Fprintf(b, ": %s\n", strings.Join(eachCode(r.Candidates), " or "))
	}
	if e.Pending != nil {
		for _, id := range e.Pending.Void {
			fmt.Fprintf(b, "- `%s`, the approval of %s, %s\n", short(id), code(e.Pending.approver(id)), voidWhy)
		}
	}
	fmt.Fprintf(b, "\nTo mend it: %s\n", prose(n.Hint))
}

// table has a row for each commit. What does not fit is left out at the
// beginning: the end is what the reader came for.
func (e explanation) table(b *strings.Builder) {
	var rows []string
	for _, s := range e.Steps {
		rows = append(rows, s.rows("accepted")...)
	}
	if e.Pending != nil {
		rows = append(rows, e.Pending.rows("**pending**")...)
	}
	if len(rows) == 0 {
		return
	}
	first, size := len(rows), 0
	for first > 0 && size+len(rows[first-1]) <= maxTable {
		first--
		size += len(rows[first])
	}
	if first > 0 {
		fmt.Fprintf(b, "\nThe last %d of %d commits:\n", len(rows)-first, len(rows))
	}
	b.WriteString("\n| step | commit | kind | signed by | at | rules |\n|---|---|---|---|---|---|\n")
	b.WriteString(strings.Join(rows[first:], ""))
}

// rows has the rulings of a step beside its last commit, the one on the
// followed branch.
func (s explainedStep) rows(state string) []string {
	var rows []string
	for i, c := range s.Commits {
		kind, step, rules := c.Kind, "", ""
		if len(c.Warnings) > 0 {
			kind += " ⚠ " + codes(c.Warnings)
		}
		if i == len(s.Commits)-1 {
			step, rules = state, s.rulingsMarkdown()
		}
		rows = append(rows, fmt.Sprintf("| %s | `%s` | %s | %s | %s | %s |\n", step, short(c.Commit), kind, code(c.who()), c.when(), rules))
	}
	return rows
}

func (s explainedStep) rulingsMarkdown() string {
	var all []string
	for _, r := range s.Rulings {
		all = append(all, fmt.Sprintf("%s %d of %d %s%s", code(r.Rule), r.Threshold-r.Missing, r.Threshold, code(r.Role), orNone(": ", codes(r.Vouchers))))
	}
	return strings.Join(all, "<br>")
}

// code shows text literally, and keeps forges from finding mentions in it.
func code(s string) string { return "<code>" + literal(s) + "</code>" }

// prose is a sentence of ours that may quote a stranger's words.
func prose(s string) string {
	const at = "&#64;" // outside of <code>, a forge would tell whoever is named after it
	return strings.ReplaceAll(literal(s), at, "<code>"+at+"</code>")
}

// literal writes every character that Markdown or HTML could take for their own
// as a number (CommonMark §2.5: such a character never is markup).
func literal(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range shown(s) {
		if n++; n > maxCell {
			b.WriteString("…")
			break
		}
		if r < 0x80 && !strings.ContainsRune(" -/,;()?'%", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			fmt.Fprintf(&b, "&#%d;", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func eachCode(list []string) []string {
	all := make([]string, 0, len(list))
	for _, s := range list {
		all = append(all, code(s))
	}
	return all
}

func codes(list []string) string { return strings.Join(eachCode(list), ", ") }

func orNone(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}
