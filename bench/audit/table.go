package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/reconciler/audit"
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
	fmt.Fprintf(out, "%s, %d cores (GOMAXPROCS), %s; %d revisions in an export of %.1f MB; %d rounds: median (smallest–largest). Load average before and after: %s, %s.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.GOMAXPROCS(0), runtime.Version(), b.revisions, float64(b.size)/1e6, b.rounds, b.load[0], b.load[1])
	row := func(cells ...string) { fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | ")) }
	row("a year of evidence", "wall", "CPU", "peak memory", "÷ the limit program")
	row("---", "---", "---", "---", "---")
	row("audited, without rendering", spread(r[plain], "%.1f")+" s", spread(r[plainCPU], "%.1f")+" s", spread(r[plainPeak], "%.0f")+" MiB",
		"wall "+spread(ratios(r[plain], r[limitWall]), "%.2f")+", CPU "+spread(ratios(r[plainCPU], r[limitCPU]), "%.2f"))
	for _, step := range []string{"open", audit.CheckChain, audit.CheckSource} {
		row("of it: "+step, spread(r[step], "%.2f")+" s", "", "", "")
	}
	row("audited, every revision rendered", spread(r[rendered], "%.1f")+" s", spread(r[renderedCPU], "%.1f")+" s", spread(r[renderedPeak], "%.0f")+" MiB", "")
	row("of it: "+audit.CheckRender, spread(r["rendered "+audit.CheckRender], "%.2f")+" s", "", "", "")
	row("the limit program: ten ECDSA P-256 and one SHA-256 for each revision, on all cores", spread(r[limitWall], "%.1f")+" s", spread(r[limitCPU], "%.1f")+" s", "", "1")
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
