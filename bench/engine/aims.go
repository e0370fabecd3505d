package main

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
)

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// aim is a promise of issue 4. It is met when the worst of what was measured
// meets it.
type aim struct {
	what string
	// atLeast or atMost is the bound on got.
	bound float64
	most  bool
	got   series
}

func (a aim) met() string {
	switch {
	case len(a.got) == 0:
		return "not measured"
	case a.most && slices.Max(a.got) <= a.bound, !a.most && slices.Min(a.got) >= a.bound:
		return "yes"
	}
	return "**no**"
}

func (a aim) want() string {
	if a.most {
		return fmt.Sprintf("≤ %g", a.bound)
	}
	return fmt.Sprintf("≥ %g", a.bound)
}

// ratio is party ÷ ours in a workload.
func (b *benchmark) ratio(workload, name string, what func(cost) float64) series {
	return of(b.paired(workload, name), what).over(of(b.paired(workload, millwright), what))
}

func atLeast(what string, bound float64, got series) aim { return aim{what, bound, false, got} }
func atMost(what string, bound float64, got series) aim  { return aim{what, bound, true, got} }

func inverse(s series) series {
	out := make(series, len(s))
	for i, x := range s {
		out[i] = 1 / x
	}
	return out
}

func (b *benchmark) all() []aim {
	peak := func(c cost) float64 { return c.peak }
	ours := func(workload string, what func(cost) float64) series {
		return of(b.results[workload][millwright], what)
	}
	at := func(workload string, q float64) series {
		if s := series(b.samples[workload][millwright]); len(s) > 0 {
			return series{s.quantile(q) * 1e3}
		}
		return nil
	}
	out := []aim{
		atLeast("W1 wall, Flux ÷ ours", 2, b.ratio("W1", fluxOne, wall)),
		atLeast("W1 wall, kubectl ÷ ours", 1.3, b.ratio("W1", kubectl, wall)),
		atMost("W1 requests, ours ÷ Flux", 0.45, inverse(b.ratio("W1", fluxOne, count))),
		atMost("W1 wall, ours ÷ limit", 1.25, inverse(b.ratio("W1", limit, wall))),
		atMost("W2 API requests, ours", 0, ours("W2", count)),
		atMost("W2 p50, ours, ms", 25, at("W2", 0.5)),
		atMost("W3 p50, ours, ms", 120, at("W3", 0.5)),
		atMost("W3 p99, ours, ms", 300, at("W3", 0.99)),
		atLeast("W3 wall, Flux told by annotation ÷ ours", 20, b.ratio("W3", fluxOne, wall)),
		atLeast("W3 wall, kubectl ÷ ours", 20, b.ratio("W3", kubectl, wall)),
		atMost("W4 p50, ours, ms", 30, at("W4", 0.5)),
		atMost("W4 p99, ours, ms", 120, at("W4", 0.99)),
		atMost("writes while nothing happens, ours", 0, ours("quiet", func(c cost) float64 { return c.requests.writes() })),
		atMost("CPU while nothing happens, ours, percent", 0.2, ours("quiet", func(c cost) float64 { return 100 * c.party / c.wall })),
		atLeast("W7 wall of making, Flux as one ÷ ours", 1.8, b.ratio("W7 create", fluxOne, wall)),
		atLeast("W7 wall of changing, Flux as one ÷ ours", 1.8, b.ratio("W7 change", fluxOne, wall)),
		atLeast("W7 wall of making, Flux as many ÷ ours", 8, b.ratio("W7 create", fluxMany, wall)),
		atLeast("W7 wall of changing, Flux as many ÷ ours", 8, b.ratio("W7 change", fluxMany, wall)),
		atMost("W7 peak memory, ours ÷ Flux", 0.5, inverse(b.ratio("W7 change", fluxOne, peak))),
	}
	for _, name := range []string{fluxOne, kubectl} {
		out = append(out,
			atLeast("W2 CPU, "+name+" ÷ ours", 100, b.ratio("W2", name, cost.cpu)),
			atLeast("W2 wall, "+name+" ÷ ours", 50, b.ratio("W2", name, wall)),
			atLeast("W4 many at once, "+name+" ÷ ours", 5, b.ratio("W4 burst", name, wall)))
	}
	return out
}

// aims says which promises the run keeps.
func (b *benchmark) aims(out io.Writer) {
	fmt.Fprintf(out, "\n**What was aimed at**\n\n")
	row(out, "", "aim", "measured", "met")
	row(out, "---", "---", "---", "---")
	all := b.all()
	slices.SortStableFunc(all, func(x, y aim) int { return strings.Compare(subject(x), subject(y)) })
	for _, a := range all {
		row(out, a.what, a.want(), a.got.spread("%.3g"), a.met())
	}
}

func subject(a aim) string {
	first, _, _ := strings.Cut(a.what, " ")
	return first
}
