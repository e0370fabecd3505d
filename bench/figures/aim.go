package figures

import (
	"fmt"
	"io"
	"slices"
)

// Aim is a promise about a number.
type Aim struct {
	What string

	bound float64
	most  bool
	got   Series
}

// AtLeast is an aim that every one of what was measured reaches the bound.
func AtLeast(what string, bound float64, got Series) Aim { return Aim{what, bound, false, got} }

// AtMost is an aim that none of what was measured is above the bound.
func AtMost(what string, bound float64, got Series) Aim { return Aim{what, bound, true, got} }

// Met says yes, no or that nothing was measured.
func (a Aim) Met() string {
	switch {
	case len(a.got) == 0:
		return "not measured"
	case a.most && slices.Max(a.got) <= a.bound, !a.most && slices.Min(a.got) >= a.bound:
		return "yes"
	}
	return "**no**"
}

func (a Aim) want() string {
	if a.most {
		return fmt.Sprintf("≤ %g", a.bound)
	}
	return fmt.Sprintf("≥ %g", a.bound)
}

// Aims prints a table of aims with their answers.
func Aims(out io.Writer, aims []Aim) {
	fmt.Fprintf(out, "\n**What was aimed at**\n\n")
	Head(out, "", "aim", "measured", "met")
	for _, a := range aims {
		Row(out, a.What, a.want(), a.got.Spread("%.3g"), a.Met())
	}
}
