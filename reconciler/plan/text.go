package plan

import (
	"fmt"
	"strings"
)

// Text writes the plan for people: one line per change in the order in which
// they are made, then what is left alone, then the sum. Same plan, same text.
func (p Plan) Text() string {
	if p.Empty() {
		return fmt.Sprintf("in sync: %d objects, nothing to change\n", p.declared)
	}
	var b strings.Builder
	count := map[Op]int{}
	for _, batch := range p.Batches() {
		fmt.Fprintf(&b, "%s:\n", batch.Name)
		for _, c := range batch.Changes {
			count[c.Op]++
			fmt.Fprintf(&b, "  %-7s %s%s\n", strings.ToLower(string(c.Op)), Name(c.ID), behind(c))
			if c.Detail != "" {
				fmt.Fprintf(&b, "          %s\n", c.Detail)
			}
			writeDifferences(&b, c.Differences)
		}
	}
	if len(p.blocked) > 0 {
		b.WriteString("left alone:\n")
	}
	for _, x := range p.blocked {
		fmt.Fprintf(&b, "  %s %s", x.Reason, Name(x.ID))
		if x.Detail != "" {
			fmt.Fprintf(&b, ": %s", x.Detail)
		}
		b.WriteByte('\n')
		writeDifferences(&b, x.Differences)
	}
	if p.restore {
		b.WriteString("inventory: to be written again\n")
	}
	anew := ""
	if n := count[Recreate]; n > 0 {
		anew = fmt.Sprintf("%d to delete and make anew, ", n)
	}
	fmt.Fprintf(&b, "%d to create, %d to update, %d to correct, %s%d to prune, %d left alone, of %d declared\n",
		count[Create], count[Update], count[Correct], anew, count[Prune], len(p.blocked), p.declared)
	return b.String()
}

func writeDifferences(b *strings.Builder, all []Difference) {
	for _, d := range all {
		fmt.Fprintf(b, "          %s%s\n", d.Path, by(d))
	}
}

func by(d Difference) string {
	if d.Manager == "" {
		return ""
	}
	out := " by " + d.Manager
	if d.Operation != "" {
		out += " (" + d.Operation
		if d.Time != nil {
			out += " at " + d.Time.UTC().Format("2006-01-02T15:04:05Z")
		}
		out += ")"
	}
	return out
}

func behind(c Change) string {
	if len(c.Gates) == 0 {
		return ""
	}
	return " (when healthy: " + strings.Join(c.Gates, ", ") + ")"
}
