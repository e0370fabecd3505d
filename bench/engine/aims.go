package main

import (
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"millwright.dev/millwright/bench/figures"
)

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// ratio is party ÷ ours in a workload.
func (b *benchmark) ratio(workload, name string, what func(cost) float64) figures.Series {
	return of(b.paired(workload, name), what).Over(of(b.paired(workload, millwright), what))
}

func (b *benchmark) all() []figures.Aim {
	peak := func(c cost) float64 { return c.peak }
	ours := func(workload string, what func(cost) float64) figures.Series {
		return of(b.results[workload][millwright], what)
	}
	at := func(workload string, q float64) figures.Series {
		if s := figures.Series(b.samples[workload][millwright]); len(s) > 0 {
			return figures.Series{s.Quantile(q) * 1e3}
		}
		return nil
	}
	out := []figures.Aim{
		figures.AtLeast("W1 wall, Flux ÷ ours", 2, b.ratio("W1", fluxOne, wall)),
		figures.AtLeast("W1 wall, Argo CD ÷ ours", 2.5, b.ratio("W1", argo, wall)),
		figures.AtLeast("W1 wall, kubectl ÷ ours", 1.3, b.ratio("W1", kubectl, wall)),
		figures.AtMost("W1 requests, ours ÷ Flux", 0.45, b.ratio("W1", fluxOne, count).Inverse()),
		figures.AtMost("W1 wall, ours ÷ limit", 1.25, b.ratio("W1", limit, wall).Inverse()),
		figures.AtMost("W2 API requests, ours", 0, ours("W2", count)),
		figures.AtMost("W2 p50, ours, ms", 25, at("W2", 0.5)),
		figures.AtMost("W3 p50, ours, ms", 120, at("W3", 0.5)),
		figures.AtMost("W3 p99, ours, ms", 300, at("W3", 0.99)),
		figures.AtLeast("W3 wall, Flux told by annotation ÷ ours", 20, b.ratio("W3", fluxOne, wall)),
		figures.AtLeast("W3 wall, kubectl ÷ ours", 20, b.ratio("W3", kubectl, wall)),
		figures.AtMost("W4 p50, ours, ms", 30, at("W4", 0.5)),
		figures.AtMost("W4 p99, ours, ms", 120, at("W4", 0.99)),
		figures.AtMost("writes while nothing happens, ours", 0, ours("quiet", func(c cost) float64 { return c.requests.writes() })),
		figures.AtMost("CPU while nothing happens, ours, percent", 0.2, ours("quiet", func(c cost) float64 { return 100 * c.party / c.wall })),
		figures.AtLeast("W7 wall of making, Flux as one ÷ ours", 1.8, b.ratio("W7 create", fluxOne, wall)),
		figures.AtLeast("W7 wall of changing, Flux as one ÷ ours", 1.8, b.ratio("W7 change", fluxOne, wall)),
		figures.AtLeast("W7 wall of making, Flux as many ÷ ours", 8, b.ratio("W7 create", fluxMany, wall)),
		figures.AtLeast("W7 wall of changing, Flux as many ÷ ours", 8, b.ratio("W7 change", fluxMany, wall)),
		figures.AtMost("W7 peak memory, ours ÷ Flux", 0.5, b.ratio("W7 change", fluxOne, peak).Inverse()),
	}
	for _, name := range []string{fluxOne, argo, kubectl} {
		out = append(out,
			figures.AtLeast("W2 CPU, "+name+" ÷ ours", 100, b.ratio("W2", name, cost.cpu)),
			figures.AtLeast("W2 wall, "+name+" ÷ ours", 50, b.ratio("W2", name, wall)))
	}
	for _, name := range []string{fluxOne, kubectl} { // Argo CD has no part in W7
		out = append(out, figures.AtLeast("W4 many at once, "+name+" ÷ ours", 5, b.ratio("W4 burst", name, wall)))
	}
	return out
}

// aims says which promises the run keeps.
func (b *benchmark) aims(out io.Writer) {
	all := b.all()
	slices.SortStableFunc(all, func(x, y figures.Aim) int { return strings.Compare(subject(x), subject(y)) })
	figures.Aims(out, all)
}

func subject(a figures.Aim) string {
	first, _, _ := strings.Cut(a.What, " ")
	return first
}
