package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// spread is a median with the smallest and the largest.
func spread(values []float64, format string) string {
	if len(values) == 0 {
		return "–"
	}
	return fmt.Sprintf(format+" ("+format+"–"+format+")", median(values), slices.Min(values), slices.Max(values))
}

// ms are seconds in milliseconds.
func ms(values []float64) []float64 {
	out := slices.Clone(values)
	for i := range out {
		out[i] *= 1e3
	}
	return out
}

// ratios divides round by round, so that what disturbed a round hits both sides.
func ratios(a, b []float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] / b[i]
	}
	return out
}

// table prints what was measured as Markdown.
func (b *benchmark) table(out io.Writer) {
	r := b.results
	fmt.Fprintf(out, "%s, %d cores (GOMAXPROCS), %s, %s; %d rounds: median (smallest–largest). Load average before and after: %s, %s.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.GOMAXPROCS(0), cpuModel(), runtime.Version(), b.rounds, b.load[0], b.load[1])
	row := func(cells ...string) { fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | ")) }
	row("Millwright", "wall", "CPU", "peak memory", "× the limit program")
	row("---", "---", "---", "---", "---")
	for _, c := range []struct {
		n                                   int
		wall, cpu, peak, limitWall, limited string
	}{{b.small, coldSmall, coldSmallCPU, coldSmallPeak, limitSmall, limitSmallCPU}, {b.commits, coldLarge, coldCPU, coldPeak, limitLarge, limitsCPU}} {
		row(fmt.Sprintf("cold, %d commits, per commit", b.history.counted[b.index(c.n)]), spread(ms(r[c.wall]), "%.3f")+" ms", spread(ms(r[c.cpu]), "%.3f")+" ms",
			spread(r[c.peak], "%.0f")+" MiB", "wall "+spread(ratios(r[c.wall], r[c.limitWall]), "%.2f")+", CPU "+spread(ratios(r[c.cpu], r[c.limited]), "%.2f"))
	}
	row("one more commit on 100", spread(ms(r[plusSmall]), "%.2f")+" ms", "", "", "")
	row(fmt.Sprintf("one more commit on %d", b.commits-b.steps), spread(ms(r[plusLarge]), "%.2f")+" ms", "", "", "")
	row("the same, ratio of the two", spread(ratios(r[plusLarge], r[plusSmall]), "%.2f"), "", "", "")
	row(fmt.Sprintf("restart with a frontier of %d commits", b.commits), spread(ms(r[restart]), "%.0f")+" ms", "", spread(r[restartPeak], "%.0f")+" MiB", "")
	row("the limit program (five ECDSA P-256 and one SHA-256 a commit, all cores), per commit", spread(ms(r[limitLarge]), "%.3f")+" ms", spread(ms(r[limitsCPU]), "%.3f")+" ms", "", "1")
	fmt.Fprintln(out)
	row("others, per commit", "wall", "CPU", fmt.Sprintf("wall ÷ ours cold at %d", b.commits), "CPU ÷ ours")
	row("---", "---", "---", "---", "---")
	for _, p := range b.peers {
		if p.program == "" {
			row(p.name, "not installed", "", "", "")
			continue
		}
		wall, used := r[p.name], r[p.name+" cpu"]
		row(p.name, spread(ms(wall), "%.1f")+" ms", spread(ms(used), "%.1f")+" ms",
			spread(ratios(wall, r[coldLarge]), "%.0f")+"×", spread(ratios(used, r[coldCPU]), "%.0f")+"×")
	}
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown processor"
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "an unknown processor"
}
